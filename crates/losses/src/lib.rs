//! Loss terms and the objective a manifest builds from them.
//!
//! A [`Term`] compares a predicted image with its target, both `(B, 3, H, W)`; an [`ImageObjective`] is a weighted sum of
//! terms. The published reconstruction loss of ColorMamba is `feature_mse + feature_cosine + ms_ssim_published` with the
//! features of [`AutoencoderFeatures`]. [`lsgan`] is the adversarial part.

mod distance;
mod error;
mod features;
mod ms_ssim;
mod objective;
mod similarity;
mod term;

pub use error::LossError;
pub use features::AutoencoderFeatures;
pub use objective::{Evaluation, ImageObjective, Target};
pub use term::Term;

use candle_core::{Result, Tensor};

/// Least-squares adversarial loss: the mean of `(s - target)²` over all scores, of any shape; a scalar.
///
/// The critic drives real scores to 1 and fake ones to 0, the generator fake ones to 1.
///
/// # Errors
/// Those of the tensor operations.
///
/// Source: Mao et al., "Least squares generative adversarial networks", ICCV 2017, arXiv 1611.04076 (there with a factor
/// of ½).
pub fn lsgan(scores: &Tensor, target: f64) -> Result<Tensor> {
    (scores - target)?.sqr()?.mean_all()
}
