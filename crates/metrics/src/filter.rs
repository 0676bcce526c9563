//! Windows and filters over planes.

use crate::plane::Plane;
use crate::simd::vectorize;

/// `taps` samples of a Gaussian around the middle, of sum 1.
pub(crate) fn gaussian(taps: usize, sigma: f64) -> Vec<f64> {
    let middle = (taps - 1) as f64 / 2.0;
    let weight = |i: usize| (-(i as f64 - middle).powi(2) / (2.0 * sigma * sigma)).exp();
    let weights: Vec<f64> = (0..taps).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|w| w / sum).collect()
}

/// Correlation with `vertical ⊗ horizontal` where the kernel lies wholly inside: the size shrinks by the kernel's less 1.
pub(crate) fn valid(plane: &Plane, vertical: &[f64], horizontal: &[f64]) -> Plane {
    let height = plane.height + 1 - vertical.len();
    let width = plane.width + 1 - horizontal.len();
    let mut column_sums = vec![0.0; plane.width];
    let mut values = vec![0.0; height * width];
    vectorize(
        #[inline(always)]
        || {
            for (y, out) in values.chunks_exact_mut(width).enumerate() {
                column_sums.fill(0.0);
                for (i, &weight) in vertical.iter().enumerate() {
                    add_scaled(&mut column_sums, plane.row(y + i), weight);
                }
                for (i, &weight) in horizontal.iter().enumerate() {
                    add_scaled(out, &column_sums[i..], weight);
                }
            }
        },
    );
    Plane::new(values, height, width)
}

#[inline(always)]
fn add_scaled(to: &mut [f64], values: &[f64], weight: f64) {
    to.iter_mut().zip(values).for_each(|(to, v)| *to += weight * v);
}

/// Every second row and column, from the first.
pub(crate) fn every_second(plane: &Plane) -> Plane {
    let values = plane.rows().step_by(2).flat_map(|row| row.iter().step_by(2).copied()).collect();
    Plane::new(values, plane.height.div_ceil(2), plane.width.div_ceil(2))
}

/// Means over blocks of `side`², `height` by `width` of them; beyond the border there are zeros.
pub(crate) fn block_means(plane: &Plane, side: usize, height: usize, width: usize) -> Plane {
    let mut values = vec![0.0; height * width];
    for (y, row) in plane.rows().enumerate().take(height * side) {
        let out = &mut values[y / side * width..][..width];
        for (sum, block) in out.iter_mut().zip(row.chunks(side)) {
            *sum += block.iter().sum::<f64>();
        }
    }
    let area = (side * side) as f64;
    values.iter_mut().for_each(|v| *v /= area);
    Plane::new(values, height, width)
}

/// Half the size by means over 2x2 pixels; a last odd row or column is averaged with zeros.
pub(crate) fn halved(plane: &Plane) -> Plane {
    block_means(plane, 2, plane.height.div_ceil(2), plane.width.div_ceil(2))
}

/// Magnitude of the gradient by the 3x3 kernel `[side, middle, side]ᵀ ⊗ [-1, 0, 1]` and its transpose, where they lie
/// wholly inside.
pub(crate) fn gradient_magnitude(plane: &Plane, side: f64, middle: f64) -> Plane {
    let (smooth, step) = ([side, middle, side], [-1.0, 0.0, 1.0]);
    let (across, down) = (valid(plane, &smooth, &step), valid(plane, &step, &smooth));
    across.zip(&down, |a, d| (a * a + d * d).sqrt())
}

/// `(2ab + c) / (a² + b² + c)`.
pub(crate) fn similarity(a: f64, b: f64, c: f64) -> f64 {
    (2.0 * a * b + c) / (a * a + b * b + c)
}

/// Means, variances and covariance of two planes under a window.
pub(crate) struct Moments {
    pub mean: [Plane; 2],
    pub variance: [Plane; 2],
    pub covariance: Plane,
}

impl Moments {
    /// Under the window `kernel ⊗ kernel`, of sum 1, wherever it lies wholly inside.
    pub fn of(a: &Plane, b: &Plane, kernel: &[f64]) -> Self {
        let mean_of = |p: &Plane| valid(p, kernel, kernel);
        let (mean_a, mean_b) = (mean_of(a), mean_of(b));
        let central = |x: &Plane, y: &Plane, mean_x: &Plane, mean_y: &Plane| {
            let products = mean_of(&x.zip(y, |x, y| x * y));
            products.zip(&mean_x.zip(mean_y, |x, y| x * y), |xy, means| xy - means)
        };
        let variance = [central(a, a, &mean_a, &mean_a), central(b, b, &mean_b, &mean_b)];
        let covariance = central(a, b, &mean_a, &mean_b);
        Self { mean: [mean_a, mean_b], variance, covariance }
    }

    /// Per window: means, variances, covariance.
    pub fn windows(&self) -> impl Iterator<Item = Window> {
        let [mean_a, mean_b] = &self.mean;
        let [variance_a, variance_b] = &self.variance;
        (0..mean_a.values.len()).map(|i| Window {
            mean: [mean_a.values[i], mean_b.values[i]],
            variance: [variance_a.values[i], variance_b.values[i]],
            covariance: self.covariance.values[i],
        })
    }
}

/// Means, variances and covariance under one window.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub mean: [f64; 2],
    pub variance: [f64; 2],
    pub covariance: f64,
}
