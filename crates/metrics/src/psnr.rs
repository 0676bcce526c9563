//! Peak signal-to-noise ratio.

use crate::{Image, MetricError};

/// Peak signal-to-noise ratio in dB for a peak of 1: `-10 log10(MSE)`, the mean taken over pixels and channels.
///
/// Higher is better, `+∞` for equal images.
///
/// # Errors
/// [`MetricError::Mismatch`] if the sizes differ.
pub fn psnr(pred: &Image, target: &Image) -> Result<f64, MetricError> {
    pred.same_size(target)?;
    let squares: f64 = pred.values().iter().zip(target.values()).map(|(p, t)| (p - t) * (p - t)).sum();
    Ok(-10.0 * (squares / pred.values().len() as f64).log10())
}
