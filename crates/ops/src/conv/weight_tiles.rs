//! The gradient of a convolution's weight by Winograd's tiles; see [`super::tile`].
//!
//! With d_t the source pixels of tile t in a channel c and Ȳ_t the gradient of its 2 × 2 results in an output o, the gradient
//! of the kernel from c to o is
//!
//! `ḡ = Gᵀ [Σ_t (A Ȳ_t Aᵀ) ⊙ (Bᵀ d_t B)] G`:
//!
//! the sum over the tiles of all images is taken at each of the N² frequencies, where it is a product of matrices (outputs ×
//! tiles) · (tiles × channels), and transformed back once. So a register holds neighbouring channels, not neighbouring
//! pixels. Source: the adjoint of Lavin & Gray 2016, arXiv 1509.09308, eq. 8.

use super::kernel::{Product, ROWS};
use super::source::{Images, fill_channels_last};
use super::tile::{ChannelsLast, Input, apart, gradients_of_taps};
use super::weight::WeightGradient;
use crate::gemm::split;
use crate::simd::{SimdReal, WIDEST, grown};
use colormamba_cpu::vectorize;
use std::ops::Range;

/// Fewest and most tasks that the work is cut into, by its size and not by the number of threads, so that sums do not depend
/// on that; each has enough rectangles that adding up what the tasks found does not count.
const TASKS: (usize, usize) = (8, 32);
/// Outputs, and planes (channels of one phase), of a task.
const OUTPUTS: usize = 64;
const PLANES: usize = 64;
/// Elements of the frequencies of a rectangle's pixels.
const FREQUENCIES: usize = 1 << 16;
/// Rectangles that are summed up before their sums join the total: less rounding over large images.
const TOGETHER: usize = 16;
/// Rows of tiles of a rectangle.
const ROWS_OF_TILES: usize = 4;

/// Tiles of one image: the first, and how many.
struct Rectangle {
    image: usize,
    first: (usize, usize),
    tiles: (usize, usize),
}

impl<T: SimdReal> WeightGradient<'_, T> {
    /// The gradient, `(outputs, channels, kernel)`; the kernel has `N - 1` taps in each phase, along both axes.
    pub(super) fn over_tiles<const N: usize>(&self) -> Vec<T> {
        let channels = self.images.channels();
        let phases = self.geometry.stride * self.geometry.stride;
        let outputs = split(self.outputs, self.outputs.div_ceil(OUTPUTS), ROWS);
        let blocks = split(channels, (channels * phases).div_ceil(PLANES), WIDEST);
        let rectangles = self.rectangles(FREQUENCIES / (N * N * phases * blocks[0].len().next_multiple_of(WIDEST)));
        let tasks = (rectangles.len() / (2 * TOGETHER)).clamp(TASKS.0, TASKS.1);
        let chunks = split(rectangles.len(), tasks.div_ceil(outputs.len() * blocks.len()), 1);
        self.by_tasks(&outputs, &blocks, &chunks, |outputs, channels, chunk| {
            OverTiles::<T, N> { of: self, outputs, channels }.run(&rectangles[chunk.clone()])
        })
    }

    /// Rectangles of about `count` tiles that cover the grid of all images.
    fn rectangles(&self, count: usize) -> Vec<Rectangle> {
        let (rows, columns) = (self.grid.0.div_ceil(2), self.grid.1.div_ceil(2));
        let height = ROWS_OF_TILES.min(rows);
        let width = (count / height).clamp(1, columns);
        let firsts = (0..rows).step_by(height).flat_map(|y| (0..columns).step_by(width).map(move |x| (y, x)));
        let all = (0..self.batch).flat_map(|image| firsts.clone().map(move |first| (image, first)));
        all.map(|(image, first)| {
            let tiles = (height.min(rows - first.0), width.min(columns - first.1));
            Rectangle { image, first, tiles }
        })
        .collect()
    }
}

/// What a task goes through its rectangles for: the sums for some outputs and channels.
struct OverTiles<'a, 'b, T, const N: usize> {
    of: &'b WeightGradient<'a, T>,
    outputs: &'b Range<usize>,
    channels: &'b Range<usize>,
}

impl<T: SimdReal, const N: usize> OverTiles<'_, '_, T, N> {
    /// The sums, `(outputs, channels, kernel)`.
    fn run(&self, rectangles: &[Rectangle]) -> Vec<T> {
        let (outputs, planes) = (self.outputs.len(), self.planes());
        let mut buffers = Buffers::default();
        let (mut sums, mut total) = (Vec::new(), vec![T::ZERO; N * N * outputs * planes]);
        let sums = grown(&mut sums, total.len());
        for some in rectangles.chunks(TOGETHER) {
            for (i, rectangle) in some.iter().enumerate() {
                self.add(rectangle, &mut buffers, sums, i > 0);
            }
            total.iter_mut().zip(&*sums).for_each(|(total, sum)| *total += *sum);
        }
        self.taps(&total)
    }

    /// Adds the products of a rectangle to sums `(N, N, outputs, planes)`, or writes them there.
    fn add(&self, rectangle: &Rectangle, buffers: &mut Buffers<T>, sums: &mut [T], add: bool) {
        let (outputs, planes) = (self.outputs.len(), self.planes());
        let count = rectangle.tiles.0 * rectangle.tiles.1;
        let (pixels, gradients) = self.transform(rectangle, buffers);
        let offsets: Vec<usize> = (0..count).map(|tile| tile * planes).collect();
        let stride = outputs.next_multiple_of(WIDEST);
        let (pixel_frequency, gradient_frequency) = (apart(count * planes), apart(count * stride));
        for (f, o) in (0..N * N).flat_map(|f| (0..outputs).step_by(ROWS).map(move |o| (f, o))) {
            let product = Product {
                weights: &gradients[f * gradient_frequency + o..],
                step: stride,
                rows: ROWS.min(outputs - o),
                offsets: &offsets,
                source: pixels[f * pixel_frequency..].as_ptr(),
                out: sums[(f * outputs + o) * planes..].as_mut_ptr(),
                stride: planes,
                points: planes,
                add,
            };
            // SAFETY: there are whole registers of planes for every tile and for every output's sums.
            unsafe { product.run() };
        }
    }

