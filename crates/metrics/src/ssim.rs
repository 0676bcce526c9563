//! Structural similarity.

use crate::{Image, MetricError};

const SIDE: usize = 7;
const C1: f64 = 0.01 * 0.01;
const C2: f64 = 0.03 * 0.03;

/// Structural similarity with a uniform 7x7 window, sample covariance, K1 = 0.01, K2 = 0.03 and range 1: the mean over all
/// windows inside the image, per channel, then over channels. This is scikit-image's default, which ColorMamba reports.
///
/// In `[-1, 1]`, higher is better, 1 for equal images.
///
/// # Errors
/// [`MetricError::Mismatch`] if the sizes differ, [`MetricError::TooSmall`] below 7x7 pixels.
///
/// Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity",
/// IEEE TIP 2004, doi:10.1109/TIP.2003.819861, equation 13 (there with a Gaussian window).
pub fn ssim_uniform7(pred: &Image, target: &Image) -> Result<f64, MetricError> {
    pred.same_size(target)?;
    let (height, width) = (pred.height(), pred.width());
    if height < SIDE || width < SIDE {
        return Err(MetricError::TooSmall { measure: "SSIM with a 7x7 window", side: SIDE, height, width });
    }
    let channels = pred.channels().into_iter().zip(target.channels());
    let sum: f64 = channels.map(|(p, t)| mean_over_windows(p, t, width)).sum();
    Ok(sum / 3.0)
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
fn mean_over_windows(p: &[f64], t: &[f64], width: usize) -> f64 {
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
            total += sum_over_row(&columns);
        }
    }
    total / ((height - SIDE + 1) * (width - SIDE + 1)) as f64
}

fn sum_over_row(columns: &[Sums]) -> f64 {
    let mut window = Sums::default();
    let mut total = 0.0;
    for (x, &column) in columns.iter().enumerate() {
        add(&mut window, column, 1.0);
        if x >= SIDE {
            add(&mut window, columns[x - SIDE], -1.0);
        }
        if x + 1 >= SIDE {
            total += similarity(window);
        }
    }
    total
}

fn similarity(sums: Sums) -> f64 {
    const N: f64 = (SIDE * SIDE) as f64;
    let [mp, mt, pp, tt, pt] = sums.map(|s| s / N);
    let unbiased = N / (N - 1.0);
    let (var_p, var_t, cov) = (unbiased * (pp - mp * mp), unbiased * (tt - mt * mt), unbiased * (pt - mp * mt));
    (2.0 * (mp * mt) + C1) * (2.0 * cov + C2) / ((mp * mp + mt * mt + C1) * (var_p + var_t + C2))
}
