//! What to train, on what, and how: a TOML file in two stages.
//!
//! The text becomes an unchecked one, which becomes a [`Manifest`] or a [`ManifestError`] that names file,
//! line and the nearest right name. Only a [`Manifest`] can run.

mod check;
mod check_loss;
mod check_train;
mod loss;
pub mod precision;
mod raw;
pub mod reference;
mod source;

pub(crate) use check::RESERVED;
pub use colormamba_losses::Combination;
pub use loss::{AdversarialLoss, Loss, LossTerm, Terms};
pub use source::{ManifestError, Source};

use crate::scoring::measures;
use colormamba_data::{Batch, NirHsv, Protocol, Subset};
use colormamba_features::Metric;
use colormamba_layers::optim::{AdamConfig, EmaConfig, OptimizerConfig, ParameterGroups, Schedule, StepPosition};
use colormamba_support::text::read_text;
use colormamba_training::{Architecture, Updates};
use precision::Precision;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// The best weights of a run, below its folder.
pub const BEST: &str = "checkpoints/best.safetensors";

/// Where pretrained weights lie unless a manifest says otherwise.
pub const DEFAULT_WEIGHTS: &str = "weights";

/// Largest width and height of prepared images, in pixels.
pub const LARGEST_SIDE: u32 = 1 << 14;

/// Most procedural scenes in a split.
pub const MOST_SCENES: usize = 1_000_000;

/// A checked manifest. Serialises to a manifest that means the same, with every default written out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Manifest {
    /// Names the folder of the results.
    pub name: String,
    /// Every variant is trained once for each.
    pub seeds: Vec<u64>,
    /// What the feature terms look through; only there if a term needs it.
    #[serde(flatten)]
    pub features: Option<Features>,
    /// The columns of its tables.
    #[serde(skip_serializing_if = "is_published", serialize_with = "specs")]
    pub measures: Vec<Metric>,
    /// Folder of pretrained weights, relative to the working directory.
    pub weights: PathBuf,
    /// What to train and score on.
    pub data: Data,
    /// The network.
    pub model: Model,
    /// The optimisation.
    pub train: Train,
    /// Random changes of the training pairs.
    pub augmentation: Augmentation,
    /// What is learned of other networks beside the truth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distill: Option<Distill>,
    /// The loss configurations, in the order of the table.
    #[serde(rename = "variant")]
    pub variants: Vec<Variant>,
    #[serde(skip)]
    checked: Checked,
}

/// Keeps a [`Manifest`] from being made outside this module.
#[derive(Clone, Debug, PartialEq)]
struct Checked;

/// The weights of the fixed networks behind the feature terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "features", rename_all = "lowercase")]
pub enum Features {
    /// The published ones, from the weights folder.
    Pretrained,
    /// Seeded random ones, which need no file.
    Random {
        /// Their seed.
        #[serde(rename = "feature_seed")]
        seed: u64,
    },
}

/// The dataset and its preparation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Data {
    /// Where the pairs come from.
    #[serde(flatten)]
    pub dataset: DatasetConfig,
    /// What a prediction is scored against.
    #[serde(serialize_with = "display")]
    pub protocol: Protocol,
    /// What the colour branch of the HSV network is given beside the NIR image.
    #[serde(serialize_with = "display")]
    pub nir_hsv: NirHsv,
    /// Width and height that images are resized to, in pixels; a multiple of the model's grid.
    pub size: u32,
}

/// Where the pairs come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum DatasetConfig {
    /// Photographs in a folder.
    Photographs {
        /// A known description, or the path of one as it was given.
        dataset: String,
        /// Hex BLAKE3 of the file at that path, which tells the description wherever it lies.
        #[serde(skip_serializing_if = "Option::is_none")]
        description_blake3: Option<String>,
        /// Which of the description's splits.
        #[serde(serialize_with = "display")]
        subset: Subset,
        /// Their folder; `--data` takes precedence.
        #[serde(skip_serializing_if = "Option::is_none")]
        root: Option<PathBuf>,
    },
    /// Procedural scenes.
    Synthetic {
        /// Always [`SYNTHETIC`].
        dataset: &'static str,
        /// How many, and from which seed.
        synthetic: SyntheticScenes,
    },
}

/// The dataset that the program draws itself.
pub const SYNTHETIC: &str = "synthetic";

/// How many procedural scenes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SyntheticScenes {
    /// Seed of the scenes, independent of the training seeds.
    pub seed: u64,
    /// Pairs in the training split.
    pub train: usize,
    /// Pairs in the validation split.
    pub validation: usize,
    /// Pairs in the test split.
    pub test: usize,
}

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Model {
    /// Its kind and options.
    #[serde(flatten)]
    pub architecture: Architecture,
    /// The weights that it starts from, if not from fresh ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<Init>,
}

