//! The gradient of a convolution's weight.

use super::correlate::Geometry;
use super::kernel::{Correlation, Product, ROWS};
use super::source::{Images, Strip, read_line};
use crate::gemm::split;
use crate::memory::buffer;
use crate::simd::{SimdReal, WIDEST, grown, lanes};
use colormamba_cpu::vectorize;
use rayon::prelude::*;
use std::ops::Range;

/// Tasks that the work is cut into, whatever the number of threads, so that sums do not depend on it.
const TASKS: usize = 32;
/// Grid points of a strip: enough that its margins do not count.
const POINTS: usize = 2048;
/// Points that sums run over at a time: their gradients for a block of outputs stay in the first-level cache.
const RUN: usize = 1024;
/// Points of an image from which on sums run over pixels.
const LARGE: usize = 512;
/// Points of all images, and outputs and planes, from which on the transforms of tiles cost less than the multiplications they
/// save, as measured.
const TILED_POINTS: usize = 512;
const TILED_CHANNELS: usize = 32;
/// Outputs of a task: every strip is laid out once for all of them.
const OUTPUTS: usize = 2 * ROWS;
/// Elements of a strip's source.
const SOURCE: usize = 1 << 17;
/// Sums that a task keeps, each a register: they stay in the second-level cache beside the strip.
const SUMS: usize = 1 << 12;
/// Elements of the column matrix at a time.
const COLUMNS: usize = 1 << 22;

/// `weight[o, c, tap] = Σ_p grad[o, p] · source[c, p + tap]` over all points of the grid.
pub(super) struct WeightGradient<'a, T> {
    pub images: Images<'a, T>,
    pub batch: usize,
    pub geometry: Geometry,
    /// `(batch, outputs, grid)`.
    pub grad: &'a [T],
    pub outputs: usize,
    /// Height and width.
    pub grid: (usize, usize),
}

