//! Phase congruency, Kovesi 1999: where the waves of all scales are in step.

use super::bank::{Bank, ORIENTATIONS, SCALES};
use crate::plane::Plane;
use crate::simd::vectorize;
use rustfft::num_complex::Complex64;
use std::f64::consts::{LN_2, PI};

/// Standard deviations of the noise's energy above its mean below which energy counts as noise.
const NOISE_DEVIATIONS: f64 = 2.0;
/// By how much the noise is overestimated for these filters, found by trial by Kovesi.
const OVERESTIMATE: f64 = 1.7;
/// Keeps 0 / 0 from being one.
const EPS: f64 = f64::EPSILON;

/// In `[0, 1]`, for each pixel.
pub(crate) fn congruency(luma: &Plane, bank: &Bank) -> Vec<f64> {
    let spectrum = bank.fourier.forward(luma);
    let normalise = 1.0 / spectrum.len() as f64;
    let mut sums = vec![(EPS, EPS); spectrum.len()];
    let mut responses: [Vec<Complex64>; SCALES] = std::array::from_fn(|_| vec![Complex64::default(); spectrum.len()]);
    for orientation in 0..ORIENTATIONS {
        for (scale, response) in responses.iter_mut().enumerate() {
            let (radial, angular) = (&bank.radial[scale], &bank.angular[orientation]);
            let fill = |first: usize, out: &mut [Complex64]| {
                filter(&spectrum[first..], &radial[first..], &angular[first..], normalise, out);
            };
            bank.fourier.inverse(fill, response);
        }
        let threshold = noise_threshold(&responses[0], bank.noise_gain[orientation]);
        add(&mut sums, &responses, threshold);
    }
    sums.iter().map(|(energy, amplitude)| energy / amplitude).collect()
}

fn filter(spectrum: &[Complex64], radial: &[f64], angular: &[f64], normalise: f64, out: &mut [Complex64]) {
    vectorize(
        #[inline(always)]
        || {
            for (((out, value), r), a) in out.iter_mut().zip(spectrum).zip(radial).zip(angular) {
                *out = value * (r * a * normalise);
            }
        },
    );
}

/// Adds energy in step beyond the threshold, and amplitude, of the waves of one orientation.
fn add(sums: &mut [(f64, f64)], [a, b, c, d]: &[Vec<Complex64>; SCALES], threshold: f64) {
    vectorize(
        #[inline(always)]
        || {
            for ((((sum, a), b), c), d) in sums.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                let waves = [*a, *b, *c, *d];
                sum.0 += (energy_in_step(waves) - threshold).max(0.0);
                sum.1 += waves.map(magnitude).iter().sum::<f64>();
            }
        },
    );
}

/// Without `hypot`'s care for overflow, and its cost.
#[inline(always)]
fn magnitude(z: Complex64) -> f64 {
    z.norm_sqr().sqrt()
}

/// Sum over the scales of each wave's part along the mean phase less its part across.
#[inline(always)]
fn energy_in_step(waves: [Complex64; SCALES]) -> f64 {
    let sum: Complex64 = waves.iter().sum();
    let mean = sum / (magnitude(sum) + EPS);
    waves.iter().map(|w| w.re * mean.re + w.im * mean.im - (w.re * mean.im - w.im * mean.re).abs()).sum()
}

/// The noise's power is estimated from the median at the finest scale; its energy is Rayleigh distributed.
fn noise_threshold(finest: &[Complex64], noise_gain: f64) -> f64 {
    let mut powers: Vec<f64> = finest.iter().map(Complex64::norm_sqr).collect();
    let middle = (powers.len() - 1) / 2;
    let (_, median, _) = powers.select_nth_unstable_by(middle, f64::total_cmp);
    let tau = (*median / LN_2 * noise_gain).sqrt();
    tau * ((PI / 2.0).sqrt() + NOISE_DEVIATIONS * (2.0 - PI / 2.0).sqrt()) / OVERESTIMATE
}
