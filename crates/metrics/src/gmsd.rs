//! Gradient magnitude similarity deviation.

use crate::filter::{gradient_magnitude, halved, similarity};
use crate::{Best, Definition, Measure, Pair};

impl Measure {
    /// Gradient magnitude similarity deviation: spread of the similarity of gradients of the luma (Prewitt, at half size).
    ///
    /// In `[0, 0.5]`, lower is better, 0 for equal images. Symmetric. From 2x2 pixels.
    ///
    /// Source: Xue, Zhang, Mou, Bovik, IEEE TIP 23 (2014), doi:10.1109/TIP.2013.2293423, arXiv:1308.3052.
    pub const GMSD: Self = Self {
        definition: &Definition {
            spec: "gmsd[yiq-luma,half-size,prewitt,c=170/255²]",
            name: "gmsd",
            label: "GMSD",
            unit: "",
            best: Best::Lowest,
            smallest_side: 2,
        },
        value: deviation,
    };
}

/// The paper's constant, for the range 1.
const C: f64 = 170.0 / (255.0 * 255.0);

fn deviation(pair: &Pair) -> f64 {
    let third = 1.0 / 3.0;
    let [pred, target] = pair.lumas().map(|luma| gradient_magnitude(&halved(luma).padded(1, 1), third, third));
    let map = pred.zip(&target, |p, t| similarity(p, t, C));
    let mean = map.mean();
    map.map(|v| (v - mean) * (v - mean)).mean().sqrt()
}
