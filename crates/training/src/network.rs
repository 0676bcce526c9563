//! What a trainer needs of a network.

use crate::TrainingError;
use candle_core::{DType, Tensor};
use colormamba_layers::Scope;
use colormamba_ops::Node;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::fmt;

/// The tensors of a batch by name: what the network is given, and the targets of its heads. The first dimension of each
/// is that of the batch.
pub type NamedTensors = BTreeMap<String, Tensor>;

/// What a network makes of a batch, by the names of its heads.
pub type NamedNodes = BTreeMap<String, Node>;

/// What a network calls the feature map that it gives beside its images, if it gives one
/// ([`crate::NetworkOptions::features`]).
pub const FEATURES: &str = "features";

/// An output of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadShape {
    /// What it is called; its target has the same name in a batch.
    pub name: &'static str,
    /// What it holds.
    pub kind: HeadKind,
}

/// What an output of a network holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKind {
    /// An image `(B, C, H, W)`.
    Image {
        /// C: 3 for colours, 1 for grey.
        channels: usize,
    },
    /// Class scores `(B, n)` before their softmax; the target is the classes' probabilities.
    Classes {
        /// n.
        count: usize,
    },
}

impl HeadShape {
    /// An image of so many channels.
    pub const fn image(name: &'static str, channels: usize) -> Self {
        Self { name, kind: HeadKind::Image { channels } }
    }

    /// Scores of so many classes.
    pub const fn classes(name: &'static str, count: usize) -> Self {
        Self { name, kind: HeadKind::Classes { count } }
    }
}

impl fmt::Display for HeadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image { channels: 1 } => f.write_str("an image of 1 channel"),
            Self::Image { channels } => write!(f, "an image of {channels} channels"),
            Self::Classes { count } => write!(f, "scores of {count} classes"),
        }
    }
}

/// What a network is asked for its images for.
#[derive(Debug)]
pub enum Pass<'a> {
    /// To show or to score them.
    Evaluation,
    /// To learn from them. What a network leaves to chance, as dropout does, it draws from here.
    Training(&'a mut ChaCha8Rng),
}

impl<'a> Pass<'a> {
    /// The random numbers of a pass in training.
    pub fn chance(self) -> Option<&'a mut ChaCha8Rng> {
        match self {
            Self::Evaluation => None,
            Self::Training(chance) => Some(chance),
        }
    }
}

/// A network that a [`crate::Trainer`] can train: named tensors in, an image or class scores for each head out.
pub trait Network {
    /// Its outputs.
    fn heads(&self) -> Vec<HeadShape>;

    /// What it makes of the tensors of `batch` that it takes ([`tensor`]), one node for each head, and its [`FEATURES`]
    /// if it gives some. In training, whatever a network moves beside its gradients moves: running statistics, power
    /// iterations.
    ///
    /// # Errors
    /// [`TrainingError::Missing`], [`TrainingError::Size`], and those of the tensor operations.
    fn forward(&self, batch: &NamedTensors, pass: Pass) -> Result<NamedNodes, TrainingError>;

    /// Whether it takes images of this size, in pixels.
    ///
    /// # Errors
    /// [`TrainingError::Size`] says which it takes.
    fn check_size(&self, width: usize, height: usize) -> Result<(), TrainingError>;

    /// The network as one whose picture follows from each pixel's own NIR value; none for every other.
    fn local(&self) -> Option<&dyn LocalColour> {
        None
    }
}

/// A network whose picture is `sigmoid(offset + gain · logit(nir))` with an offset and a gain for each colour and pixel
/// ([`colormamba_ops::offset_gain`]): detail is the NIR image's own, so that the coefficients of a small image serve a
/// large one.
pub trait LocalColour {
    /// Offsets of three colours and then their gains, `(B, 6, H, W)`, for a NIR image `(B, 1, H, W)` in `[0, 1]`.
    ///
    /// # Errors
    /// Those of the tensor operations.
    fn coefficients(&self, nir: &Tensor) -> Result<Tensor, TrainingError>;

    /// The darkest value that has a logit of its own; the brightest is as far from 1.
    fn darkest(&self) -> f64;
}

/// Builds a network over the tensors of a scope: those that are there, fresh ones where there are none. Activations are
/// of the given type, or of that of the images. A [`crate::Trainer`] builds its network once to train and once more to
/// evaluate.
pub type Builder = Box<dyn Fn(&Scope, Option<DType>) -> Result<Box<dyn Network>, TrainingError>>;

/// A tensor of a batch.
///
/// # Errors
/// [`TrainingError::Missing`] if it has none of this name.
pub fn tensor<'a>(batch: &'a NamedTensors, name: &str) -> Result<&'a Tensor, TrainingError> {
    batch.get(name).ok_or_else(|| TrainingError::Missing { name: name.to_string() })
}
