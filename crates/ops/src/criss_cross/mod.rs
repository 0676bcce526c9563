//! Criss-cross attention.
//!
//! Rows and columns of the image are both "lines": a line's queries attend to its keys, tile by tile, so that energies
//! exist only for `TILE` queries of one line per thread. The parts of a pixel's row and column are then merged into one
//! softmax by their maxima and sums, which are also what the gradient needs to make the weights again.

mod line;

use crate::separable::{Format, size};
use crate::{OpError, cpu, dispatch_real};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor, WithDType};
use rayon::prelude::*;
use std::sync::OnceLock;

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
pub fn criss_cross(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    let (h, w) = size(OP, q, Format::Image, 1)?;
    if k.dims() != q.dims() {
        return Err(OpError::shape(OP, format!("keys like the queries {:?}", q.shape()), k.shape()));
    }
    let batch = q.dims()[0];
    if size(OP, v, Format::Image, 1)? != (h, w) || v.dims()[0] != batch {
        return Err(OpError::shape(OP, format!("values ({batch}, C, {h}, {w})"), v.shape()));
    }
    let op = CrissCross { statistics: OnceLock::new() };
    q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op)
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
    fn new(q: &Layout, v: &Layout) -> Result<Self> {
        let (batch, k, h, w) = q.shape().dims4()?;
        Ok(Self { batch, k, c: v.dims()[1], h, w })
    }

    fn pixels(self) -> usize {
        self.h * self.w
    }
}

struct CrissCross {
    /// `(B, 2, H, W)`: each pixel's largest energy, and one over its sum of exponentials.
    statistics: OnceLock<Tensor>,
}

impl CustomOp3 for CrissCross {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::new(l1, l3)?;
        dispatch_real!(OP, s1, T => {
            let (q, k, v) = (cpu::slice::<T>(OP, s1, l1)?, cpu::slice::<T>(OP, s2, l2)?, cpu::slice::<T>(OP, s3, l3)?);
            let (y, statistics) = forward(q, k, v, sizes);
            let statistics = Tensor::from_vec(statistics, (sizes.batch, 2, sizes.h, sizes.w), &Device::Cpu)?;
            // Already set only if this very operation ran before, on the same arguments.
            let _ = self.statistics.set(statistics);
            Ok((T::to_cpu_storage_owned(y), l3.shape().clone()))
        })
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(statistics) = self.statistics.get() else {
            return Err(OpError::argument(OP, "the gradient was asked for before the forward"));
        };
        let (for_qk, for_v) = (q.track_op() || k.track_op(), v.track_op());
        let (y, grad, statistics) = (y.clone(), grad.contiguous()?, statistics.clone());
        let packed = q.apply_op3_no_bwd(k, v, &Gradient { y, grad, statistics, for_qk, for_v })?;
        let (channels, values) = (q.dims()[1], v.dims()[1]);
        let part = |of: &Tensor, start: usize, length: usize| {
            of.track_op().then(|| packed.narrow(1, start, length)).transpose()
        };
        Ok((part(q, 0, channels)?, part(k, channels, channels)?, part(v, 2 * channels, values)?))
    }
}

/// From `q`, `k`, `v` the gradients of all three, `(B, 2K + C, H, W)`.
struct Gradient {
    y: Tensor,
    grad: Tensor,
    statistics: Tensor,
    for_qk: bool,
    for_v: bool,
}

impl CustomOp3 for Gradient {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::new(l1, l3)?;
        let ((s4, l4), (s5, l5)) = (self.y.storage_and_layout(), self.grad.storage_and_layout());
        let (s6, l6) = self.statistics.storage_and_layout();
        dispatch_real!(OP, s1, T => {
            let (q, k, v) = (cpu::slice::<T>(OP, s1, l1)?, cpu::slice::<T>(OP, s2, l2)?, cpu::slice::<T>(OP, s3, l3)?);
            let (y, grad) = (cpu::slice::<T>(OP, cpu::on_cpu(OP, &s4)?, l4)?, cpu::slice::<T>(OP, cpu::on_cpu(OP, &s5)?, l5)?);
            let statistics = cpu::slice::<T>(OP, cpu::on_cpu(OP, &s6)?, l6)?;
            let gradients = self.backward(sizes, [q, k, v, y, grad, statistics]);
            Ok((T::to_cpu_storage_owned(gradients), (sizes.batch, 2 * sizes.k + sizes.c, sizes.h, sizes.w).into()))
        })
    }
}

