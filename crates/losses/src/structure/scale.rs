//! A target at one scale, and how predictions compare with it.

use super::similarity::{Means, Similarity, above_zero};
use super::window::{Sink, Source, spread, spread_width, window_means};
use colormamba_cpu::{Real, vectorize};
use rayon::prelude::*;
use std::ops::Range;

/// Rows of a task: many beside the rows that it shares with the next task, and not changing with the number of threads.
const ROWS: usize = 16;

/// A stack of planes, and their statistics in windows.
pub(crate) struct Scale<T> {
    height: usize,
    width: usize,
    taps: Vec<T>,
    image: Vec<T>,
    /// Window means.
    mean: Vec<T>,
    /// Window variances.
    variance: Vec<T>,
}

/// How a prediction compares with the target.
pub(crate) struct Compared<T> {
    /// The mean dissimilarity of every plane.
    pub(crate) means: Vec<f64>,
    /// What [`Scale::gradient`] needs.
    pub(crate) slopes: Vec<T>,
}

impl<T: Real> Scale<T> {
    /// `image`: planes, `height` and `width` at least the number of `taps`.
    pub(crate) fn new(image: Vec<T>, height: usize, width: usize, taps: Vec<T>) -> Self {
        let scale = Self { height, width, taps, image, mean: Vec::new(), variance: Vec::new() };
        let (mean, variance) = scale.describe();
        Self { mean, variance, ..scale }
    }

    /// Rows of windows in a plane.
    fn rows(&self) -> usize {
        self.height + 1 - self.taps.len()
    }

    /// Windows in a row.
    fn narrow(&self) -> usize {
        self.width + 1 - self.taps.len()
    }

    /// The rows under the windows of row `row`, counted over all planes.
    fn under(&self, row: usize) -> Range<usize> {
        let first = row / self.rows() * self.height + row % self.rows();
        first * self.width..(first + self.taps.len()) * self.width
    }

    /// Means and variances of the target in windows.
    fn describe(&self) -> (Vec<T>, Vec<T>) {
        let (narrow, plane) = (self.narrow(), self.height * self.width);
        let count = self.image.len() / plane * self.rows() * narrow;
        let (mut mean, mut variance) = (vec![T::ZERO; count], vec![T::ZERO; count]);
        // A variance keeps more digits if it is that of small numbers.
        let centres: Vec<T> = self.image.par_chunks(plane).map(centre).collect();
        let tasks = mean.par_chunks_mut(ROWS * narrow).zip(variance.par_chunks_mut(ROWS * narrow));
        let room = || (vec![T::ZERO; 2 * self.width], vec![T::ZERO; 2 * narrow]);
        tasks.enumerate().for_each_init(room, |(mixed, moments), (task, (mean, variance))| {
            let rows = mean.chunks_exact_mut(narrow).zip(variance.chunks_exact_mut(narrow));
            vectorize(
                #[inline(always)]
                || {
                    for (row, (mean, variance)) in (task * ROWS..).zip(rows) {
                        let (image, centre) = (&self.image[self.under(row)], centres[row / self.rows()]);
                        window_means(
                            Source { first: image, second: image, width: self.width },
                            #[inline(always)]
                            |t, _| [t - centre, (t - centre) * (t - centre)],
                            &self.taps,
                            mixed,
                            moments,
                        );
                        let (from_centre, square) = moments.split_at(narrow);
                        for i in 0..narrow {
                            mean[i] = from_centre[i] + centre;
                            variance[i] = above_zero(square[i] - from_centre[i] * from_centre[i]);
                        }
                    }
                },
            );
        });
        (mean, variance)
    }

    /// How a prediction, as large as the target, compares with it.
    pub(crate) fn compare(&self, pred: &[T], similarity: Similarity) -> Compared<T> {
        let narrow = self.narrow();
        let mut slopes = vec![T::ZERO; 3 * self.mean.len()];
        let mut sums = vec![0.0; self.mean.len() / narrow];
        let tasks = slopes.par_chunks_mut(3 * ROWS * narrow).zip(sums.par_chunks_mut(ROWS));
        let room = || (vec![T::ZERO; 3 * self.width], vec![T::ZERO; narrow]);
        tasks.enumerate().for_each_init(room, |(mixed, values), (task, (slopes, sums))| {
            vectorize(
                #[inline(always)]
                || {
                    for (row, (moments, sum)) in (task * ROWS..).zip(slopes.chunks_exact_mut(3 * narrow).zip(sums)) {
                        let under = self.under(row);
                        let (first, second) = (&pred[under.clone()], &self.image[under]);
                        window_means(
                            Source { first, second, width: self.width },
                            #[inline(always)]
                            |p, t| [p - t, (p - t) * (p - t), (p - t) * t],
                            &self.taps,
                            mixed,
                            moments,
                        );
                        let here = row * narrow..(row + 1) * narrow;
                        let (target, variance) = (&self.mean[here.clone()], &self.variance[here]);
                        similarity.row(Means { moments, target, variance }, values);
                        *sum = sum_of(values);
                    }
                },
            );
        });
        let windows = (self.rows() * narrow) as f64;
        let means = sums.chunks_exact(self.rows()).map(|rows| rows.iter().sum::<f64>() / windows).collect();
        Compared { means, slopes }
    }

