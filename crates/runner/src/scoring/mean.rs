//! Means over images.

use crate::study::record::ImageScore;
use anyhow::{Context, Result};
use colormamba_features::Metric;
use colormamba_metrics::Summary;

/// The mean over images of one measure; infinite values are left out where others are not ([`Summary`]).
///
/// # Errors
/// If an image lacks the measure.
pub fn mean_of(scores: &[ImageScore], metric: Metric) -> Result<f64> {
    let value = |score: &ImageScore| {
        let lacking = || format!("{} was not scored with {}", score.image, score.setting.spec(metric));
        score.value(metric).with_context(lacking)
    };
    let values = scores.iter().map(value).collect::<Result<Vec<f64>>>()?;
    Ok(Summary::of(&values).map_or(f64::NAN, |summary| summary.mean))
}

/// The mean; NaN of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
