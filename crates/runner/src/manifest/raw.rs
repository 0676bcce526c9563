//! A manifest as written: nothing in it has been checked yet.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub name: Spanned<String>,
    pub seeds: Option<Spanned<Vec<u64>>>,
    pub features: Option<Spanned<String>>,
    pub feature_seed: Option<Spanned<u64>>,
    pub weights: Option<PathBuf>,
    pub data: Data,
    pub model: Table,
    pub train: Train,
    #[serde(default)]
    pub augmentation: Augmentation,
    #[serde(default)]
    pub variant: Vec<Variant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    pub dataset: Spanned<String>,
    pub description_blake3: Option<Spanned<String>>,
    pub subset: Option<Spanned<String>>,
    pub root: Option<PathBuf>,
    pub protocol: Spanned<String>,
    pub nir_hsv: Option<Spanned<String>>,
    pub size: Option<Spanned<i64>>,
    pub synthetic: Option<Spanned<Synthetic>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Synthetic {
    pub seed: u64,
    pub train: Spanned<i64>,
    pub validation: Spanned<i64>,
    pub test: Spanned<i64>,
}

/// A table with a `kind` and that kind's options, which is read by the type that it stands for.
pub type Table = Spanned<BTreeMap<Spanned<String>, Spanned<toml::Value>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    pub epochs: Spanned<i64>,
    pub batch: Spanned<i64>,
    pub steps_per_epoch: Option<Spanned<i64>>,
    pub critic_steps: Option<Spanned<i64>>,
    pub generator_steps: Option<Spanned<i64>>,
    pub critic_width: Option<Spanned<i64>>,
    pub precision: Option<Spanned<String>>,
    pub diagnostics: Option<Spanned<String>>,
    pub diagnostics_every: Option<Spanned<i64>>,
    pub optimizer: Table,
    pub schedule: Option<Table>,
    pub lr_factors: Option<Spanned<BTreeMap<String, f64>>>,
    pub freeze: Option<Spanned<Vec<String>>>,
    pub clip_norm: Option<Spanned<f64>>,
    pub accumulate: Option<Spanned<i64>>,
    pub ema_decay: Option<Spanned<f64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    pub mirror: Option<Spanned<f64>>,
    pub contrast: Option<Spanned<f64>>,
    pub crop: Option<Spanned<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    pub name: Spanned<String>,
    pub loss: Spanned<Loss>,
}

/// A weight, or a table of the weight, its schedule and the term's options.
pub type Terms = BTreeMap<Spanned<String>, Spanned<toml::Value>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    pub preset: Option<Spanned<String>>,
    pub combination: Option<Spanned<String>>,
    #[serde(default)]
    pub rgb: Terms,
    #[serde(default)]
    pub hsv: Terms,
    pub adversarial: Option<Adversarial>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adversarial {
    pub kind: Spanned<String>,
    pub weight: Spanned<f64>,
    pub scales: Option<Spanned<i64>>,
    pub penalty: Option<Spanned<f64>>,
}
