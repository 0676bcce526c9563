//! How sharp the prediction is beside its target.

use crate::filter::gradient_magnitude;
use crate::{Best, Definition, Measure, Pair};

impl Measure {
    /// Mean gradient magnitude of the prediction's luma over that of the target's (Sobel, inside the image).
    ///
    /// From 0; below 1 the prediction is blurred, above it noisy or sharpened; 1 is best. Infinite if the target alone is
    /// flat. From 3x3 pixels.
    ///
    /// Source: Subbarao, Choi, Nikzad, Optical Engineering 32 (1993), doi:10.1117/12.147706, for gradients as a measure of
    /// focus.
    pub const SHARPNESS: Self = Self {
        definition: &Definition {
            spec: "sharpness[gradient-ratio,bt601-luma,sobel]",
            name: "sharpness",
            label: "Sharpness",
            unit: "",
            best: Best::At(1.0),
            smallest_side: 3,
        },
        value: ratio,
    };
}

fn ratio(pair: &Pair) -> f64 {
    let [pred, target] = pair.lumas().map(|luma| gradient_magnitude(luma, 0.125, 0.25).mean());
    if pred == target { 1.0 } else { pred / target }
}
