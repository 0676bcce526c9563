//! Measures of the plain difference: PSNR, MAE, RMSE.

use crate::definition::Recipe;
use crate::{Best, Definition, Pair};

pub(crate) const PSNR: Recipe = Recipe {
    definition: Definition { spec: "psnr[rgb,L=1]", label: "PSNR", unit: "dB", best: Best::Highest, smallest_side: 1 },
    value: |pair| -10.0 * mean(pair, |d| d * d).log10(),
};

pub(crate) const MAE: Recipe = Recipe {
    definition: Definition { spec: "mae[rgb,L=1]", label: "MAE", unit: "", best: Best::Lowest, smallest_side: 1 },
    value: |pair| mean(pair, f64::abs),
};

pub(crate) const RMSE: Recipe = Recipe {
    definition: Definition { spec: "rmse[rgb,L=1]", label: "RMSE", unit: "", best: Best::Lowest, smallest_side: 1 },
    value: |pair| mean(pair, |d| d * d).sqrt(),
};

/// Mean of `f` of the differences over pixels and channels.
fn mean(pair: &Pair, f: impl Fn(f64) -> f64) -> f64 {
    let (pred, target) = (pair.pred.values(), pair.target.values());
    pred.iter().zip(target).map(|(p, t)| f(p - t)).sum::<f64>() / pred.len() as f64
}
