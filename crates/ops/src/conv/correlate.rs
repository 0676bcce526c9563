//! The two directions of a convolution that make images: gathering (forward) and its adjoint (transposed).
//!
//! Both are [correlations of strips](super::views), so they are one kernel, every output is written once, and there is no
//! scattering to race. No column matrix is made: kernels read the pixels where they are.

use super::kernel::{Product, ROWS};
use super::source::{Images, Strip, Window};
use super::views::{View, Views, join_line};
use crate::Activation;
use crate::gemm::split;
use crate::memory::buffer;
use crate::simd::{SimdReal, WIDEST, grown};
use colormamba_cpu::{Shared, vectorize};
use rayon::prelude::*;
use std::ops::Range;

/// Grid points of a strip: enough that filling it and its margins do not count.
const POINTS: usize = 1536;
/// Elements of a strip's source, and of its result: together they stay in a core's second-level cache.
const SOURCE: usize = 1 << 17;
const RESULT: usize = 1 << 17;
/// Rows of the weights that a block of outputs goes through at a time: they stay in the first-level cache.
const DEPTH: usize = 1152;

/// `out[m] = act(bias[m] + Σ_c Σ_taps weight · source)` on a grid.
pub(super) struct Correlate<'a, T> {
    pub images: Images<'a, T>,
    pub batch: usize,
    pub window: Window,
    /// Height and width of the grid.
    pub grid: (usize, usize),
    pub views: Vec<View>,
    step: usize,
    /// Height and width of the outputs.
    size: (usize, usize),
    /// Element `(m, c, tap)` is at `m · strides.0 + c · strides.1 + tap`.
    pub weight: &'a [T],
    pub strides: (usize, usize),
    pub outputs: usize,
    bias: Option<&'a [T]>,
    activation: Activation,
}

/// The numbers of a convolution: kernel `(height, width)`, stride, padding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    pub kernel: (usize, usize),
    pub stride: usize,
    pub padding: usize,
}

impl Geometry {
    fn area(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }

    /// The padding above and on the left.
    fn both(&self) -> (usize, usize) {
        (self.padding, self.padding)
    }

    /// The window of the forward direction.
    pub fn window(&self) -> Window {
        let low = -(self.padding as isize);
        Window { step: self.stride, low: (low, low), taps: self.kernel }
    }
}

impl<'a, T: SimdReal> Correlate<'a, T> {
    /// The forward direction; `weight` `(outputs, channels, kernel)`, results of height and width `size`.
    pub fn forward(
        images: Images<'a, T>,
        batch: usize,
        weight: &'a [T],
        geometry: Geometry,
        size: (usize, usize),
    ) -> Self {
        let (area, channels) = (geometry.area(), images.channels());
        let Views { window, grid, list, step } =
            Views::forward(geometry.kernel, geometry.stride, geometry.both(), size);
        Self {
            images,
            batch,
            window,
            grid,
            views: list,
            step,
            size,
            weight,
            strides: (channels * area, area),
            outputs: weight.len() / (channels * area),
            bias: None,
            activation: Activation::Identity,
        }
    }

    /// The adjoint, for the channels `range` of the forward direction's input, of height and width `size`; `weight`
    /// `(images.channels(), all of those channels, kernel)`.
    pub fn adjoint(
        images: Images<'a, T>,
        batch: usize,
        weight: &'a [T],
        geometry: Geometry,
        size: (usize, usize),
        range: Range<usize>,
    ) -> Self {
        let area = geometry.area();
        let row_stride = weight.len() / images.channels();
        let Views { window, grid, list, step } =
            Views::adjoint(geometry.kernel, geometry.stride, geometry.both(), size);
        Self {
            batch,
            window,
            grid,
            views: list,
            step,
            size,
            weight: &weight[range.start * area..],
            strides: (area, row_stride),
            outputs: range.len(),
            images,
            bias: None,
            activation: Activation::Identity,
        }
    }

    /// With a bias for each output, and an activation of the result.
    pub fn with(self, bias: Option<&'a [T]>, activation: Activation) -> Self {
        Self { bias, activation, ..self }
    }

