//! Counting pixels into bins softly, in one pass.

use crate::mean::CHUNK;
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, tensor, vectorize, with_slices};
use colormamba_ops::Node;
use rayon::prelude::*;
use std::sync::Arc;

/// How far, in the channel's range, a bin reaches beyond its neighbours' centres.
const REACH: f64 = 1e-6;

/// Bins that a value may fall in: those around it and one more on either side.
pub(crate) const NEAR: usize = 4;

/// Bins of a channel with range 1: a value x adds max(0, w − |x − c|)/w to each bin with centre c.
#[derive(Clone)]
pub(crate) struct Bins {
    /// One bin more before the first and two after the last. In a line they are infinitely far away; on a circle they stand for
    /// the bins at the other end.
    centres: Vec<f64>,
    /// Distance of two centres.
    pub(crate) spacing: f64,
    /// 1 / spacing.
    gaps: f64,
    pub(crate) circular: bool,
}

impl Bins {
    /// `bins` from 0 to 1, where the f32 numbers of an even division lie.
    pub(crate) fn line(bins: usize) -> Self {
        let last = bins - 1;
        let step = 1.0 / last as f32;
        let centre = |i: usize| if i < bins / 2 { step * i as f32 } else { 1.0 - step * (last - i) as f32 };
        let mut centres = vec![f64::INFINITY];
        centres.extend((0..bins).map(|i| f64::from(centre(i))));
        centres.extend([f64::INFINITY; 2]);
        Self { centres, spacing: 1.0 / last as f64, gaps: last as f64, circular: false }
    }

    /// `bins` around a circle of circumference 1, the first at 0.
    pub(crate) fn circle(bins: usize) -> Self {
        let centres = (0..bins + NEAR - 1).map(|i| (i as f64 - 1.0) / bins as f64).collect();
        Self { centres, spacing: 1.0 / bins as f64, gaps: bins as f64, circular: true }
    }

    pub(crate) fn len(&self) -> usize {
        self.centres.len() - (NEAR - 1)
    }

    /// As `histogram.cu` reads them: the centres, how many bins lie from 0 to 1, the width w and 1/w.
    pub(crate) fn for_kernels(&self) -> Vec<f64> {
        let width = self.width();
        self.centres.iter().copied().chain([self.gaps, width, 1.0 / width]).collect()
    }

    fn width(&self) -> f64 {
        self.spacing + REACH
    }

    /// Where among `centres` the bins near x start, and the distances of x from them.
    #[inline(always)]
    fn near(&self, x: f64) -> (usize, [f64; NEAR]) {
        let x = if self.circular { x - x.floor() } else { x };
        // A cast to integers takes what is below 0, and NaN, for 0.
        let start = ((x * self.gaps) as usize).min(self.len() - 1);
        let centres = &self.centres[start..start + NEAR];
        (start, [x - centres[0], x - centres[1], x - centres[2], x - centres[3]])
    }

    /// Adds the values to `counts`, as long as `centres`.
    #[inline(always)]
    fn count<T: Real>(&self, values: &[T], counts: &mut [f64]) {
        let width = self.width();
        for value in values {
            let (start, distances) = self.near(value.wide());
            let counts = &mut counts[start..start + NEAR];
            for i in 0..NEAR {
                // Not by `max`, which would hide NaN.
                let share = width - distances[i].abs();
                counts[i] += if share < 0.0 { 0.0 } else { share };
            }
        }
    }

    /// The derivative by each value, given those by `counts`.
    #[inline(always)]
    fn slopes<T: Real>(&self, values: &[T], by_counts: &[f64], slopes: &mut [T]) {
        for (value, slope) in values.iter().zip(slopes) {
            let (start, distances) = self.near(value.wide());
            let by_counts = &by_counts[start..start + NEAR];
            let (below, above) = (distances[1], -distances[2]);
            // Most values lie between two centres, and out of reach of a third.
            let between = below > 2.0 * REACH && above > 2.0 * REACH && above < self.spacing;
            let sum = if between { by_counts[2] - by_counts[1] } else { self.slope(distances, by_counts) };
            *slope = T::of(sum);
        }
    }

