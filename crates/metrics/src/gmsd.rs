//! Gradient magnitude similarity deviation.

use crate::definition::Recipe;
use crate::filter::{gradient_magnitude, halved, similarity};
use crate::{Best, Definition, Pair};

pub(crate) const GMSD: Recipe = Recipe {
    definition: Definition {
        spec: "gmsd[yiq-luma,half-size,prewitt,c=170/255²]",
        label: "GMSD",
        unit: "",
        best: Best::Lowest,
        smallest_side: 2,
    },
    value: deviation,
};

/// The paper's constant, for the range 1.
const C: f64 = 170.0 / (255.0 * 255.0);

fn deviation(pair: &Pair) -> f64 {
    let third = 1.0 / 3.0;
    let [pred, target] = pair.lumas().map(|luma| gradient_magnitude(&halved(luma).padded(1, 1), third, third));
    let map = pred.zip(&target, |p, t| similarity(p, t, C));
    let mean = map.mean();
    map.map(|v| (v - mean) * (v - mean)).mean().sqrt()
}