    /// All outputs, `(batch, outputs, size)`.
    pub fn run(&self) -> Vec<T> {
        let mut out = buffer(self.batch * self.outputs * self.size.0 * self.size.1);
        if out.is_empty() {
            return out;
        }
        let pixels = Shared::new(&mut out);
        match self.squares() {
            Some((2, squares)) => self.by_tiles::<3>(&squares, pixels),
            Some((3, squares)) => self.by_tiles::<4>(&squares, pixels),
            Some((_, squares)) => self.by_tiles::<5>(&squares, pixels),
            None => self.by_taps(pixels),
        }
        out
    }

    /// As sums over the taps.
    fn by_taps(&self, out: Shared<T>) {
        let weights: Vec<Vec<T>> = self.views.iter().map(|view| self.pack(view)).collect();
        let (rows, outputs) = self.share();
        let strips = |image| (0..self.grid.0).step_by(rows).map(move |first| (image, first));
        let groups = || (0..self.outputs).step_by(outputs).map(|first| first..(first + outputs).min(self.outputs));
        let tasks: Vec<_> =
            (0..self.batch).flat_map(strips).flat_map(|strip| groups().map(move |group| (strip, group))).collect();
        tasks.into_par_iter().for_each_init(Scratch::default, |scratch, ((image, first), group)| {
            let rows = rows.min(self.grid.0 - first);
            Task { of: self, weights: &weights, image, first, rows, group, out, scratch }.run()
        });
    }

    /// The weights of a view, one block of [`ROWS`] outputs after the other, each `(channels · taps, outputs)`.
    fn pack(&self, view: &View) -> Vec<T> {
        let (channels, taps) = (self.images.channels(), view.taps.len());
        let mut packed = buffer(self.outputs * channels * taps);
        if packed.is_empty() {
            return packed;
        }
        packed.par_chunks_mut(ROWS * channels * taps).enumerate().for_each(|(block, panel)| {
            let rows = panel.len() / (channels * taps);
            // Channel by channel: neighbouring outputs are neighbours in memory in the one layout of weights, and few streams
            // in the other.
            for (c, panel) in panel.chunks_exact_mut(taps * rows).enumerate() {
                for m in 0..rows {
                    let kernel = &self.weight[(block * ROWS + m) * self.strides.0 + c * self.strides.1..];
                    let out = panel.iter_mut().skip(m).step_by(rows);
                    out.zip(&view.taps).for_each(|(out, (_, index))| *out = kernel[*index]);
                }
            }
        });
        packed
    }

    /// Grid rows and outputs of a task: as many as the caches hold, but enough tasks for all threads. The sums are the same
    /// whatever they are.
    fn share(&self) -> (usize, usize) {
        let wanted = 4 * rayon::current_num_threads();
        let pitch = Strip::new(self.window, self.grid.1, 1).pitch;
        let mut rows = (POINTS / pitch).clamp(1, self.grid.0);
        let strips = |rows: usize| self.batch * self.grid.0.div_ceil(rows);
        while strips(rows) * self.outputs.div_ceil(2 * ROWS) < wanted && rows * pitch > POINTS / 4 && rows > 1 {
            rows = rows.div_ceil(2);
        }
        let fitting = RESULT / (self.views.len() * rows * pitch);
        let groups = wanted.div_ceil(strips(rows));
        let outputs = self.outputs.div_ceil(groups).next_multiple_of(ROWS);
        (rows, outputs.min(fitting / ROWS * ROWS).max(ROWS))
    }

    /// Channels that go through the kernel at a time.
    fn blocks(&self, strip: &Strip) -> Vec<Range<usize>> {
        let channels = self.images.channels();
        let taps = self.views.iter().map(|view| view.taps.len()).max().unwrap_or(1).max(1);
        let most = (SOURCE / strip.channel()).min(DEPTH / taps).max(1);
        split(channels, channels.div_ceil(most), 1)
    }
}

/// What a thread reuses from task to task.
#[derive(Default)]
struct Scratch<T> {
    source: Vec<T>,
    result: Vec<T>,
}

