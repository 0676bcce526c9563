//! Means over images.

use crate::study::record::ImageScore;
use anyhow::{Context, Result};
use colormamba_features::Metric;

/// The mean over images of one measure.
///
/// # Errors
/// If an image lacks the measure.
pub fn mean_of(scores: &[ImageScore], metric: Metric) -> Result<f64> {
    let value = |score: &ImageScore| {
        let lacking = || format!("{} was not scored with {}", score.image, score.setting.spec(metric));
        score.value(metric).with_context(lacking)
    };
    Ok(mean(&scores.iter().map(value).collect::<Result<Vec<f64>>>()?))
}

/// The mean; NaN of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
