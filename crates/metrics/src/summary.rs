//! Values of many images in a few numbers.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const RESAMPLES: usize = 10_000;
const SEED: u64 = 0;

/// Mean, median, spread and the mean's uncertainty over the images of a data set.
///
/// Infinite values (the PSNR of equal images) are counted and otherwise left out: one of them would make the mean infinite and
/// say nothing of the others. Where all are infinite, so are mean and median. A NaN is not hidden: it makes every number
/// NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Mean.
    pub mean: f64,
    /// The middle value, or the mean of the middle two.
    pub median: f64,
    /// Standard deviation of a sample, with n − 1; `None` for a single value.
    pub sd: Option<f64>,
    /// 95 % interval of the mean, `[lower, upper]`: percentiles 2.5 and 97.5 of the means of 10 000 resamples with
    /// replacement, always the same ones. `None` for a single value or if one is NaN.
    ///
    /// Source: Efron, Tibshirani, "An Introduction to the Bootstrap", Chapman & Hall 1993, doi:10.1201/9780429246593,
    /// chapter 13.
    pub interval: Option<[f64; 2]>,
    /// Number of values, those that are infinite included.
    pub n: usize,
    /// How many are infinite.
    pub infinite: usize,
}

impl Summary {
    /// The summary of `values`; `None` if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let kept: Vec<f64> = values.iter().copied().filter(|value| !value.is_infinite()).collect();
        let (n, infinite) = (values.len(), values.len() - kept.len());
        if n == 0 {
            return None;
        }
        if kept.is_empty() {
            // NaN if both infinities are among them.
            let all: f64 = values.iter().sum();
            return Some(Self { mean: all, median: all, sd: None, interval: None, n, infinite });
        }
        let mean = mean(kept.iter().copied(), kept.len());
        let squares: f64 = kept.iter().map(|v| (v - mean) * (v - mean)).sum();
        let sd = (kept.len() > 1).then(|| (squares / (kept.len() as f64 - 1.0)).sqrt());
        Some(Self { mean, median: median(&kept), sd, interval: interval(&kept), n, infinite })
    }
}

fn mean(values: impl Iterator<Item = f64>, n: usize) -> f64 {
    values.sum::<f64>() / n as f64
}

fn median(values: &[f64]) -> f64 {
    if values.iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    percentile(&mut values.to_vec(), 0.5)
}

fn interval(values: &[f64]) -> Option<[f64; 2]> {
    let n = values.len();
    if n < 2 || values.iter().any(|v| v.is_nan()) {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut resample = |_| mean((0..n).map(|_| values[rng.random_range(0..n)]), n);
    let mut means: Vec<f64> = (0..RESAMPLES).map(&mut resample).collect();
    Some([percentile(&mut means, 0.025), percentile(&mut means, 0.975)])
}

/// The value below which a `share` of at least one value lies, between two neighbours linearly; reorders `values`.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    let position = share * (values.len() - 1) as f64;
    let (_, &mut low, above) = values.select_nth_unstable_by(position as usize, f64::total_cmp);
    let weight = position.fract();
    if weight == 0.0 {
        return low;
    }
    let high = above.iter().copied().fold(f64::INFINITY, f64::min);
    if high == low { low } else { low + weight * (high - low) }
}
