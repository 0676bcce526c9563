//! SSIM under the uniform 7x7 window.

use super::Constants;
use crate::{Best, Definition, Measure, Pair};

const SIDE: usize = 7;

impl Measure {
    /// Structural similarity under a uniform 7x7 window with sample covariance, K1 = 0.01, K2 = 0.03 and range 1: the mean
    /// over all windows inside the image, per channel, then over channels. This is scikit-image's default, which
    /// ColorMamba reports.
    ///
    /// In `[-1, 1]`, higher is better, 1 for equal images. Symmetric. From 7x7 pixels.
    ///
    /// Source: Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 13 (2004), doi:10.1109/TIP.2003.819861, equation 13 (there with a
    /// Gaussian window).
    pub const SSIM_UNIFORM7: Self = Self {
        definition: &Definition {
            spec: "ssim[uniform7,sample-covariance,rgb,L=1]",
            name: "ssim",
            label: "SSIM",
            unit: "",
            best: Best::Highest,
            smallest_side: SIDE,
        },
        value: |pair| mean_over_channels(pair, Constants::for_range(1.0)),
    };

    /// [`Self::SSIM_UNIFORM7`] with the prediction's greatest value less its least as the range, as published for MCFNet. A
    /// range below 1/255 counts as 1/255.
    ///
    /// In `[-1, 1]`, higher is better, 1 for equal images. Not symmetric. From 7x7 pixels.
    pub const SSIM_MCFNET: Self = Self {
        definition: &Definition {
            spec: "ssim[mcfnet]",
            name: "ssim[mcfnet]",
            label: "SSIM MCFNet",
            unit: "",
            best: Best::Highest,
            smallest_side: SIDE,
        },
        value: |pair| mean_over_channels(pair, Constants::for_range(range_of_prediction(pair))),
    };
}

/// At least one step of 8 bits, so that a flat prediction has a value; no other 8-bit image has less.
fn range_of_prediction(pair: &Pair) -> f64 {
    let values = pair.pred.values().iter().copied();
    let (least, most) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
    (most - least).max(1.0 / 255.0)
}

fn mean_over_channels(pair: &Pair, constants: Constants) -> f64 {
    let channels = pair.pred.channels().into_iter().zip(pair.target.channels());
    channels.map(|(p, t)| mean_over_windows(p, t, pair.width(), constants)).sum::<f64>() / 3.0
}

/// Sums of p, t, p², t², pt over some pixels.
type Sums = [f64; 5];

fn sums_at(p: f64, t: f64) -> Sums {
    [p, t, p * p, t * t, p * t]
}

fn add(to: &mut Sums, sums: Sums, sign: f64) {
    to.iter_mut().zip(sums).for_each(|(a, b)| *a += sign * b);
}

/// One channel. Sums of 7 rows are kept per column and moved down row by row, then summed along the row, so the cost does
/// not depend on the window's area.
fn mean_over_windows(p: &[f64], t: &[f64], width: usize, constants: Constants) -> f64 {
    let height = p.len() / width;
    let mut columns = vec![Sums::default(); width];
    let mut total = 0.0;
    for y in 0..height {
        for (x, column) in columns.iter_mut().enumerate() {
            let here = y * width + x;
            add(column, sums_at(p[here], t[here]), 1.0);
            if y >= SIDE {
                let above = here - SIDE * width;
                add(column, sums_at(p[above], t[above]), -1.0);
            }
        }
        if y + 1 >= SIDE {
            total += sum_over_row(&columns, constants);
        }
    }
    total / ((height - SIDE + 1) * (width - SIDE + 1)) as f64
}

fn sum_over_row(columns: &[Sums], constants: Constants) -> f64 {
    let mut window = Sums::default();
    let mut total = 0.0;
    for (x, &column) in columns.iter().enumerate() {
        add(&mut window, column, 1.0);
        if x >= SIDE {
            add(&mut window, columns[x - SIDE], -1.0);
        }
        if x + 1 >= SIDE {
            total += similarity(window, constants);
        }
    }
    total
}

fn similarity(sums: Sums, Constants { luminance, contrast }: Constants) -> f64 {
    const N: f64 = (SIDE * SIDE) as f64;
    let [mp, mt, pp, tt, pt] = sums.map(|s| s / N);
    let unbiased = N / (N - 1.0);
    let (var_p, var_t, cov) = (unbiased * (pp - mp * mp), unbiased * (tt - mt * mt), unbiased * (pt - mp * mt));
    (2.0 * (mp * mt) + luminance) * (2.0 * cov + contrast)
        / ((mp * mp + mt * mt + luminance) * (var_p + var_t + contrast))
}