    fn phases(&self) -> usize {
        self.of.geometry.stride * self.of.geometry.stride
    }

    /// Planes of the source, those of a phase filled up to whole registers.
    fn planes(&self) -> usize {
        self.phases() * self.channels.len().next_multiple_of(WIDEST)
    }

    /// The frequencies of a rectangle's pixels, `(N · N, tiles, planes)`, and of its gradients, `(N · N, tiles, outputs)`;
    /// frequencies lie [`apart`].
    fn transform<'c>(&self, at: &Rectangle, buffers: &'c mut Buffers<T>) -> (&'c [T], &'c [T]) {
        let (of, step, tiles) = (self.of, self.of.geometry.stride, at.tiles);
        let (height, width) = of.grid;
        let low = of.geometry.window().low;
        let first = (2 * at.first.0, 2 * at.first.1);
        let pixel = |axis: usize, low: isize| (axis * step) as isize + low;
        let side = |tiles: usize| (2 * tiles + N - 2) * step;
        let size = (side(tiles.0), side(tiles.1));
        let count = tiles.0 * tiles.1;
        let (channels, outputs) =
            (self.channels.len().next_multiple_of(WIDEST), self.outputs.len().next_multiple_of(WIDEST));
        let gradient_size = (2 * tiles.0, 2 * tiles.1);
        let source = grown(&mut buffers.source, size.0 * size.1 * channels);
        let gradient_source = grown(&mut buffers.gradient_source, gradient_size.0 * gradient_size.1 * outputs);
        let gradients = Images { parts: vec![(of.grad, of.outputs)], height, width };
        vectorize(
            #[inline(always)]
            || {
                let corner = (pixel(first.0, low.0), pixel(first.1, low.1));
                fill_channels_last(&of.images, at.image, self.channels.clone(), corner, size, channels, source);
                let corner = (first.0 as isize, first.1 as isize);
                let outputs_range = self.outputs.clone();
                fill_channels_last(
                    &gradients,
                    at.image,
                    outputs_range,
                    corner,
                    gradient_size,
                    outputs,
                    gradient_source,
                );
            },
        );
        let planes = self.planes();
        let frequency = apart(count * planes);
        let frequencies = grown(&mut buffers.frequencies, N * N * frequency);
        for phase in 0..self.phases() {
            let row = size.1 * channels;
            ChannelsLast::<T, N> {
                input: Input::Pixels,
                source: &source[phase / step * row + phase % step * channels..],
                channels,
                strides: (step * row, step * channels),
                tiles,
                out: &mut frequencies[phase * channels..],
                frequency,
                tile: planes,
            }
            .run();
        }
        let frequency = apart(count * outputs);
        let gradient_frequencies = grown(&mut buffers.gradient_frequencies, N * N * frequency);
        ChannelsLast::<T, N> {
            input: Input::Gradients,
            source: gradient_source,
            channels: outputs,
            strides: (gradient_size.1 * outputs, outputs),
            tiles,
            out: gradient_frequencies,
            frequency,
            tile: outputs,
        }
        .run();
        (frequencies, gradient_frequencies)
    }

    /// The gradients of the taps from those at their frequencies, `(N, N, outputs, planes)`.
    fn taps(&self, sums: &[T]) -> Vec<T> {
        let (outputs, channels, planes) = (self.outputs.len(), self.channels.len(), self.planes());
        let taps = self.of.taps();
        let mut out = vec![T::ZERO; outputs * channels * taps];
        let mut bands = vec![T::ZERO; N * planes];
        let mut line = vec![T::ZERO; planes];
        for (o, kernels) in out.chunks_exact_mut(channels * taps).enumerate() {
            let frequency = |f: usize| &sums[(f * outputs + o) * planes..][..planes];
            for y in 0..N - 1 {
                for (l, band) in bands.chunks_exact_mut(planes).enumerate() {
                    let column = std::array::from_fn(|k| frequency(k * N + l));
                    gradients_of_taps::<T, N>(y, column, band);
                }
                for x in 0..N - 1 {
                    let column = std::array::from_fn(|l| &bands[l * planes..][..planes]);
                    gradients_of_taps::<T, N>(x, column, &mut line);
                    self.place(y, x, &line, kernels);
                }
            }
        }
        out
    }

    /// Moves the gradients of the taps `(y, x)` of all phases to their places in the kernels of one output.
    fn place(&self, y: usize, x: usize, line: &[T], kernels: &mut [T]) {
        let (step, width, taps) = (self.of.geometry.stride, self.of.geometry.kernel.1, self.of.taps());
        let stride = self.channels.len().next_multiple_of(WIDEST);
        for phase in 0..self.phases() {
            let tap = (y * step + phase / step) * width + x * step + phase % step;
            for (kernel, &value) in kernels.chunks_exact_mut(taps).zip(&line[phase * stride..]) {
                kernel[tap] = value;
            }
        }
    }
}

/// What a task reuses from rectangle to rectangle.
#[derive(Default)]
struct Buffers<T> {
    source: Vec<T>,
    gradient_source: Vec<T>,
    frequencies: Vec<T>,
    gradient_frequencies: Vec<T>,
}
