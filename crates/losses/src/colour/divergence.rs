//! How far two histograms are apart.

use crate::colour::bins::Bins;
use crate::mean::sign;
use serde::{Deserialize, Serialize};

/// Added to every bin's share before shares are compared by their quotient: less than one pixel of 256 x 256.
const KL_FLOOR: f64 = 1e-5;
/// Keeps the quotient of empty bins finite.
const CHI2_EPS: f64 = 1e-10;
/// Where less is in all bins together there is nothing to move.
const NO_MASS: f64 = 1e-12;

/// How two histograms are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistogramDistance {
    /// Mean absolute difference of the cumulative histograms.
    CdfL1,
    /// Kullback-Leibler divergence of the target from the prediction.
    Kl,
    /// χ².
    Chi2,
    /// Wasserstein distance of order 1 in units of the channel's range.
    Wasserstein,
}

impl HistogramDistance {
    /// The distance of the shares p in all bins from t.
    pub(crate) fn value(self, bins: &Bins, p: &[f64], t: &[f64]) -> f64 {
        let pairs = p.iter().zip(t);
        match self {
            Self::CdfL1 => cumulative(bins, p, t).iter().map(|d| d.abs()).sum::<f64>() / bins.len() as f64,
            Self::Chi2 => pairs.map(|(p, t)| (p - t) * (p - t) / (p + t + CHI2_EPS)).sum::<f64>() / 2.0,
            Self::Kl => {
                let (p_mass, t_mass) = (floored_mass(p), floored_mass(t));
                // Of two sums to 1, Σ t ln(t/p) is Σ (t ln(t/p) + p − t), of which no part is negative.
                let share = |(p, t): (&f64, &f64)| {
                    let (p, t) = ((p + KL_FLOOR) / p_mass, (t + KL_FLOOR) / t_mass);
                    // What rounding leaves below 0 is 0, and NaN stays.
                    let share = t * (t / p).ln() + p - t;
                    if share < 0.0 { 0.0 } else { share }
                };
                pairs.map(share).sum::<f64>()
            }
            Self::Wasserstein => {
                let (p, t) = (normalised(p), normalised(t));
                bins.spacing * cumulative(bins, &p, &t).iter().map(|d| d.abs()).sum::<f64>()
            }
        }
    }

    /// Its derivatives by p.
    pub(crate) fn slopes(self, bins: &Bins, p: &[f64], t: &[f64]) -> Vec<f64> {
        let pairs = p.iter().zip(t);
        match self {
            Self::CdfL1 => suffix_sums(&cumulative(bins, p, t), 1.0 / bins.len() as f64),
            Self::Chi2 => {
                let slope = |(p, t): (&f64, &f64)| {
                    let share = (p - t) / (p + t + CHI2_EPS);
                    share - share * share / 2.0
                };
                pairs.map(slope).collect()
            }
            Self::Kl => {
                let (p_mass, t_mass) = (floored_mass(p), floored_mass(t));
                let share = |(p, t): (&f64, &f64)| (t + KL_FLOOR) / t_mass / (p + KL_FLOOR);
                pairs.map(|pair| 1.0 / p_mass - share(pair)).collect()
            }
            Self::Wasserstein => {
                let (unit, t) = (normalised(p), normalised(t));
                let mass: f64 = p.iter().sum();
                if mass < NO_MASS {
                    return vec![0.0; p.len()];
                }
                let by_unit = suffix_sums(&cumulative(bins, &unit, &t), bins.spacing);
                let mean: f64 = by_unit.iter().zip(&unit).map(|(slope, p)| slope * p).sum();
                by_unit.iter().map(|slope| (slope - mean) / mass).collect()
            }
        }
    }
}

/// The difference of the cumulative histograms. Around a circle it depends on the bin that it starts with by a constant; the
/// median is taken off, which leaves the least sum of absolute values.
fn cumulative(bins: &Bins, p: &[f64], t: &[f64]) -> Vec<f64> {
    let mut sum = 0.0;
    let sums = p.iter().zip(t).map(|(p, t)| {
        sum += p - t;
        sum
    });
    let mut sums: Vec<f64> = sums.collect();
    if bins.circular {
        let mut sorted = sums.clone();
        sorted.sort_by(f64::total_cmp);
        let half = sorted.len() / 2;
        let median = (sorted[half] + sorted[(sorted.len() - 1) / 2]) / 2.0;
        sums.iter_mut().for_each(|d| *d -= median);
    }
    sums
}

/// The derivatives of scale · Σ |d| by what d are the cumulative sums of. That of the median is 0 in all.
fn suffix_sums(d: &[f64], scale: f64) -> Vec<f64> {
    let mut sum = 0.0;
    let mut slopes: Vec<f64> = d
        .iter()
        .rev()
        .map(|&d| {
            sum += sign(d);
            scale * sum
        })
        .collect();
    slopes.reverse();
    slopes
}

fn floored_mass(p: &[f64]) -> f64 {
    p.iter().map(|p| p + KL_FLOOR).sum()
}

fn normalised(p: &[f64]) -> Vec<f64> {
    let mass: f64 = p.iter().sum();
    p.iter().map(|p| if mass < NO_MASS { 0.0 } else { p / mass }).collect()
}
