//! Log-Gabor filters of four orientations and four scales.

use crate::fourier::Fourier;
use std::array::from_fn;
use std::f64::consts::PI;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) const SCALES: usize = 4;
pub(crate) const ORIENTATIONS: usize = 4;

const SHORTEST_WAVE: f64 = 6.0;
/// Wavelength of the coarsest filter in pixels: each is twice as long as the one before.
pub(crate) const LONGEST_WAVE: usize = 48;
/// Width of a filter: standard deviation over centre frequency.
const BANDWIDTH: f64 = 0.55;
/// Step between orientations over the standard deviation of a filter's angle.
const ANGULAR_OVERLAP: f64 = 1.2;
/// Butterworth low pass that keeps the corners of the spectrum out: cut-off in cycles per pixel, twice the order.
const CUT_OFF: f64 = 0.45;
const TWICE_ORDER: i32 = 30;

/// Filters for images of one size in the layout of [`Fourier`]'s spectra. A filter is the product of a radial and an
/// angular part.
pub(crate) struct Bank {
    pub fourier: Fourier,
    pub radial: [Vec<f64>; SCALES],
    pub angular: [Vec<f64>; ORIENTATIONS],
    /// By orientation: the energy of noise summed over the scales, over that at the finest scale.
    pub noise_gain: [f64; ORIENTATIONS],
}

/// The filters of the last size: the images of a data set are mostly of one.
static LAST: Mutex<Option<Arc<Bank>>> = Mutex::new(None);

impl Bank {
    /// The filters for this size, made anew if the last ones were for another.
    pub fn of_size(height: usize, width: usize) -> Arc<Self> {
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        match last.as_ref() {
            Some(bank) if bank.fourier.size() == (height, width) => bank.clone(),
            _ => last.insert(Arc::new(Self::new(height, width))).clone(),
        }
    }

    fn new(height: usize, width: usize) -> Self {
        let polar: Vec<(f64, f64)> = (0..width)
            .flat_map(|x| (0..height).map(move |y| (coordinate(x, width), coordinate(y, height))))
            // Which axis the angle starts from matters for the highest frequency of an even size alone, which has one sign;
            // this is piq's.
            .map(|(x, y)| (x.hypot(y), (-x).atan2(y)))
            .collect();
        let low_pass: Vec<f64> = polar.iter().map(|(r, _)| 1.0 / (1.0 + (r / CUT_OFF).powi(TWICE_ORDER))).collect();
        let log_radius: Vec<f64> = polar.iter().map(|(r, _)| r.ln()).collect();
        let radial: [Vec<f64>; SCALES] = from_fn(|scale| {
            let log_centre = -(SHORTEST_WAVE * (1 << scale) as f64).ln();
            // At frequency 0 the logarithm is −∞ and the filter 0.
            log_radius.iter().zip(&low_pass).map(|(r, low)| low * gauss(r - log_centre, BANDWIDTH.ln())).collect()
        });
        let angular: [Vec<f64>; ORIENTATIONS] = from_fn(|orientation| {
            let centre = orientation as f64 * PI / ORIENTATIONS as f64;
            let sigma = PI / (ORIENTATIONS as f64 * ANGULAR_OVERLAP);
            polar.iter().map(|(_, angle)| gauss(angle_between(*angle, centre), sigma)).collect()
        });
        let noise_gain = from_fn(|orientation| noise_gain(&radial, &angular[orientation], height, width));
        Self { fourier: Fourier::new(height, width), radial, angular, noise_gain }
    }
}

/// From −½ to ½ over the spectrum, 0 first; for odd sizes the ends are ±½ too.
fn coordinate(i: usize, n: usize) -> f64 {
    let signed = if i < n.div_ceil(2) { i as f64 } else { i as f64 - n as f64 };
    signed / (n - n % 2) as f64
}

fn gauss(distance: f64, sigma: f64) -> f64 {
    (-distance * distance / (2.0 * sigma * sigma)).exp()
}

/// In `[0, π]`, of angles at most 2π apart.
fn angle_between(a: f64, b: f64) -> f64 {
    let apart = (a - b).abs();
    apart.min(2.0 * PI - apart)
}

/// What white noise leaves in the even filters of all scales together, over what it leaves in the finest filter. By
/// Parseval the sums over the image are sums over the spectrum, and the even part of a filter is that of its spectrum.
fn noise_gain(radial: &[Vec<f64>; SCALES], angular: &[f64], height: usize, width: usize) -> f64 {
    let whole: Vec<f64> = (0..angular.len()).map(|i| angular[i] * radial.iter().map(|r| r[i]).sum::<f64>()).collect();
    let opposite = |i: usize| (width - i / height) % width * height + (height - i % height) % height;
    let even = (0..whole.len()).map(|i| ((whole[i] + whole[opposite(i)]) / 2.0).powi(2)).sum::<f64>();
    let finest = radial[0].iter().zip(angular).map(|(r, a)| (r * a).powi(2)).sum::<f64>();
    even / finest
}