/// Weights that a network starts from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Init {
    /// A file of weights, on a hub too, the folder of a run, whose best weights are taken, or `built-in` for those of
    /// the program.
    pub from: PathBuf,
    /// Prefixes of the names of the tensors that are taken, such as `netG_C.`; all of the network's if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
}

/// The file that holds the weights: of the folder of a run its best ones, anything else is one.
pub fn weights_file(from: &Path) -> PathBuf {
    if from.is_dir() { from.join(BEST) } else { from.to_path_buf() }
}

impl Model {
    /// The heads that a batch has targets for: those that the data has by their names, and the picture.
    pub fn targets(&self) -> Vec<&'static str> {
        let picture = Some(self.architecture.options().rgb()).filter(|name| !Batch::TARGETS.contains(name));
        Batch::TARGETS.into_iter().chain(picture).collect()
    }
}

/// The optimisation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Train {
    /// Passes over the training split.
    pub epochs: usize,
    /// Pairs a step.
    pub batch: usize,
    /// Ends an epoch after so many steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps_per_epoch: Option<usize>,
    /// Discriminator updates a step.
    pub critic_steps: usize,
    /// Generator updates a step, each but the first on a fresh forward pass.
    pub generator_steps: usize,
    /// Base width of the discriminators; 64 as published.
    pub critic_width: usize,
    /// How training computes; validation is in f32.
    pub precision: Precision,
    /// What is logged beside the losses.
    #[serde(flatten)]
    pub diagnostics: Option<Diagnostics>,
    /// How gradients become updates.
    pub optimizer: Optimizer,
    /// How the learning rate falls; constant without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Parameters of the network with a learning rate of their own, and those that stay as they are.
    #[serde(flatten, serialize_with = "write_groups")]
    pub groups: ParameterGroups,
    /// The largest norm of the network's gradient, over all of its parameters; one above it is scaled down to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Batches whose gradients are averaged for each update.
    #[serde(skip_serializing_if = "is_one")]
    pub accumulate: usize,
    /// Decay of the average of the network's weights that is validated and kept in their place; none without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema_decay: Option<f64>,
}

impl Train {
    /// The learning rate of a step.
    pub fn lr(&self, position: StepPosition) -> f64 {
        self.optimizer.lr() * self.schedule.unwrap_or_default().factor(position)
    }

    /// How gradients become new weights.
    pub fn updates(&self) -> Updates {
        Updates {
            optimizer: self.optimizer.config(),
            groups: self.groups.clone(),
            clip_norm: self.clip_norm,
            ema: self.ema_decay.map(|decay| EmaConfig { decay }),
        }
    }
}

/// What is logged beside the losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "diagnostics", rename_all = "lowercase")]
pub enum Diagnostics {
    /// Each term's gradient by the generator's images: its norm, and its cosine with each other term's.
    Gradients {
        /// In the first step and each further so many.
        #[serde(rename = "diagnostics_every")]
        every: usize,
    },
}

impl Diagnostics {
    /// Whether gradients are logged in a step, counted from 0.
    pub fn gradients_at(self, step: usize) -> bool {
        let Self::Gradients { every } = self;
        step.is_multiple_of(every)
    }
}

/// How gradients become updates, of the network and of the discriminators.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Optimizer {
    /// Kingma & Ba, arXiv 1412.6980.
    Adam {
        /// Learning rate before its schedule.
        lr: f64,
        /// Decay of the two moments.
        #[serde(default = "published_betas", deserialize_with = "two")]
        betas: [f64; 2],
    },
    /// Loshchilov & Hutter, arXiv 1711.05101.
    AdamW {
        /// Learning rate before its schedule.
        lr: f64,
        /// Decay of the two moments.
        #[serde(default = "published_betas", deserialize_with = "two")]
        betas: [f64; 2],
        /// Share of a weight that a step takes off it, for a learning rate of 1.
        weight_decay: f64,
    },
}

impl Optimizer {
    /// The learning rate before its schedule.
    pub fn lr(&self) -> f64 {
        match *self {
            Self::Adam { lr, .. } | Self::AdamW { lr, .. } => lr,
        }
    }

    /// All but the learning rate.
    pub fn config(&self) -> OptimizerConfig {
        let AdamConfig { eps, .. } = AdamConfig::default();
        match *self {
            Self::Adam { betas: [beta1, beta2], .. } => OptimizerConfig::Adam { beta1, beta2, eps },
            Self::AdamW { betas: [beta1, beta2], weight_decay, .. } => {
                OptimizerConfig::AdamW { beta1, beta2, eps, weight_decay }
            }
        }
    }
}