/// Some grid rows of one image, for some outputs.
struct Task<'a, 'b, T> {
    of: &'b Correlate<'a, T>,
    weights: &'b [Vec<T>],
    image: usize,
    first: usize,
    rows: usize,
    group: Range<usize>,
    out: Shared<'b, T>,
    scratch: &'b mut Scratch<T>,
}

impl<T: SimdReal> Task<'_, '_, T> {
    fn run(self) {
        let Self { of, weights, image, first, rows, ref group, out, scratch } = self;
        let strip = Strip::new(of.window, of.grid.1, rows);
        let points = strip.points(rows);
        let stride = points.next_multiple_of(WIDEST);
        let blocks = of.blocks(&strip);
        let source = grown(&mut scratch.source, strip.len(blocks[0].len()));
        let result = grown(&mut scratch.result, of.views.len() * group.len() * stride);
        for (i, block) in blocks.iter().enumerate() {
            vectorize(
                #[inline(always)]
                || strip.fill(&of.images, image, block.clone(), first, source),
            );
            for (v, view) in of.views.iter().enumerate() {
                let offsets: Vec<usize> = (0..block.len())
                    .flat_map(|c| view.taps.iter().map(move |((ty, tx), _)| c * strip.channel() + strip.tap(*ty, *tx)))
                    .collect();
                for m in group.clone().step_by(ROWS) {
                    let outputs = ROWS.min(of.outputs - m);
                    let depth = of.images.channels() * view.taps.len();
                    let panel = &weights[v][m * depth + block.start * view.taps.len() * outputs..];
                    let row = v * group.len() + m - group.start;
                    let product = Product {
                        weights: &panel[..offsets.len() * outputs],
                        step: outputs,
                        rows: outputs,
                        offsets: &offsets,
                        source: source.as_ptr(),
                        out: result[row * stride..].as_mut_ptr(),
                        stride,
                        points,
                        add: i > 0,
                    };
                    // SAFETY: a strip's buffer is readable for its points at every tap, the result has `stride` elements
                    // for each of the rows, and both are this thread's own.
                    unsafe { product.run() };
                }
            }
        }
        for m in group.clone() {
            let lines =
                Lines { data: &result[(m - group.start) * stride..], view: group.len() * stride, pitch: strip.pitch };
            // SAFETY: tasks differ in images, rows or outputs.
            unsafe { of.place((image, m), first..first + rows, lines, out) };
        }
    }
}

/// Finished rows of one output: view `v` has its row `y` at `v · view + y · pitch`.
pub(super) struct Lines<'a, T> {
    pub data: &'a [T],
    pub view: usize,
    pub pitch: usize,
}

impl<T: SimdReal> Correlate<'_, T> {
    /// Moves rows of an output (image, output) to their pixels, with bias and activation.
    ///
    /// # Safety
    /// Nothing else uses these rows of `out` meanwhile.
    pub unsafe fn place(&self, output: (usize, usize), rows: Range<usize>, lines: Lines<T>, out: Shared<T>) {
        vectorize(
            #[inline(always)]
            // SAFETY: the caller's promise.
            || unsafe { self.place_lines(output, rows, lines, out) },
        );
    }

    #[inline(always)]
    unsafe fn place_lines(&self, (image, m): (usize, usize), rows: Range<usize>, lines: Lines<T>, out: Shared<T>) {
        let (height, width) = self.size;
        let ramp = self.activation.ramp().of();
        let bias = self.bias.map_or(T::ZERO, |bias| bias[m]);
        let columns = self.views.iter().map(|view| view.origin.1 + 1).max().unwrap_or(1);
        for (v, view) in self.views.iter().enumerate().step_by(columns) {
            for row in rows.clone() {
                let y = row * self.step + view.origin.0;
                if y >= height {
                    continue;
                }
                let at = ((image * self.outputs + m) * height + y) * width;
                // SAFETY: the caller's promise.
                let line = unsafe { out.slice(at..at + width) };
                let source = |v: usize| &lines.data[v * lines.view + (row - rows.start) * lines.pitch..][..self.grid.1];
                join_line(columns, |x| source(v + x), bias, ramp, line);
            }
        }
    }
}