impl<T: SimdReal> WeightGradient<'_, T> {
    /// The gradient, `(outputs, channels, kernel)`.
    pub fn run(&self) -> Vec<T> {
        let area = self.grid.0 * self.grid.1;
        let (kernel, stride) = (self.geometry.kernel, self.geometry.stride);
        let planes = self.images.channels() * stride * stride;
        let wide = self.grid.0 > 1 && self.grid.1 > 1;
        let tiled = wide && self.batch * area >= TILED_POINTS && self.outputs.min(planes) >= TILED_CHANNELS;
        let square = |side: usize| tiled && stride <= 2 && kernel == (side * stride, side * stride);
        match area {
            0 => vec![T::ZERO; self.outputs * self.depth()],
            _ if square(2) => self.over_tiles::<3>(),
            _ if square(3) => self.over_tiles::<4>(),
            _ if square(4) => self.over_tiles::<5>(),
            LARGE.. => self.over_pixels(),
            _ => self.over_columns(),
        }
    }

    pub(super) fn taps(&self) -> usize {
        self.geometry.kernel.0 * self.geometry.kernel.1
    }

    /// Weights of one output.
    fn depth(&self) -> usize {
        self.images.channels() * self.taps()
    }

    /// For large images: a register holds neighbouring pixels, and every weight has a register of sums.
    fn over_pixels(&self) -> Vec<T> {
        let channels = self.images.channels();
        let pitch = Strip::new(self.geometry.window(), self.grid.1, 1).pitch;
        let rows = (POINTS / pitch).clamp(1, self.grid.0);
        let strips: Vec<(usize, usize)> =
            (0..self.batch).flat_map(|image| (0..self.grid.0).step_by(rows).map(move |first| (image, first))).collect();
        let outputs = split(self.outputs, self.outputs.div_ceil(OUTPUTS), OUTPUTS);
        let most = (SUMS / (OUTPUTS * self.taps())).max(1);
        let blocks = split(channels, channels.div_ceil(most), 1);
        let chunks = split(strips.len(), TASKS.div_ceil(outputs.len() * blocks.len()), 1);
        self.by_tasks(&outputs, &blocks, &chunks, |outputs, channels, chunk| {
            OverPixels { of: self, rows, outputs, channels, strips: &strips[chunk.clone()] }.run()
        })
    }

    /// The whole gradient, from what `run` gives for each of the ranges of outputs, channels and places:
    /// `(outputs, channels, kernel)`.
    pub(super) fn by_tasks(
        &self,
        outputs: &[Range<usize>],
        channels: &[Range<usize>],
        chunks: &[Range<usize>],
        run: impl Fn(&Range<usize>, &Range<usize>, &Range<usize>) -> Vec<T> + Sync,
    ) -> Vec<T> {
        let tasks: Vec<_> = outputs
            .iter()
            .flat_map(|o| channels.iter().map(move |c| (o, c)))
            .flat_map(|(o, c)| chunks.iter().map(move |chunk| (o, c, chunk)))
            .collect();
        let partial: Vec<Vec<T>> = tasks.par_iter().map(|(o, c, chunk)| run(o, c, chunk)).collect();
        let mut weight = vec![T::ZERO; self.outputs * self.depth()];
        for ((outputs, channels, _), sums) in tasks.iter().zip(&partial) {
            for (o, sums) in (*outputs).clone().zip(sums.chunks_exact(channels.len() * self.taps())) {
                let row = &mut weight[o * self.depth() + channels.start * self.taps()..];
                row.iter_mut().zip(sums).for_each(|(w, s)| *w += *s);
            }
        }
        weight
    }

    /// For small images: a register holds neighbouring weights, and sums run over the rows of the column matrix.
    fn over_columns(&self) -> Vec<T> {
        let (area, depth) = (self.grid.0 * self.grid.1, self.depth());
        let mut weight = buffer(self.outputs * depth);
        let images = (COLUMNS / (area * depth)).clamp(1, self.batch.max(1));
        let mut columns = Vec::new();
        for first in (0..self.batch).step_by(images) {
            let images = first..(first + images).min(self.batch);
            let points = images.len() * area;
            let stride = depth.next_multiple_of(WIDEST);
            let columns = grown(&mut columns, points * stride);
            columns
                .par_chunks_mut(stride)
                .enumerate()
                .for_each(|(p, row)| self.column(first + p / area, p % area, row));
            let offsets: Vec<usize> = (0..points).map(|p| p * stride).collect();
            weight.par_chunks_mut(ROWS * depth).enumerate().for_each(|(block, out)| {
                let outputs = block * ROWS..block * ROWS + out.len() / depth;
                let columns = &*columns;
                OverColumns { of: self, outputs, images: images.clone(), offsets: &offsets, columns, out }.run()
            });
        }
        weight
    }

    /// What all taps read at one point.
    fn column(&self, image: usize, point: usize, out: &mut [T]) {
        let (kernel, window) = (self.geometry.kernel, self.geometry.window());
        let (y, x) = (point / self.grid.1 * window.step, point % self.grid.1 * window.step);
        let (height, width) = (self.images.height, self.images.width);
        let mut runs = out.chunks_exact_mut(kernel.1);
        for c in 0..self.images.channels() {
            let plane = self.images.plane(image, c);
            for (ty, out) in (0..kernel.0).zip(&mut runs) {
                let y = (y + ty) as isize + window.low.0;
                if y < 0 || y >= height as isize {
                    out.fill(T::ZERO);
                } else {
                    read_line(&plane[y as usize * width..][..width], x as isize + window.low.1, 1, out);
                }
            }
        }
    }
}

/// The sums over some strips for some outputs and channels, `(outputs, channels, taps)`.
struct OverPixels<'a, 'b, T> {
    of: &'b WeightGradient<'a, T>,
    rows: usize,
    outputs: &'b Range<usize>,
    channels: &'b Range<usize>,
    strips: &'b [(usize, usize)],
}

