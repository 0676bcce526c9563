//! Loss terms for image-to-image training, and the objective a manifest builds from them.
//!
//! A [`Term`] compares a predicted image with its target, both `(B, C, H, W)`, or class scores `(B, n)` with
//! probabilities; an [`ImageObjective`] is a weighted sum of terms, computed in the graph of [`colormamba_ops::Node`].
//! A loss value is an f64 scalar, whatever the type of the images; gradients have the type of the images. The target
//! takes no gradient.
//!
//! ```
//! use candle_core::{Device, Tensor, Var};
//! use colormamba_losses::{ImageObjective, Networks, Term, Weight};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let image = || Tensor::rand(0f32, 1f32, (2, 3, 32, 32), &Device::Cpu);
//! let (pred, target) = (Var::from_tensor(&image()?)?, image()?);
//! let terms = vec![(Term::L1 {}, Weight::from(1.0)), (Term::Ssim(Default::default()), Weight::from(0.5))];
//! let objective = ImageObjective::new(terms, Networks::default())?;
//! let loss = objective.evaluate(&pred, &objective.target(&target)?, 0)?;
//! println!("L1 and SSIM add {:?} to the loss", loss.weighted);
//! let gradients = loss.total.backward(&Tensor::new(1f64, &Device::Cpu)?)?;
//! assert_eq!(gradients.get(&pred).ok_or("no gradient")?.dims(), [2, 3, 32, 32]);
//! # Ok(())
//! # }
//! ```

// What the build script made of the CUDA kernels.
mod kernels {
    include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
}

mod adversarial;
mod candle;
mod channels;
mod colour;
mod combination;
mod definition;
mod edges;
mod error;
mod layers;
mod mean;
mod networks;
mod objective;
mod options;
mod preset;
mod scalar;
mod structure;
mod term;
mod terms;
mod video;
mod view;
mod weight;

pub use adversarial::Adversarial;
pub use channels::Channels;
pub use combination::Combination;
pub use definition::{About, Extractor};
pub use error::LossError;
pub use networks::Networks;
pub use objective::{Evaluation, ImageObjective, Target};
pub use preset::Preset;
pub use scalar::{numbers, weighted_sum};
pub use terms::*;
pub use video::{temporal_feature_loss, warp, warp_loss};
pub use weight::{Weight, WeightSchedule};
