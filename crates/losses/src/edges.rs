//! Mean absolute responses of filters of 3x3 pixels.
//!
//! The gradient spreads the signs of the responses back; they are kept, a byte each, so that it reads no image.

use crate::scalar::{number, scalar};
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, dispatch_real, hold, tensor, vectorize};
use colormamba_ops::Node;
use rayon::prelude::*;

const OP: &str = "edges";
/// Rows of a task; fixed, so that sums do not depend on the number of threads.
const ROWS: usize = 16;

/// `K` filters of 3x3 pixels, row by row.
pub(crate) trait Filters<const K: usize>: 'static {
    const KERNELS: [[i8; 9]; K];
    /// Whether only places count where the filter stays in the image; otherwise there are zeros beyond it.
    const INSIDE: bool;
}

/// The sum over all filters of their mean absolute response to `pred`, less `target` if it is given.
pub(crate) fn mean_response<F: Filters<K>, const K: usize>(pred: &Node, target: Option<&Tensor>) -> Result<Node> {
    let pred = pred.contiguous()?;
    let (b, c, height, width) = pred.dims4()?;
    let planes = Planes { count: b * c, height, width };
    let weights: Vec<f64> = F::KERNELS.iter().map(|kernel| 1.0 / planes.places::<F, K>(kernel)).collect();
    let (image, target) = (hold(OP, pred.value()), target.map(|target| hold(OP, target)));
    dispatch_real!(OP, image, T => {
        let target = target.as_ref().map(|target| target.slice::<T>()).transpose()?;
        let (sums, signs) = responses::<T, F, K>(image.slice()?, target, planes);
        let value = sums.iter().zip(&weights).map(|(sum, weight)| sum * weight).sum();
        Node::new(scalar(value), [&pred], move |grad| {
            let grad = number(grad)?;
            let weights: Vec<f64> = weights.iter().map(|weight| weight * grad).collect();
            Ok([Some(tensor(gradient::<T, F, K>(&signs, planes, &weights), (b, c, height, width)))])
        })
    })
}

#[derive(Clone, Copy)]
struct Planes {
    count: usize,
    height: usize,
    width: usize,
}

impl Planes {
    /// The length of a row with a pixel more at both ends.
    fn wide(self) -> usize {
        self.width + 2
    }

    /// Rows and columns in which responses of a kernel count.
    fn inside<F: Filters<K>, const K: usize>(self, kernel: &[i8; 9]) -> (usize, usize) {
        let beyond = |neighbour: usize| usize::from(F::INSIDE && kernel[neighbour] != 0);
        (self.height - beyond(7), self.width - beyond(5))
    }

    /// How many responses of a kernel count.
    fn places<F: Filters<K>, const K: usize>(self, kernel: &[i8; 9]) -> f64 {
        let (rows, columns) = self.inside::<F, K>(kernel);
        (self.count * rows * columns) as f64
    }

    /// The row that is line 0 to 2 of the three around `row`, counted over all planes; none beyond the border.
    #[inline(always)]
    fn line(self, row: usize, line: usize) -> Option<usize> {
        let inside = (1..=self.height).contains(&(row % self.height + line));
        inside.then(|| row + line - 1)
    }

    /// Copies rows `row - 1` to `row + 1` of a plane to `out`, with zeros beyond the border: `first`, less `second` if it
    /// is given.
    #[inline(always)]
    fn around<T: Real>(self, first: &[T], second: Option<&[T]>, row: usize, out: &mut [T]) {
        for (line, out) in out.chunks_exact_mut(self.wide()).enumerate() {
            let out = &mut out[1..=self.width];
            let Some(line) = self.line(row, line) else {
                out.fill(T::ZERO);
                continue;
            };
            let here = line * self.width;
            let first = &first[here..][..self.width];
            match second {
                None => out.copy_from_slice(first),
                Some(second) => {
                    for ((out, &p), &t) in out.iter_mut().zip(first).zip(&second[here..][..self.width]) {
                        *out = p - t;
                    }
                }
            }
        }
    }

    /// The same for signs of one of `filters` filters, from the first row of the first plane on.
    #[inline(always)]
    fn signs_around(self, signs: &[i8], filters: usize, row: usize, out: &mut [i8]) {
        for (line, out) in out.chunks_exact_mut(self.wide()).enumerate() {
            match self.line(row, line) {
                Some(line) => out.copy_from_slice(&signs[line * filters * self.wide()..][..self.wide()]),
                None => out.fill(0),
            }
        }
    }
}

