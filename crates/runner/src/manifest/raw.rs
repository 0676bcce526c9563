//! A manifest as written: nothing in it has been checked yet.

use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub name: Spanned<String>,
    pub seeds: Option<Spanned<Vec<u64>>>,
    pub features: Option<Spanned<String>>,
    pub feature_seed: Option<Spanned<u64>>,
    pub measures: Option<Spanned<Vec<String>>>,
    pub weights: Option<PathBuf>,
    pub data: Data,
    pub model: Table,
    pub train: Train,
    #[serde(default)]
    pub augmentation: Augmentation,
    pub distill: Option<Distill>,
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
    pub crop_share: Option<Spanned<Vec<f64>>>,
    pub tone: Option<Spanned<f64>>,
    pub size: Option<Spanned<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distill {
    pub teachers: Spanned<Vec<PathBuf>>,
    pub features: Option<Spanned<f64>>,
    #[serde(default)]
    pub loss: Terms,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    pub name: Spanned<String>,
    pub loss: Spanned<Loss>,
    pub model: Option<Table>,
}

/// A weight, or a table of the weight, its schedule and the term's options.
pub type Terms = BTreeMap<Spanned<String>, Spanned<toml::Value>>;

#[derive(Default)]
pub struct Loss {
    pub preset: Option<Spanned<String>>,
    pub combination: Option<Spanned<String>>,
    pub adversarial: Option<Adversarial>,
    /// Every other key: the head of a network, if it has one of this name.
    pub heads: Vec<(Spanned<String>, Head)>,
}

impl Loss {
    /// Its keys that are no heads.
    pub const KEYS: [&str; 3] = ["preset", "combination", "adversarial"];
}

/// By hand, as serde's `flatten` forgets where in the text a key is.
impl<'de> Deserialize<'de> for Loss {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = Loss;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of losses")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Loss, A::Error> {
                let mut loss = Loss::default();
                while let Some(key) = table.next_key::<Spanned<String>>()? {
                    match key.get_ref().as_str() {
                        "preset" => loss.preset = Some(table.next_value()?),
                        "combination" => loss.combination = Some(table.next_value()?),
                        "adversarial" => loss.adversarial = Some(table.next_value()?),
                        _ => loss.heads.push((key, table.next_value()?)),
                    }
                }
                Ok(loss)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// What stands under a head's name. That it is a table is checked once it is known that there is such a head.
pub enum Head {
    Terms(Terms),
    Other,
}

impl Head {
    pub fn terms(&self) -> Option<&Terms> {
        match self {
            Self::Terms(terms) => Some(terms),
            Self::Other => None,
        }
    }
}

impl<'de> Deserialize<'de> for Head {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Head;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of terms")
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Head, A::Error> {
                Terms::deserialize(MapAccessDeserializer::new(table)).map(Head::Terms)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Head, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Head::Other)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Head, E> {
                Ok(Head::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Head, E> {
                Ok(Head::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Head, E> {
                Ok(Head::Other)
            }

            fn visit_str<E>(self, _: &str) -> Result<Head, E> {
                Ok(Head::Other)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adversarial {
    pub kind: Spanned<String>,
    pub weight: Spanned<f64>,
    pub scales: Option<Spanned<i64>>,
    pub penalty: Option<Spanned<f64>>,
}