/// Two numbers: serde reads an array of two from a longer one as well.
fn two<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[f64; 2], D::Error> {
    let numbers = Vec::<f64>::deserialize(deserializer)?;
    let count = numbers.len();
    numbers.try_into().map_err(|_| D::Error::custom(format!("betas are two numbers, not {count}")))
}

/// Those of ColorMamba.
fn published_betas() -> [f64; 2] {
    let AdamConfig { beta1, beta2, .. } = AdamConfig::default();
    [beta1, beta2]
}

/// Random changes of the training pairs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Augmentation {
    /// Probability of mirroring a pair.
    pub mirror: f64,
    /// Probability of changing a pair's contrast.
    pub contrast: f64,
    /// Cut a square of this many pixels, before resizing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<u32>,
    /// Cut a square whose side is a share between these of the shorter side, before resizing; not beside `crop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop_share: Option<[f64; 2]>,
    /// The NIR image alone is raised to a power whose logarithm is within ± this.
    #[serde(skip_serializing_if = "is_zero")]
    pub tone: f64,
    /// Width and height of training images in pixels, where they are not the data's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
}

/// What a network learns of other networks, beside the truth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Distill {
    /// Files of weights, on a hub too, or folders of runs, whose best weights are taken. Their pictures are averaged.
    pub teachers: Vec<PathBuf>,
    /// The weight of the loss between feature maps, if these are learned from too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<f64>,
    /// The terms between the picture and that average.
    pub loss: Terms,
}

/// One loss configuration, of the manifest's network or of one of its own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Variant {
    /// Names its folder and its row.
    pub name: String,
    /// What is minimised.
    pub loss: Loss,
    /// The network, if it is not the manifest's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
}

impl Manifest {
    /// Reads and checks a manifest text; `file` is the name shown in errors.
    ///
    /// # Errors
    /// The first mistake in it.
    pub fn parse(file: &str, text: &str, overrides: &[String]) -> Result<Self, ManifestError> {
        let source = Source::new(file, text, overrides);
        check::manifest(&source, &source.read()?)
    }

    /// Reads and checks a manifest file with its overrides.
    ///
    /// # Errors
    /// The first mistake in it, or that it cannot be read.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, ManifestError> {
        let file = path.display().to_string();
        let refused = |message: String| ManifestError { place: file.clone(), message };
        let unreadable = |e: std::io::Error| refused(format!("cannot be read: {e}"));
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        // Reading a pipe or a device might never end.
        if !metadata.is_file() {
            let what = if metadata.is_dir() { "a folder" } else { "a pipe or a device" };
            return Err(refused(format!("is {what}; a manifest is a file")));
        }
        let text = read_text(path).map_err(unreadable)?;
        Self::parse(&file, &text, overrides)
    }

    /// The same manifest with one variant, whose network is the manifest's then, and one seed: what one run folder
    /// holds.
    pub fn only(&self, variant: &Variant, seed: u64) -> Self {
        let model = variant.model.as_ref().unwrap_or(&self.model).clone();
        let variant = Variant { model: None, ..variant.clone() };
        Self { seeds: vec![seed], variants: vec![variant], model, ..self.clone() }
    }

    /// The first line in which two manifests differ in more than their seeds and where their files lie.
    ///
    /// # Errors
    /// A path or number that TOML cannot hold.
    pub fn difference(&self, other: &Self) -> Result<Option<(String, String)>, toml::ser::Error> {
        let comparable = |manifest: &Self| {
            let mut manifest = manifest.clone();
            manifest.seeds.clear();
            manifest.weights.clear();
            manifest.measures.clear();
            if let DatasetConfig::Photographs { dataset, description_blake3, root, .. } = &mut manifest.data.dataset {
                *root = None;
                if description_blake3.is_some() {
                    dataset.clear();
                }
            }
            manifest.to_toml()
        };
        let (a, b) = (comparable(self)?, comparable(other)?);
        let (mut a, mut b) = (a.lines(), b.lines());
        loop {
            match (a.next(), b.next()) {
                (None, None) => return Ok(None),
                (x, y) if x == y => {}
                (x, y) => return Ok(Some((x.unwrap_or("nothing").into(), y.unwrap_or("nothing").into()))),
            }
        }
    }

    /// The manifest as TOML.
    ///
    /// # Errors
    /// A path or number that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

fn is_published(metrics: &[Metric]) -> bool {
    metrics == measures::published()
}

fn specs<S: Serializer>(metrics: &[Metric], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(metrics.iter().map(|metric| metric.spec()))
}

fn display<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn is_one(count: &usize) -> bool {
    *count == 1
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

fn write_groups<S: Serializer>(groups: &ParameterGroups, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Groups<'a> {
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        lr_factors: &'a BTreeMap<String, f64>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        freeze: &'a Vec<String>,
    }
    Groups { lr_factors: &groups.lr_factors, freeze: &groups.freeze }.serialize(serializer)
}