/// The sum of each filter's absolute responses, and the signs of all: for every row, those of all filters one after the other,
/// with a zero at both ends.
fn responses<T: Real, F: Filters<K>, const K: usize>(
    pred: &[T],
    target: Option<&[T]>,
    planes: Planes,
) -> ([f64; K], Vec<i8>) {
    let (rows, row_signs) = (planes.count * planes.height, K * planes.wide());
    let mut signs = vec![0; rows * row_signs];
    let mut sums = vec![[0.0; K]; rows];
    let tasks = signs.par_chunks_mut(ROWS * row_signs).zip(sums.par_chunks_mut(ROWS));
    let room = || (vec![T::ZERO; 3 * planes.wide()], vec![T::ZERO; planes.width]);
    tasks.enumerate().for_each_init(room, |(around, response), (task, (signs, sums))| {
        vectorize(
            #[inline(always)]
            || {
                for (row, (signs, sums)) in (task * ROWS..).zip(signs.chunks_exact_mut(row_signs).zip(sums)) {
                    planes.around(pred, target, row, around);
                    for (k, signs) in signs.chunks_exact_mut(planes.wide()).enumerate() {
                        let (rows, columns) = planes.inside::<F, K>(&F::KERNELS[k]);
                        if row % planes.height < rows {
                            respond_row::<T, F, K>(k, &neighbours(around, planes.width), response);
                            sums[k] = magnitude(&response[..columns], &mut signs[1..=columns]);
                        }
                    }
                }
            },
        );
    });
    let mut total = [0.0; K];
    for row in &sums {
        for (total, sum) in total.iter_mut().zip(row) {
            *total += sum;
        }
    }
    (total, signs)
}

/// The neighbourhoods of all pixels of a row, given the rows around it with a pixel more at both ends.
#[inline(always)]
fn neighbours<S>(around: &[S], width: usize) -> [&[S]; 9] {
    let mut near: [&[S]; 9] = [&[]; 9];
    for (i, near) in near.iter_mut().enumerate() {
        *near = &around[i / 3 * (width + 2) + i % 3..][..width];
    }
    near
}

#[inline(always)]
fn respond_row<T: Real, F: Filters<K>, const K: usize>(k: usize, near: &[&[T]; 9], out: &mut [T]) {
    // One loop for each filter, so that its weights are constants in it.
    for filter in 0..K {
        if filter == k {
            for (j, out) in out.iter_mut().enumerate() {
                *out = response::<T, F, K>(filter, near, j);
            }
        }
    }
}

/// Opposite neighbours in pairs: where all are the same, each pair is exact, and so a response that is 0 is exactly 0.
#[inline(always)]
fn response<T: Real, F: Filters<K>, const K: usize>(k: usize, near: &[&[T]; 9], j: usize) -> T {
    let kernel = F::KERNELS[k];
    let weighted = |i: usize| if kernel[i] == 0 { T::ZERO } else { near[i][j] * T::of(f64::from(kernel[i])) };
    let mut sum = T::ZERO;
    for i in 0..4 {
        sum += weighted(i) + weighted(8 - i);
    }
    sum + weighted(4)
}

/// The sum of absolute responses, with their signs.
#[inline(always)]
fn magnitude<T: Real>(responses: &[T], signs: &mut [i8]) -> f64 {
    for (sign, &response) in signs.iter_mut().zip(responses) {
        *sign = i8::from(response > T::ZERO) - i8::from(response < T::ZERO);
    }
    let (blocks, rest) = responses.as_chunks::<16>();
    let mut lanes = [0.0; 16];
    for block in blocks {
        for lane in 0..16 {
            lanes[lane] += block[lane].wide().abs();
        }
    }
    let mut sum = 0.0;
    for lane in lanes {
        sum += lane;
    }
    for response in rest {
        sum += response.wide().abs();
    }
    sum
}

/// The gradient by the prediction, given the signs of all responses and the weight of each filter.
fn gradient<T: Real, F: Filters<K>, const K: usize>(signs: &[i8], planes: Planes, weights: &[f64]) -> Vec<T> {
    let mut out = vec![T::ZERO; planes.count * planes.height * planes.width];
    let room = || vec![0; 3 * planes.wide()];
    out.par_chunks_mut(ROWS * planes.width).enumerate().for_each_init(room, |around, (task, out)| {
        vectorize(
            #[inline(always)]
            || {
                for (row, out) in (task * ROWS..).zip(out.chunks_exact_mut(planes.width)) {
                    for k in 0..K {
                        planes.signs_around(&signs[k * planes.wide()..], K, row, around);
                        let near = neighbours(around, planes.width);
                        for (j, out) in out.iter_mut().enumerate() {
                            *out += T::of(weights[k] * f64::from(spread::<F, K>(k, &near, j)));
                        }
                    }
                }
            },
        );
    });
    out
}

/// The transposed filter: 180° turned.
#[inline(always)]
fn spread<F: Filters<K>, const K: usize>(k: usize, near: &[&[i8]; 9], j: usize) -> i8 {
    let kernel = F::KERNELS[k];
    let mut sum = 0;
    for i in 0..9 {
        if kernel[8 - i] != 0 {
            sum += kernel[8 - i] * near[i][j];
        }
    }
    sum
}