impl<T: SimdReal> OverPixels<'_, '_, T> {
    fn run(self) -> Vec<T> {
        let Self { of, rows, outputs, channels, strips } = self;
        let taps = of.taps();
        let width = of.geometry.kernel.1;
        let lanes = lanes::<T>();
        let mut sums = Vec::new();
        let sums = grown(&mut sums, channels.len() * taps * outputs.len() * lanes);
        let (mut source, mut grads) = (Vec::new(), Vec::new());
        for &(image, first) in strips {
            let rows = rows.min(of.grid.0 - first);
            let strip = Strip::new(of.geometry.window(), of.grid.1, rows);
            let points = strip.points(rows);
            let stride = points.next_multiple_of(WIDEST);
            let grads = grown(&mut grads, outputs.len() * stride);
            vectorize(
                #[inline(always)]
                || of.lay_out((image, first, rows), outputs, (strip.pitch, stride), grads),
            );
            let offsets: Vec<usize> = (0..taps).map(|t| strip.tap(t / width, t % width)).collect();
            let fitting = (SOURCE / strip.channel()).max(1);
            for start in (0..channels.len()).step_by(fitting) {
                let block = start..(start + fitting).min(channels.len());
                let source = grown(&mut source, strip.len(block.len()));
                let filled = block.start + channels.start..block.end + channels.start;
                vectorize(
                    #[inline(always)]
                    || strip.fill(&of.images, image, filled.clone(), first, source),
                );
                let blocks =
                    (0..points).step_by(RUN).flat_map(|p| (0..outputs.len()).step_by(ROWS).map(move |r| (p, r)));
                for (point, row) in blocks {
                    let rows = ROWS.min(outputs.len() - row);
                    let at = (row * channels.len() + block.start * rows) * taps;
                    let correlation = Correlation {
                        grad: grads[row * stride + point..].as_ptr(),
                        stride,
                        rows,
                        source: source[point..].as_ptr(),
                        channels: block.len(),
                        channel: strip.channel(),
                        offsets: &offsets,
                        points: RUN.min(points - point),
                        sums: sums[at * lanes..].as_mut_ptr(),
                    };
                    // SAFETY: the buffers hold the points of a strip at every tap, and the sums of all weights.
                    unsafe { correlation.run() };
                }
            }
        }
        let depth = channels.len() * taps;
        let mut out = vec![T::ZERO; outputs.len() * depth];
        for (block, sums) in out.chunks_mut(ROWS * depth).zip(sums.chunks(ROWS * depth * lanes)) {
            let rows = block.len() / depth;
            for (i, sums) in sums.chunks_exact(rows * lanes).enumerate() {
                for (o, sums) in sums.chunks_exact(lanes).enumerate() {
                    block[o * depth + i] = sums.iter().copied().sum();
                }
            }
        }
        out
    }
}

impl<T: SimdReal> WeightGradient<'_, T> {
    /// The gradients of a strip (image, first grid row, rows), `pitch` from row to row and `stride` from output to output,
    /// zero between.
    #[inline(always)]
    fn lay_out(
        &self,
        (image, first, rows): (usize, usize, usize),
        outputs: &Range<usize>,
        (pitch, stride): (usize, usize),
        out: &mut [T],
    ) {
        let (height, width) = self.grid;
        for (o, out) in outputs.clone().zip(out.chunks_exact_mut(stride)) {
            let plane = &self.grad[(image * self.outputs + o) * height * width..][..height * width];
            let (points, rest) = out.split_at_mut(rows * pitch);
            rest.fill(T::ZERO);
            for (out, line) in points.chunks_exact_mut(pitch).zip(plane[first * width..].chunks_exact(width)) {
                out[..width].copy_from_slice(line);
                out[width..].fill(T::ZERO);
            }
        }
    }
}

/// Adds some images' part of the weights of some outputs.
struct OverColumns<'a, 'b, T> {
    of: &'b WeightGradient<'a, T>,
    outputs: Range<usize>,
    images: Range<usize>,
    offsets: &'b [usize],
    columns: &'b [T],
    /// `(outputs, depth)`.
    out: &'b mut [T],
}

impl<T: SimdReal> OverColumns<'_, '_, T> {
    fn run(self) {
        let Self { of, outputs, images, offsets, columns, out } = self;
        let area = of.grid.0 * of.grid.1;
        let (rows, depth) = (outputs.len(), of.depth());
        let mut weights = vec![T::ZERO; offsets.len() * rows];
        for (i, image) in images.clone().enumerate() {
            for (m, o) in outputs.clone().enumerate() {
                let plane = &of.grad[(image * of.outputs + o) * area..][..area];
                let panel = weights[i * area * rows..].iter_mut().skip(m).step_by(rows);
                panel.zip(plane).for_each(|(w, g)| *w = *g);
            }
        }
        let stride = depth.next_multiple_of(WIDEST);
        let mut result = vec![T::ZERO; rows * stride];
        let product = Product {
            weights: &weights,
            step: rows,
            rows,
            offsets,
            source: columns.as_ptr(),
            out: result.as_mut_ptr(),
            stride,
            points: depth,
            add: false,
        };
        // SAFETY: every row of the column matrix and of the result has `stride` elements, and the result is this task's own.
        unsafe { product.run() };
        for (out, result) in out.chunks_exact_mut(depth).zip(result.chunks_exact(stride)) {
            if images.start == 0 {
                out.copy_from_slice(&result[..depth]);
            } else {
                out.iter_mut().zip(result).for_each(|(o, r)| *o += *r);
            }
        }
    }
}
