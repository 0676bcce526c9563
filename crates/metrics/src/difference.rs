//! Measures of the plain difference: PSNR, MAE, RMSE.

use crate::{Best, Definition, Measure, Pair};

impl Measure {
    /// Peak signal-to-noise ratio for a peak of 1: −10 log10 of the mean squared difference over pixels and channels.
    ///
    /// In dB, higher is better, `+∞` for equal images, 0 for black against white. Symmetric.
    pub const PSNR: Self = Self {
        definition: &Definition {
            spec: "psnr[rgb,L=1]",
            name: "psnr",
            label: "PSNR",
            unit: "dB",
            best: Best::Highest,
            smallest_side: 1,
        },
        value: |pair| -10.0 * mean(pair, |d| d * d).log10(),
    };

    /// Mean absolute difference over pixels and channels.
    ///
    /// In `[0, 1]`, lower is better. Symmetric.
    pub const MAE: Self = Self {
        definition: &Definition {
            spec: "mae[rgb,L=1]",
            name: "mae",
            label: "MAE",
            unit: "",
            best: Best::Lowest,
            smallest_side: 1,
        },
        value: |pair| mean(pair, f64::abs),
    };

    /// Root of the mean squared difference over pixels and channels.
    ///
    /// In `[0, 1]`, lower is better. Symmetric.
    pub const RMSE: Self = Self {
        definition: &Definition {
            spec: "rmse[rgb,L=1]",
            name: "rmse",
            label: "RMSE",
            unit: "",
            best: Best::Lowest,
            smallest_side: 1,
        },
        value: |pair| mean(pair, |d| d * d).sqrt(),
    };
}

/// Mean of `f` of the differences over pixels and channels.
fn mean(pair: &Pair, f: impl Fn(f64) -> f64) -> f64 {
    let (pred, target) = (pair.pred.values(), pair.target.values());
    pred.iter().zip(target).map(|(p, t)| f(p - t)).sum::<f64>() / pred.len() as f64
}