    /// The derivative by a value at these distances from the bins near it.
    #[inline(always)]
    fn slope(&self, distances: [f64; NEAR], by_counts: &[f64]) -> f64 {
        let width = self.width();
        let mut sum = 0.0;
        for i in 0..NEAR {
            let toward = f64::from(distances[i] < 0.0) - f64::from(distances[i] > 0.0);
            sum += if distances[i].abs() < width { toward * by_counts[i] } else { 0.0 };
        }
        sum
    }

    /// The sums of all values, less the margins: `counts` as long as `centres`.
    fn folded(&self, counts: &[f64]) -> Vec<f64> {
        let bins = self.len();
        let mut folded = counts[1..=bins].to_vec();
        if self.circular {
            folded[bins - 1] += counts[0];
            folded[0] += counts[bins + 1];
            folded[1] += counts[bins + 2];
        }
        folded
    }

    /// The adjoint of [`Bins::folded`].
    fn unfolded(&self, by_bins: &[f64], scale: f64) -> Vec<f64> {
        let bins = self.len();
        let at = |i: usize| if self.circular { by_bins[(i + bins - 1) % bins] } else { 0.0 };
        let inside = |i: usize| if (1..=bins).contains(&i) { by_bins[i - 1] } else { at(i) };
        (0..self.centres.len()).map(|i| scale * inside(i)).collect()
    }
}

/// The histograms of all channels of `x` `(B, C, H, W)`, each with its bins, as shares of the pixels: f64 `(B, C, bins)`. The
/// bins of all channels are equally many; further channels have those of the first three again.
pub(crate) fn histograms(x: &Node, bins: &Arc<[Bins; 3]>) -> Result<Node> {
    let x = x.contiguous()?;
    let (xv, bins) = (x.value().clone(), bins.clone());
    let (b, c, h, w) = x.dims4()?;
    let shares = count(&xv, &bins, h * w)?;
    Node::new(tensor(shares, (b, c, bins[0].len())), [&x], move |grad| {
        Ok([Some(slopes(&xv, &bins, h * w, &grad.flatten_to(1)?.to_vec2()?)?)])
    })
}

fn count(x: &Tensor, bins: &[Bins; 3], plane: usize) -> Result<Vec<f64>> {
    with_slices!("histogram", [x], T => {
        let chunk_counts = |bins: &Bins, values: &[T]| {
            let mut counts = vec![0.0; bins.centres.len()];
            vectorize(
                #[inline(always)]
                || bins.count(values, &mut counts),
            );
            counts
        };
        let plane_counts = |(index, values): (usize, &[T])| {
            let bins = &bins[index % 3];
            let parts: Vec<_> = values.par_chunks(CHUNK).map(|values| chunk_counts(bins, values)).collect();
            let mut counts = vec![0.0; bins.centres.len()];
            for part in parts {
                counts.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
            }
            let scale = bins.width() * plane as f64;
            bins.folded(&counts).into_iter().map(|count| count / scale).collect::<Vec<f64>>()
        };
        Ok(x.par_chunks(plane).enumerate().map(plane_counts).collect::<Vec<_>>().concat())
    })
}

fn slopes(x: &Tensor, bins: &[Bins; 3], plane: usize, by_shares: &[Vec<f64>]) -> Result<Tensor> {
    let shape = x.shape();
    with_slices!("histogram", [x], T => {
        let mut out = vec![T::ZERO; x.len()];
        let planes = out.par_chunks_mut(plane).zip(x.par_chunks(plane)).zip(by_shares).enumerate();
        planes.for_each(|(index, ((out, values), by_shares))| {
            let bins = &bins[index % 3];
            let by_counts = bins.unfolded(by_shares, 1.0 / (bins.width() * plane as f64));
            out.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK)).for_each(|(out, values)| {
                vectorize(
                    #[inline(always)]
                    || bins.slopes(values, &by_counts, out),
                );
            });
        });
        Ok(tensor(out, shape))
    })
}
