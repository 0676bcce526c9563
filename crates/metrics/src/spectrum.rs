//! How fast an image's power falls with its frequency.

use crate::fourier::Fourier;
use crate::plane::Plane;
use crate::{Best, Definition, Measure, Pair};
use std::f64::consts::TAU;

/// Rings from 1 to half of it cycles per image: below 16 there are too few for a line.
const SMALLEST_SIDE: usize = 16;

impl Measure {
    /// Slope of log power over log frequency of the luma (less its mean, under a Hann window; mean power in rings one cycle
    /// per shorter side wide, up to half a cycle per pixel), prediction less target.
    ///
    /// Photographs have slopes around −2. Below 0 the prediction lacks fine detail, above it has too much; 0 is best. From
    /// 16x16 pixels.
    ///
    /// Source: van der Schaaf, van Hateren, Vision Research 36 (1996), doi:10.1016/0042-6989(96)00002-8.
    pub const SPECTRAL_SLOPE: Self = Self {
        definition: &Definition {
            spec: "spectral-slope[difference,bt601-luma,hann]",
            name: "spectral-slope",
            label: "ΔSlope",
            unit: "",
            best: Best::At(0.0),
            smallest_side: SMALLEST_SIDE,
        },
        value: difference,
    };
}

/// Added to each ring's mean power, in squares of the range: far below what rounding to 8 bits adds (1.3e-6), so only flat
/// images feel it, whose slope is 0 by it.
const FLOOR: f64 = 1e-10;

fn difference(pair: &Pair) -> f64 {
    let fourier = Fourier::new(pair.height(), pair.width());
    let [pred, target] = pair.lumas().map(|luma| slope(&fourier, luma));
    pred - target
}

/// Slope of the line through log power over log frequency, fitted by least squares.
fn slope(fourier: &Fourier, luma: &Plane) -> f64 {
    let points = ring_powers(fourier, luma).into_iter().enumerate().skip(1);
    let points: Vec<(f64, f64)> = points.map(|(ring, power)| ((ring as f64).ln(), (power + FLOOR).ln())).collect();
    let n = points.len() as f64;
    let mean_x = points.iter().map(|p| p.0).sum::<f64>() / n;
    let mean_y = points.iter().map(|p| p.1).sum::<f64>() / n;
    let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    covariance / variance
}

/// Mean power by frequency in cycles per shorter side, rounded, up to half the shorter side.
fn ring_powers(fourier: &Fourier, luma: &Plane) -> Vec<f64> {
    let (height, width) = (luma.height, luma.width);
    let side = height.min(width);
    let squares = (squared_frequencies(height, side), squared_frequencies(width, side));
    let mut sums = vec![(0.0, 0u32); side / 2 + 1];
    for (x, column) in fourier.forward(&windowed(luma)).chunks_exact(height).enumerate() {
        for (y, value) in column.iter().enumerate() {
            if let Some((sum, count)) = sums.get_mut((squares.0[y] + squares.1[x]).sqrt().round() as usize) {
                *sum += value.norm_sqr();
                *count += 1;
            }
        }
    }
    let pixels = (height * width) as f64;
    sums.into_iter().map(|(sum, count)| sum / (f64::from(count) * pixels)).collect()
}

/// The luma less its mean, faded to zero towards the borders, whose jumps would be frequencies of their own.
fn windowed(luma: &Plane) -> Plane {
    let (down, across) = (hann(luma.height), hann(luma.width));
    let mean = luma.mean();
    let values =
        luma.rows().zip(&down).flat_map(|(row, d)| row.iter().zip(&across).map(move |(v, a)| (v - mean) * d * a));
    Plane::new(values.collect(), luma.height, luma.width)
}

fn hann(n: usize) -> Vec<f64> {
    (0..n).map(|i| 0.5 - 0.5 * (TAU * (i as f64 + 0.5) / n as f64).cos()).collect()
}

/// Squares of the frequencies of a spectrum's `n` entries, in cycles per `side` pixels. A frequency half way between two
/// rings is exact in them, and so in the root of a sum: which ring it falls into is no matter of rounding.
fn squared_frequencies(n: usize, side: usize) -> Vec<f64> {
    let frequency = |i: usize| (i.min(n - i) * side) as f64 / n as f64;
    (0..n).map(|i| frequency(i) * frequency(i)).collect()
}
