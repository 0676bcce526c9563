//! How colourful an image is.

use crate::definition::Recipe;
use crate::{Best, Definition, Image};

pub(crate) const OF_PREDICTION: Recipe = Recipe {
    definition: Definition {
        spec: "colourfulness[hasler-susstrunk,rgb,L=1]",
        label: "Colourfulness",
        unit: "",
        best: Best::Undefined,
        smallest_side: 1,
    },
    value: |pair| colourfulness(pair.pred),
};

pub(crate) const DIFFERENCE: Recipe = Recipe {
    definition: Definition {
        spec: "colourfulness-difference[hasler-susstrunk,rgb,L=1]",
        label: "ΔColourfulness",
        unit: "",
        best: Best::At(0.0),
        smallest_side: 1,
    },
    value: |pair| colourfulness(pair.pred) - colourfulness(pair.target),
};

fn colourfulness(image: &Image) -> f64 {
    let (red_green, red_green_variance) = mean_and_variance(image, |[r, g, _]| r - g);
    let (yellow_blue, yellow_blue_variance) = mean_and_variance(image, |[r, g, b]| (r + g) / 2.0 - b);
    (red_green_variance + yellow_blue_variance).sqrt() + 0.3 * red_green.hypot(yellow_blue)
}

fn mean_and_variance(image: &Image, opponent: impl Fn([f64; 3]) -> f64) -> (f64, f64) {
    let pixels = (image.height() * image.width()) as f64;
    let mean = image.pixels().map(&opponent).sum::<f64>() / pixels;
    let variance = image.pixels().map(|rgb| (opponent(rgb) - mean).powi(2)).sum::<f64>() / pixels;
    (mean, variance)
}