/// The attention, and each pixel's statistics.
fn forward<T: cpu::Real>(q: &[T], k: &[T], v: &[T], sizes: Sizes) -> (Vec<T>, Vec<T>) {
    let Sizes { batch, k: channels, c, h, w } = sizes;
    let pixels = sizes.pixels();
    let mut y = cpu::buffer(batch * c * pixels);
    let mut statistics = cpu::buffer(batch * 2 * pixels);
    let mut weights = cpu::buffer(2 * pixels);
    for b in 0..batch {
        let planes: Vec<&[T]> = [(q, channels), (k, channels), (v, c)]
            .into_iter()
            .flat_map(|(x, n)| x[b * n * pixels..(b + 1) * n * pixels].chunks_exact(pixels))
            .collect();
        let attend_lines = |lines: Vec<T>, n: usize, is_column: bool| {
            let mut parts = cpu::buffer((c + 2) * pixels);
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
        combine(&rows, &columns, c + 2, (h, w), y, |p| (row_weights[p], column_weights[p]));
    }
    (y, statistics)
}

/// From the maxima and sums of row and column those of both together, and the weights of the two parts.
fn merge_softmax<T: cpu::Real>(
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
            let largest = cpu::Real::max(row(c), column(c));
            let (a, b) = ((row(c) - largest).exp(), (column(c) - largest).exp());
            maxima[j] = largest;
            scales[j] = T::ONE / (a * row(c + 1) + b * column(c + 1));
            of_row[j] = a * scales[j];
            of_column[j] = b * scales[j];
        }
    });
}

impl Gradient {
    fn backward<T: cpu::Real>(&self, sizes: Sizes, [q, k, v, y, grad, statistics]: [&[T]; 6]) -> Vec<T> {
        let Sizes { batch, k: channels, c, h, w } = sizes;
        let pixels = sizes.pixels();
        let depth = 2 * channels + c;
        let mut packed = cpu::buffer(batch * depth * pixels);
        let image = |x: &'_ [T], n: usize, b: usize| b * n * pixels..((b + 1) * n * pixels).min(x.len());
        for (b, packed) in packed.chunks_exact_mut(depth * pixels).enumerate() {
            let (maxima, scales) = statistics[image(statistics, 2, b)].split_at(pixels);
            let (scaled, delta) = scaled_gradient(&grad[image(grad, c, b)], &y[image(y, c, b)], scales);
            let (q, k, v) = (&q[image(q, channels, b)], &k[image(k, channels, b)], &v[image(v, c, b)]);
            let planes: Vec<&[T]> =
                [q, k, v, &scaled, maxima, &delta].into_iter().flat_map(|x| x.chunks_exact(pixels)).collect();
            let gradient_lines = |lines: Vec<T>, n: usize, is_column: bool| {
                let mut parts = vec![T::ZERO; depth * pixels];
                parts.par_chunks_mut(depth * n).zip(lines.par_chunks(planes.len() * n)).for_each_init(
                    || Line::new(n, channels, c, is_column),
                    |line, (part, x)| line.gradient(x, part, self.for_qk, self.for_v),
                );
                parts
            };
            let rows = gradient_lines(rows(&planes, h, w), w, false);
            let columns = gradient_lines(columns(&planes, h, w), h, true);
            combine(&rows, &columns, depth, (h, w), packed, |_| (T::ONE, T::ONE));
        }
        packed
    }
}

/// The output's gradient over each pixel's sum of exponentials, and its product with the output summed over channels.
///
/// With `e` the exponentials, the gradient of an energy is then `e (scaled · v - delta)`.
fn scaled_gradient<T: cpu::Real>(grad: &[T], y: &[T], scales: &[T]) -> (Vec<T>, Vec<T>) {
    let pixels = scales.len();
    let mut scaled = cpu::buffer(grad.len());
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
fn rows<T: cpu::Real>(planes: &[&[T]], h: usize, w: usize) -> Vec<T> {
    let mut lines = cpu::buffer(planes.len() * h * w);
    lines.par_chunks_mut(planes.len() * w).enumerate().for_each(|(i, line)| {
        for (line, plane) in line.chunks_exact_mut(w).zip(planes) {
            line.copy_from_slice(&plane[i * w..(i + 1) * w]);
        }
    });
    lines
}

/// `(W, planes, H)`.
fn columns<T: cpu::Real>(planes: &[&[T]], h: usize, w: usize) -> Vec<T> {
    let depth = planes.len();
    let mut lines = cpu::buffer(depth * h * w);
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

/// The image `out` from the first channels of `rows` `(H, depth, W)` and `columns` `(W, depth, H)`, summed with the
/// weights that `weigh` gives for a pixel.
fn combine<T: cpu::Real>(
    rows: &[T],
    columns: &[T],
    depth: usize,
    (h, w): (usize, usize),
    out: &mut [T],
    weigh: impl Fn(usize) -> (T, T) + Sync,
) {
    out.par_chunks_mut(h * w).enumerate().for_each(|(c, plane)| {
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
