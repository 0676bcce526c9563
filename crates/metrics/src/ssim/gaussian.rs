//! SSIM under the Gaussian 11x11 window, at one scale and at five.

use super::Constants;
use crate::filter::{Moments, Window, block_means, gaussian};
use crate::pair::Similarity;
use crate::plane::{Plane, Planes};
use crate::{Best, Definition, Measure, MetricError, Pair};

const TAPS: usize = 11;
const SIGMA: f64 = 1.5;
const CONSTANTS: Constants = Constants::for_range(1.0);

/// Exponents of the scales, finest first, Wang et al. 2003.
const EXPONENTS: [f64; 5] = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333];
const HALVINGS: usize = EXPONENTS.len() - 1;

impl Measure {
    /// Structural similarity under a Gaussian 11x11 window of σ = 1.5, K1 = 0.01, K2 = 0.03 and range 1: the mean over all
    /// windows inside the image, per channel, then over channels.
    ///
    /// In `[-1, 1]`, higher is better, 1 for equal images. Symmetric. From 11x11 pixels.
    ///
    /// Source: Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 13 (2004), doi:10.1109/TIP.2003.819861, equation 13.
    pub const SSIM_GAUSSIAN: Self = Self {
        definition: &Definition {
            spec: "ssim[gauss11,sigma1.5,valid,rgb,L=1]",
            name: "ssim[gauss11]",
            label: "SSIM Gauss",
            unit: "",
            best: Best::Highest,
            smallest_side: TAPS,
        },
        value: |pair| single_scale(under_gaussian(pair)),
    };

    /// Multi-scale structural similarity: contrast and structure of five scales and luminance of the coarsest, each to its
    /// power, under the window of [`Self::SSIM_GAUSSIAN`]; a scale is the one before averaged over 2x2 pixels. Per channel,
    /// then the mean; a negative mean counts as 0.
    ///
    /// In `[0, 1]`, higher is better, 1 for equal images. Symmetric. From 176x176 pixels.
    ///
    /// Source: Wang, Simoncelli, Bovik, Asilomar 2003, doi:10.1109/ACSSC.2003.1292216.
    pub const MS_SSIM: Self = Self {
        definition: &Definition {
            spec: "ms_ssim[gauss11,sigma1.5,rgb,L=1]",
            name: "ms_ssim",
            label: "MS-SSIM",
            unit: "",
            best: Best::Highest,
            // The coarsest scale still holds a window.
            smallest_side: TAPS << HALVINGS,
        },
        value: |pair| multi_scale(pair, *under_gaussian(pair), &gaussian(TAPS, SIGMA)),
    };
}

/// [`Measure::SSIM_GAUSSIAN`] under the window `taps ⊗ taps` instead of the Gaussian one.
///
/// The weights are taken as they are: a variance is a difference of two means, so a sum that is not 1 shows. It is how to
/// see what the rounding of another implementation's window does.
///
/// In `[-1, 1]` for weights of sum 1, 1 for equal images. Symmetric.
///
/// # Errors
/// [`MetricError::TooSmall`] if the images are smaller than the window, [`MetricError::NoWindow`] without weights.
pub fn ssim_windowed(pair: &Pair, taps: &[f64]) -> Result<f64, MetricError> {
    check(pair, taps, "ssim_windowed", taps.len())?;
    Ok(single_scale(&by_channel(&pair.pred.planes(), &pair.target.planes(), taps)))
}

/// [`Measure::MS_SSIM`] under the window `taps ⊗ taps`, as [`ssim_windowed`].
///
/// In `[0, 1]` for weights of sum 1, 1 for equal images. Symmetric.
///
/// # Errors
/// As [`ssim_windowed`], with the window at the coarsest of five scales.
pub fn ms_ssim_windowed(pair: &Pair, taps: &[f64]) -> Result<f64, MetricError> {
    check(pair, taps, "ms_ssim_windowed", taps.len() << HALVINGS)?;
    let finest = by_channel(&pair.pred.planes(), &pair.target.planes(), taps);
    Ok(if pair.has_nan() { f64::NAN } else { multi_scale(pair, finest, taps) })
}

fn check(pair: &Pair, taps: &[f64], measure: &'static str, side: usize) -> Result<(), MetricError> {
    let (height, width) = (pair.height(), pair.width());
    if taps.is_empty() {
        return Err(MetricError::NoWindow);
    }
    if height.min(width) < side {
        return Err(MetricError::TooSmall { measure, side, height, width });
    }
    Ok(())
}

/// Similarity of the images by channel under the Gaussian window.
fn under_gaussian<'a>(pair: &'a Pair) -> &'a [Similarity; 3] {
    let compute = || by_channel(&pair.pred.planes(), &pair.target.planes(), &gaussian(TAPS, SIGMA));
    pair.gaussian_ssim.get_or_init(compute)
}

fn by_channel(pred: &Planes, target: &Planes, taps: &[f64]) -> [Similarity; 3] {
    std::array::from_fn(|i| of_channel(&pred[i], &target[i], taps))
}

fn single_scale(channels: &[Similarity; 3]) -> f64 {
    channels.iter().map(|channel| channel.whole).sum::<f64>() / 3.0
}

fn of_channel(pred: &Plane, target: &Plane, kernel: &[f64]) -> Similarity {
    let moments = Moments::of(pred, target, kernel);
    let windows = moments.mean[0].values.len() as f64;
    let (whole, contrast) = moments.windows().map(at_window).fold((0.0, 0.0), |sum, at| (sum.0 + at.0, sum.1 + at.1));
    Similarity { whole: whole / windows, contrast: contrast / windows }
}

/// The whole index, then contrast and structure alone.
fn at_window(Window { mean: [mp, mt], variance: [vp, vt], covariance }: Window) -> (f64, f64) {
    let contrast = (2.0 * covariance + CONSTANTS.contrast) / (vp + vt + CONSTANTS.contrast);
    let luminance = (2.0 * mp * mt + CONSTANTS.luminance) / (mp * mp + mt * mt + CONSTANTS.luminance);
    (luminance * contrast, contrast)
}

/// From the similarity at full size.
fn multi_scale(pair: &Pair, finest: [Similarity; 3], taps: &[f64]) -> f64 {
    let mut planes = pair.images().map(|image| image.planes());
    let mut scale = finest;
    let mut products = [1.0; 3];
    for (i, exponent) in EXPONENTS.into_iter().enumerate() {
        if i > 0 {
            planes = planes.map(|image| image.map(|plane| block_means(&plane, 2, plane.height / 2, plane.width / 2)));
            scale = by_channel(&planes[0], &planes[1], taps);
        }
        let last = i + 1 == EXPONENTS.len();
        for (product, channel) in products.iter_mut().zip(scale) {
            // A negative mean has no such power.
            *product *= (if last { channel.whole } else { channel.contrast }).max(0.0).powf(exponent);
        }
    }
    products.iter().sum::<f64>() / 3.0
}
