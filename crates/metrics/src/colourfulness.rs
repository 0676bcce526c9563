//! How colourful an image is.

use crate::{Best, Definition, Image, Measure};

impl Measure {
    /// How colourful the prediction is: spread and mean of the opponents R − G and (R + G)/2 − B.
    ///
    /// From 0 (grey) to 1.5 or so; no value is better than another.
    ///
    /// Source: Hasler, Süsstrunk, SPIE 5007 (2003), doi:10.1117/12.477378, there for the range 255.
    pub const COLOURFULNESS: Self = Self {
        definition: &Definition {
            spec: "colourfulness[hasler-susstrunk,rgb,L=1]",
            name: "colourfulness",
            label: "Colourfulness",
            unit: "",
            best: Best::Undefined,
            smallest_side: 1,
        },
        value: |pair| colourfulness(pair.pred),
    };

    /// [`Self::COLOURFULNESS`] of the prediction less that of the target.
    ///
    /// Negative for a paler prediction; 0 is best.
    pub const COLOURFULNESS_DIFFERENCE: Self = Self {
        definition: &Definition {
            spec: "colourfulness-difference[hasler-susstrunk,rgb,L=1]",
            name: "colourfulness-difference",
            label: "ΔColourfulness",
            unit: "",
            best: Best::At(0.0),
            smallest_side: 1,
        },
        value: |pair| colourfulness(pair.pred) - colourfulness(pair.target),
    };
}

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
