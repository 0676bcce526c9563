//! Criss-cross attention.
//!
//! Rows and columns of the image are both "lines": a line's queries attend to its keys, tile by tile, so that energies
//! exist only for `TILE` queries of one line per thread. The parts of a pixel's row and column are then merged into one
//! softmax by their maxima and sums, which are also what the gradient needs to make the weights again.

mod cuda;
mod line;

use crate::memory::buffer;
use crate::operands::check_types;
use crate::separable::{Format, size};
use crate::{Node, OpError, profile};
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, tensor, with_slices};
use rayon::prelude::*;

use line::Line;

const OP: &str = "criss_cross";
/// Pixels of a cache line: what is transposed together.
const BLOCK: usize = 16;

/// Attention of each pixel to the pixels of its row and column: `q`, `k` `(B, K, H, W)`, `v` `(B, C, H, W)` give
/// `(B, C, H, W)`.
///
/// The weights are one softmax over the `H + W - 1` energies `q · k`, unscaled; the pixel itself counts once. Memory beside
/// inputs and output grows with their size, not with `H W (H + W)`: the gradient computes the weights again.
///
/// Source: Huang et al., CCNet: Criss-Cross Attention for Semantic Segmentation, arXiv:1811.11721.
///
/// # Errors
/// [`OpError::Shape`] if the arguments are not as above or have no pixels.
pub fn criss_cross(q: impl Into<Node>, k: impl Into<Node>, v: impl Into<Node>) -> Result<Node> {
    let (q, k, v) = (q.into().contiguous()?, k.into().contiguous()?, v.into().contiguous()?);
    let (h, w) = size(OP, &q, Format::Image, 1)?;
    if k.dims() != q.dims() {
        return Err(OpError::shape(OP, format!("keys like the queries {:?}", q.shape()), k.shape()));
    }
    let batch = q.dims()[0];
    if size(OP, &v, Format::Image, 1)? != (h, w) || v.dims()[0] != batch {
        return Err(OpError::shape(OP, format!("values ({batch}, C, {h}, {w})"), v.shape()));
    }
    check_types(OP, &[&q, &k, &v])?;
    let sizes = Sizes { batch, k: q.dims()[1], c: v.dims()[1], h, w };
    let (y, statistics) = attend([q.value(), k.value(), v.value()], sizes)?;
    let wanted = [&q, &k, &v].map(Node::is_tracked);
    let kept = [q.value(), k.value(), v.value(), &y, &statistics].map(Tensor::clone);
    profile::work(OP, 2 * batch * h * w * (h + w - 1) * (sizes.k + sizes.c));
    Node::new(y, [&q, &k, &v], move |grad| gradients(&kept, grad, sizes, wanted))
}

/// The attention, and of each pixel the largest energy and one over the sum of exponentials, `(B, 2, H, W)`.
fn attend([q, k, v]: [&Tensor; 3], sizes: Sizes) -> Result<(Tensor, Tensor)> {
    if colormamba_cuda::applies(q) {
        return cuda::attend([q, k, v], sizes);
    }
    let shape = v.shape();
    with_slices!(OP, [q, k, v], T => {
        let (y, statistics) = forward::<T>(q, k, v, sizes);
        Ok((tensor(y, shape), tensor(statistics, (sizes.batch, 2, sizes.h, sizes.w))))
    })
}

/// Those gradients of queries, keys and values that are wanted.
fn gradients(
    [q, k, v, y, statistics]: &[Tensor; 5],
    grad: &Tensor,
    sizes: Sizes,
    wanted: [bool; 3],
) -> Result<[Option<Tensor>; 3]> {
    if colormamba_cuda::applies(q) {
        return cuda::gradients([q, k, v, y, statistics], grad, sizes, wanted);
    }
    let shapes = [q.shape(), k.shape(), v.shape()];
    with_slices!(OP, [q, k, v, y, grad, statistics], T => {
        let [dq, dk, dv] = backward::<T>(sizes, wanted, [q, k, v, y, grad, statistics]);
        Ok([dq.map(|d| tensor(d, shapes[0])), dk.map(|d| tensor(d, shapes[1])), dv.map(|d| tensor(d, shapes[2]))])
    })
}

/// Channels of keys and values, height, width.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    k: usize,
    c: usize,
    h: usize,
    w: usize,
}

