//! What a term states about itself.

use crate::view::{Comparison, View};
use crate::{Channels, LossError};
use colormamba_features::Network;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a term, an adversarial loss or a combination of terms is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct About {
    /// The name in manifests and logs.
    pub name: &'static str,
    /// How it is computed; ⟨·⟩ is the mean over batch, channels and pixels, p the prediction and t the target.
    pub formula: &'static str,
    /// What values it takes, for images in [0, 1].
    pub range: &'static str,
    /// Paper or code that it is taken from.
    pub source: &'static str,
    /// Its options with their meaning; empty without any.
    pub options: &'static str,
}

/// All that this crate knows of a term. The term's file implements it for the options; the term's line in [`crate::terms`]
/// does the rest.
pub(crate) trait Definition {
    /// Name, formula, range, source and options; the name is that of the file and of the line.
    fn about(&self) -> &'static About;

    /// What it compares.
    fn family(&self) -> Family;

    /// How many channels its images have, or that it takes class scores.
    fn channels(&self) -> Channels;

    /// The smallest height and width in pixels that it is defined for, at least 1. What its classifier needs comes on top by
    /// itself.
    fn smallest_side(&self) -> usize;

    /// Says what is wrong with the value of an option.
    fn check(&self) -> Result<(), String>;

    /// What it sees of an image beside its pixels: nothing else is in the views that it is given.
    fn features(&self) -> Option<Features> {
        None
    }

    /// The term as a function of the prediction.
    fn against(&self, target: &View) -> Result<Comparison, LossError>;
}

/// What a term compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Values, pixel by pixel.
    Pixel,
    /// Local structure.
    Structure,
    /// Responses of small filters.
    Edge,
    /// Colours.
    Colour,
    /// Features of fixed networks.
    Feature,
    /// Images with speckle.
    Speckle,
    /// Class scores.
    Classes,
}

/// Features of an image, by a fixed network.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Features {
    /// Those of the auto-encoder.
    Autoencoder,
    /// Feature maps of a classifier by their names.
    Classifier { network: Network, taps: Vec<String> },
}

impl Features {
    /// The network that makes them.
    pub(crate) fn extractor(&self) -> Extractor {
        match self {
            Self::Autoencoder => Extractor::Autoencoder,
            Self::Classifier { network, .. } => Extractor::Classifier(*network),
        }
    }

    /// The smallest height and width in pixels of an image that has them.
    pub(crate) fn smallest_side(&self) -> usize {
        match self {
            Self::Autoencoder => 1,
            Self::Classifier { network, taps } => network.smallest_side(taps),
        }
    }
}

/// A fixed network that a term looks through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Extractor {
    /// The auto-encoder of ColorMamba's published loss.
    Autoencoder,
    /// A classifier.
    #[serde(untagged)]
    Classifier(Network),
}

impl fmt::Display for Extractor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Autoencoder => f.write_str("autoencoder"),
            Self::Classifier(network) => network.fmt(f),
        }
    }
}
