//! Loss terms for image-to-image training, and the objective a manifest builds from them.
//!
//! A [`Term`] compares a predicted image with its target, both `(B, 3, H, W)`; an [`ImageObjective`] is a weighted sum of
//! terms, computed in the graph of [`colormamba_ops::Node`]. A loss value is an f64 scalar, whatever the type of the images;
//! gradients have the type of the images. The target takes no gradient.

// What the build script made of the CUDA kernels.
mod kernels {
    include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
}

mod adversarial;
mod candle;
mod colour;
mod edges;
mod error;
mod mean;
mod networks;
mod objective;
mod perceptual;
mod pixel;
mod preset;
mod scalar;
mod speckle;
mod structure;
mod term;
mod video;
mod view;
mod weight;

pub use adversarial::Adversarial;
pub use colour::histogram::{HistogramDistance, HistogramOptions, Space};
pub use error::LossError;
pub use networks::Networks;
pub use objective::{Evaluation, ImageObjective, Target};
pub use perceptual::{FeatureDistance, LayerPreset, Layers, LpipsOptions, StyleOptions, VggOptions};
pub use pixel::{Charbonnier, Psnr, SmoothL1};
pub use preset::Preset;
pub use scalar::{numbers, weighted_sum};
pub use speckle::{EnlOptions, LogDomainOptions, Mask};
pub use structure::{Padding, Part, SsimOptions, WindowOptions};
pub use term::{About, Extractor, Term};
pub use video::{temporal_feature_loss, warp, warp_loss};
pub use weight::{Weight, WeightSchedule};

/// The name among `known` that `name` was probably meant to be.
fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    // Below this similarity a suggestion is a guess.
    const ALIKE: f64 = 0.75;
    let scored = known.map(|known| (strsim::jaro_winkler(name, known), known));
    scored.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}
