//! How sharp the prediction is beside its target.

use crate::definition::Recipe;
use crate::filter::gradient_magnitude;
use crate::{Best, Definition, Pair};

pub(crate) const GRADIENT_RATIO: Recipe = Recipe {
    definition: Definition {
        spec: "sharpness[gradient-ratio,bt601-luma,sobel]",
        label: "Sharpness",
        unit: "",
        best: Best::At(1.0),
        smallest_side: 3,
    },
    value: ratio,
};

fn ratio(pair: &Pair) -> f64 {
    let [pred, target] = pair.lumas().map(|luma| gradient_magnitude(luma, 0.125, 0.25).mean());
    if pred == target { 1.0 } else { pred / target }
}
