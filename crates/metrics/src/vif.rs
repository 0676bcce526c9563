//! Visual information fidelity in the pixel domain.

use crate::filter::{Moments, Window, every_second, gaussian, valid};
use crate::{Best, Definition, Measure, Pair};

impl Measure {
    /// Visual information fidelity in the pixel domain: information on the target that the prediction's luma keeps.
    ///
    /// From 0, above 1 for a prediction of more contrast; higher is better, 1 for equal images. Not symmetric. From 41x41
    /// pixels.
    ///
    /// Source: Sheikh, Bovik, IEEE TIP 15 (2006), doi:10.1109/TIP.2005.859378, in the authors' variant on four scales of
    /// the image instead of wavelets.
    pub const VIFP: Self = Self {
        definition: &Definition {
            spec: "vifp[bt601-luma,scales4,noise2,L=255]",
            name: "vifp",
            label: "VIFp",
            unit: "",
            best: Best::Highest,
            smallest_side: 41,
        },
        value: fidelity,
    };
}

/// Variance of the noise of seeing.
const NOISE: f64 = 2.0;
/// Variances below it count as none.
const EPS: f64 = 1e-8;

fn fidelity(pair: &Pair) -> f64 {
    let mut images = pair.lumas().map(|luma| luma.map(|v| 255.0 * v));
    let (mut kept, mut whole) = (EPS, EPS);
    for scale in 0..4 {
        let taps = (16 >> scale) + 1;
        let kernel = gaussian(taps, taps as f64 / 5.0);
        if scale > 0 {
            images = images.map(|image| every_second(&valid(&image, &kernel, &kernel)));
        }
        for window in Moments::of(&images[0], &images[1], &kernel).windows() {
            let (part, all) = information(window);
            kept += part;
            whole += all;
        }
    }
    kept / whole
}

/// Information on the target that the prediction keeps, and that of the target itself, in bits times log10(2): the
/// prediction is seen as `gain · target + noise`.
fn information(window: Window) -> (f64, f64) {
    let [var_p, var_t] = window.variance.map(|v| v.max(0.0));
    let mut gain = window.covariance / (var_t + EPS);
    let mut residual = var_p - gain * window.covariance;
    let signal = if var_t < EPS { 0.0 } else { var_t };
    if var_t < EPS || gain < 0.0 {
        (gain, residual) = (0.0, var_p);
    }
    if var_p < EPS {
        (gain, residual) = (0.0, 0.0);
    }
    let kept = (1.0 + gain * gain * signal / (residual.max(EPS) + NOISE)).log10();
    (kept, (1.0 + signal / NOISE).log10())
}