    /// A prediction at half the size.
    pub(crate) fn halved(&self, pred: &[T]) -> Vec<T> {
        halved(pred, self.height, self.width)
    }

    /// The gradient by a prediction of the sum over all planes of `weights` times the mean dissimilarity, plus that by its
    /// [`Scale::halved`], which is given.
    pub(crate) fn gradient(&self, pred: &[T], slopes: &[T], weights: &[f64], by_halved: Option<&[T]>) -> Vec<T> {
        let (width, plane) = (self.width, 3 * self.rows() * self.narrow());
        let windows = (self.rows() * self.narrow()) as f64;
        let mut gradient = vec![T::ZERO; pred.len()];
        let long = spread_width(width, self.taps.len());
        let room = || (vec![T::ZERO; 3 * long], vec![T::ZERO; width]);
        gradient.par_chunks_mut(ROWS * width).enumerate().for_each_init(room, |(mixed, beside), (task, gradient)| {
            vectorize(
                #[inline(always)]
                || {
                    for (row, gradient) in (task * ROWS..).zip(gradient.chunks_exact_mut(width)) {
                        let (index, here) = (row / self.height, row * width..(row + 1) * width);
                        if let Some(by_halved) = by_halved {
                            unhalved(by_halved, row, self.height, beside);
                        }
                        let weight = T::of(weights[index] / windows);
                        let (first, second) = (&pred[here.clone()], &self.image[here]);
                        let sink = Sink { first, second, weight, rest: beside, gradient };
                        spread(&slopes[index * plane..][..plane], row % self.height, &self.taps, mixed, sink);
                    }
                },
            );
        });
        gradient
    }
}

/// The gradient of row `row` of planes `height` high, given that of the means of their 2x2 blocks.
#[inline(always)]
fn unhalved<T: Real>(halved: &[T], row: usize, height: usize, out: &mut [T]) {
    let (rows, width) = (height / 2, out.len() / 2);
    let (plane, row) = (row / height, row % height);
    // An odd last row or column is in no block.
    out.fill(T::ZERO);
    if row / 2 < rows {
        let halved = &halved[(plane * rows + row / 2) * width..][..width];
        for (pair, &by_mean) in out.as_chunks_mut::<2>().0.iter_mut().zip(halved) {
            *pair = [by_mean * T::of(0.25); 2];
        }
    }
}

/// The means of all 2x2 blocks of planes; an odd last row or column is left out.
pub(crate) fn halved<T: Real>(image: &[T], height: usize, width: usize) -> Vec<T> {
    let (rows, narrow) = (height / 2, width / 2);
    let mut out = vec![T::ZERO; image.len() / (height * width) * rows * narrow];
    out.par_chunks_mut(narrow).enumerate().with_min_len(ROWS).for_each(|(row, out)| {
        let pair = &image[(row / rows * height + 2 * (row % rows)) * width..][..2 * width];
        let (top, bottom) = pair.split_at(width);
        vectorize(
            #[inline(always)]
            || {
                let blocks = top.as_chunks::<2>().0.iter().zip(bottom.as_chunks::<2>().0);
                for (out, (top, bottom)) in out.iter_mut().zip(blocks) {
                    *out = ((top[0] + top[1]) + (bottom[0] + bottom[1])) * T::of(0.25);
                }
            },
        );
    });
    out
}

/// The mean of a plane: some number near all others.
fn centre<T: Real>(plane: &[T]) -> T {
    let sum = vectorize(
        #[inline(always)]
        || sum_of(plane),
    );
    T::of(sum / plane.len() as f64)
}

/// The sum of numbers, in f64.
#[inline(always)]
fn sum_of<T: Real>(numbers: &[T]) -> f64 {
    let mut lanes = [0.0; 16];
    let (blocks, rest) = numbers.as_chunks::<16>();
    for block in blocks {
        for lane in 0..16 {
            lanes[lane] += block[lane].wide();
        }
    }
    let mut sum = 0.0;
    for lane in lanes {
        sum += lane;
    }
    for number in rest {
        sum += number.wide();
    }
    sum
}
