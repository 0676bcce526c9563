//! Angular error.

use crate::{Image, MetricError};

/// Two ways to compute the angle between two colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AngularForm {
    /// `acos(a·b / (|a||b| + 1e-6))`, the form that published tables use. The offset makes equal dark pixels differ by
    /// 0.1° to 2°, and counts a black pixel as 90°.
    Published,
    /// `atan2(|a×b|, a·b)`, accurate for small angles too; a pixel where either colour is black has no angle and counts
    /// as 0.
    Exact,
}

/// Angle in degrees between the RGB vectors of prediction and target, averaged over pixels.
///
/// In `[0, 90]` for non-negative images, lower is better. It compares colour regardless of brightness.
///
/// # Errors
/// [`MetricError::Mismatch`] if the sizes differ.
///
/// Source: IEEE VCIP 2020 grand challenge on NIR image colorization.
pub fn angular_error(pred: &Image, target: &Image, form: AngularForm) -> Result<f64, MetricError> {
    pred.same_size(target)?;
    let angle = match form {
        AngularForm::Published => published,
        AngularForm::Exact => exact,
    };
    let ([pr, pg, pb], [tr, tg, tb]) = (pred.channels(), target.channels());
    let sum: f64 = (0..pr.len()).map(|i| angle([pr[i], pg[i], pb[i]], [tr[i], tg[i], tb[i]])).sum();
    Ok((sum / pr.len() as f64).to_degrees())
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn published(a: [f64; 3], b: [f64; 3]) -> f64 {
    let cosine = dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt() + 1e-6);
    cosine.clamp(-1.0, 1.0).acos()
}

fn exact(a: [f64; 3], b: [f64; 3]) -> f64 {
    // atan2(0, 0) is 0: a black pixel needs no case of its own.
    let cross = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
    dot(cross, cross).sqrt().atan2(dot(a, b))
}