impl Sizes {
    fn pixels(self) -> usize {
        self.h * self.w
    }
}

/// The attention, and each pixel's statistics.
fn forward<T: Real>(q: &[T], k: &[T], v: &[T], sizes: Sizes) -> (Vec<T>, Vec<T>) {
    let Sizes { batch, k: channels, c, h, w } = sizes;
    let pixels = sizes.pixels();
    let mut y = buffer(batch * c * pixels);
    let mut statistics = buffer(batch * 2 * pixels);
    let mut weights = buffer(2 * pixels);
    for b in 0..batch {
        let planes: Vec<&[T]> = [(q, channels), (k, channels), (v, c)]
            .into_iter()
            .flat_map(|(x, n)| x[b * n * pixels..(b + 1) * n * pixels].chunks_exact(pixels))
            .collect();
        let attend_lines = |lines: Vec<T>, n: usize, is_column: bool| {
            let mut parts = buffer((c + 2) * pixels);
            parts
                .par_chunks_mut((c + 2) * n)
                .zip(lines.par_chunks(planes.len() * n))
                .for_each_init(|| Line::new(n, channels, c, is_column), |line, (part, x)| line.attend(x, part));
            parts
        };
        let rows = attend_lines(rows(&planes, h, w), w, false);
        let columns = attend_lines(columns(&planes, h, w), h, true);
        let (row_weights, column_weights) = weights.split_at_mut(pixels);
        let statistics = &mut statistics[b * 2 * pixels..(b + 1) * 2 * pixels];
        merge_softmax(&rows, &columns, sizes, statistics, row_weights, column_weights);
        let y = &mut y[b * c * pixels..(b + 1) * c * pixels];
        combine(&rows, &columns, (0, c + 2), (h, w), y, |p| (row_weights[p], column_weights[p]));
    }
    (y, statistics)
}

/// From the maxima and sums of row and column those of both together, and the weights of the two parts.
fn merge_softmax<T: Real>(
    rows: &[T],
    columns: &[T],
    Sizes { c, h, w, .. }: Sizes,
    statistics: &mut [T],
    row_weights: &mut [T],
    column_weights: &mut [T],
) {
    let (maxima, scales) = statistics.split_at_mut(h * w);
    let outputs = (maxima.par_chunks_mut(w), scales.par_chunks_mut(w));
    let weights = (row_weights.par_chunks_mut(w), column_weights.par_chunks_mut(w));
    outputs.into_par_iter().zip(weights).enumerate().for_each(|(i, ((maxima, scales), (of_row, of_column)))| {
        for j in 0..w {
            let row = |channel: usize| rows[(i * (c + 2) + channel) * w + j];
            let column = |channel: usize| columns[(j * (c + 2) + channel) * h + i];
            let largest = Real::max(row(c), column(c));
            let (a, b) = ((row(c) - largest).exp(), (column(c) - largest).exp());
            maxima[j] = largest;
            scales[j] = T::ONE / (a * row(c + 1) + b * column(c + 1));
            of_row[j] = a * scales[j];
            of_column[j] = b * scales[j];
        }
    });
}

/// Those gradients of `q`, `k` and `v` that are wanted.
fn backward<T: Real>(
    sizes: Sizes,
    wanted: [bool; 3],
    [q, k, v, y, grad, statistics]: [&[T]; 6],
) -> [Option<Vec<T>>; 3] {
    let Sizes { batch, k: channels, c, h, w } = sizes;
    let pixels = sizes.pixels();
    let depth = 2 * channels + c;
    let [for_q, for_k, for_v] = wanted;
    let of = |is_wanted: bool, x: &[T]| is_wanted.then(|| buffer(x.len()));
    let mut outputs = [of(for_q, q), of(for_k, k), of(for_v, v)];
    let image = |n: usize, b: usize| b * n * pixels..(b + 1) * n * pixels;
    for b in 0..batch {
        let (maxima, scales) = statistics[image(2, b)].split_at(pixels);
        let (scaled, delta) = scaled_gradient(&grad[image(c, b)], &y[image(c, b)], scales);
        let (q, k, v) = (&q[image(channels, b)], &k[image(channels, b)], &v[image(c, b)]);
        let planes: Vec<&[T]> =
            [q, k, v, &scaled, maxima, &delta].into_iter().flat_map(|x| x.chunks_exact(pixels)).collect();
        let gradient_lines = |lines: Vec<T>, n: usize, is_column: bool| {
            let mut parts = vec![T::ZERO; depth * pixels];
            parts.par_chunks_mut(depth * n).zip(lines.par_chunks(planes.len() * n)).for_each_init(
                || Line::new(n, channels, c, is_column),
                |line, (part, x)| line.gradient(x, part, for_q || for_k, for_v),
            );
            parts
        };
        let rows = gradient_lines(rows(&planes, h, w), w, false);
        let columns = gradient_lines(columns(&planes, h, w), h, true);
        for (out, (first, n)) in outputs.iter_mut().zip([(0, channels), (channels, channels), (2 * channels, c)]) {
            if let Some(out) = out {
                combine(&rows, &columns, (first, depth), (h, w), &mut out[image(n, b)], |_| (T::ONE, T::ONE));
            }
        }
    }
    outputs
}

