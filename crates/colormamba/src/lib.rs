//! ColorMamba (Zhai, Jin, Yang, Kang, arXiv 2408.08087): NIR-to-RGB colorization.
//!
//! The [`Generator`] is G_B, the HSV sub-network, feeding G_A, the RGB network. In training a [`Discriminator`] scores each of its two
//! outputs. [`checkpoint`] reads and writes weights, the published ones included.

pub mod checkpoint;
mod discriminator;
mod generator;

pub use colormamba_rgb_net::{EdgeMap, UnknownEdgeMap};
pub use discriminator::{Discriminator, MOST_SCALES, PUBLISHED_NDF};
pub use generator::{Generator, GeneratorConfig, ModelError, Output};

/// Prefix of the generator's tensors in our checkpoints, which hold the discriminators and optimizers too.
pub const GENERATOR: &str = "g.";