/// The output's gradient over each pixel's sum of exponentials, and its product with the output summed over channels.
///
/// With `e` the exponentials, the gradient of an energy is then `e (scaled · v - delta)`.
fn scaled_gradient<T: Real>(grad: &[T], y: &[T], scales: &[T]) -> (Vec<T>, Vec<T>) {
    let pixels = scales.len();
    let mut scaled = buffer(grad.len());
    scaled.par_chunks_mut(pixels).zip(grad.par_chunks(pixels)).for_each(|(scaled, grad)| {
        for ((scaled, &grad), &scale) in scaled.iter_mut().zip(grad).zip(scales) {
            *scaled = grad * scale;
        }
    });
    let mut delta = vec![T::ZERO; pixels];
    delta.par_chunks_mut(4096).enumerate().for_each(|(chunk, delta)| {
        for (scaled, y) in scaled.chunks_exact(pixels).zip(y.chunks_exact(pixels)) {
            let range = chunk * 4096..chunk * 4096 + delta.len();
            for ((delta, &scaled), &y) in delta.iter_mut().zip(&scaled[range.clone()]).zip(&y[range]) {
                *delta += scaled * y;
            }
        }
    });
    (scaled, delta)
}

/// `(H, planes, W)`.
fn rows<T: Real>(planes: &[&[T]], h: usize, w: usize) -> Vec<T> {
    let mut lines = buffer(planes.len() * h * w);
    lines.par_chunks_mut(planes.len() * w).enumerate().for_each(|(i, line)| {
        for (line, plane) in line.chunks_exact_mut(w).zip(planes) {
            line.copy_from_slice(&plane[i * w..(i + 1) * w]);
        }
    });
    lines
}

/// `(W, planes, H)`.
fn columns<T: Real>(planes: &[&[T]], h: usize, w: usize) -> Vec<T> {
    let depth = planes.len();
    let mut lines = buffer(depth * h * w);
    lines.par_chunks_mut(BLOCK * depth * h).enumerate().for_each(|(block, lines)| {
        let start = block * BLOCK;
        let end = w.min(start + BLOCK);
        for (c, plane) in planes.iter().enumerate() {
            for i in 0..h {
                for (j, &x) in plane[i * w + start..i * w + end].iter().enumerate() {
                    lines[(j * depth + c) * h + i] = x;
                }
            }
        }
    });
    lines
}

/// The image `out` from the channels of `rows` `(H, depth, W)` and `columns` `(W, depth, H)` from `first` on, summed with
/// the weights that `weigh` gives for a pixel.
fn combine<T: Real>(
    rows: &[T],
    columns: &[T],
    (first, depth): (usize, usize),
    (h, w): (usize, usize),
    out: &mut [T],
    weigh: impl Fn(usize) -> (T, T) + Sync,
) {
    out.par_chunks_mut(h * w).enumerate().for_each(|(plane_index, plane)| {
        let c = first + plane_index;
        for (block, band) in plane.chunks_mut(BLOCK * w).enumerate() {
            let start = block * BLOCK;
            for j in 0..w {
                let column = &columns[(j * depth + c) * h + start..];
                for (i, &from_column) in column[..band.len() / w].iter().enumerate() {
                    let (a, b) = weigh((start + i) * w + j);
                    let from_row = rows[((start + i) * depth + c) * w + j];
                    band[i * w + j] = a * from_row + b * from_column;
                }
            }
        }
    });
}
