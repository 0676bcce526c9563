//! The two directions of a convolution that make images: gathering (forward) and its adjoint (transposed).
//!
//! The adjoint of a convolution with stride `s` falls apart into `s²` stride-1 correlations, one for each position of an
//! output pixel modulo `s`, which share the taps among them. So both directions are one kernel, every output is written
//! once, and there is no scattering to race.

use super::columns::{Columns, Grid, Source, Tile, Window, grown};
use crate::cpu::Real;
use crate::gemm::{Matrix, Shared, split};
use rayon::prelude::*;
use std::ops::Range;

/// Elements of a column tile: 1 MiB of f32 stays in a core's second-level cache.
const TILE_ELEMENTS: usize = 1 << 17;
/// Most columns of a tile.
const TILE_POINTS: usize = 1024;
/// Most rows of a column tile; gemm blocks its depth at about this size anyway.
const TILE_ROWS: usize = 768;

/// Where the result goes: grid point `(y, x)` to pixel `(y · step + origin.0, x · step + origin.1)` of `(height, width)`.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub height: usize,
    pub width: usize,
    pub step: usize,
    pub origin: (usize, usize),
}

/// `out[m] = bias[m] + Σ_k weight[m, k] · columns[k]`.
pub(super) struct Correlation<'a, T> {
    pub columns: Columns<'a, T>,
    /// `(outputs, channels · taps)`.
    pub weight: &'a [T],
    pub outputs: usize,
    pub bias: Option<&'a [T]>,
    pub place: Place,
}

/// The columns of a tile with `rows` rows.
pub(super) fn tile_points(rows: usize) -> usize {
    (TILE_ELEMENTS / rows.max(1)).clamp(64, TILE_POINTS)
}

/// What a task reuses from tile to tile.
#[derive(Default)]
struct Scratch<T> {
    columns: Vec<T>,
    result: Vec<T>,
}

impl<T: Real> Correlation<'_, T> {
    /// Computes all outputs in parallel.
    ///
    /// # Safety
    /// `out` is `(batch, outputs, place.height, place.width)` and nothing else uses the pixels of `place` meanwhile.
    pub unsafe fn run(&self, out: Shared<T>) {
        let tiles = self.columns.grid.tiles(tile_points(self.blocks()[0].len() * self.columns.window.area()));
        // With few tiles the outputs are shared out too, at the price of making columns more than once.
        let groups = split(self.outputs, (2 * rayon::current_num_threads()).div_ceil(tiles.len().max(1)), 32);
        let tasks: Vec<_> = tiles.iter().flat_map(|t| groups.iter().map(move |g| (t, g))).collect();
        tasks.into_par_iter().for_each_init(Scratch::default, |scratch, (tile, group)| {
            // SAFETY: tasks differ in points or in outputs.
            unsafe { self.compute(out, &self.columns.grid.tile(tile), group, scratch) }
        });
    }

    /// Channels that go into one column tile.
    fn blocks(&self) -> Vec<Range<usize>> {
        split(self.columns.source.channels, self.columns.depth().div_ceil(TILE_ROWS), 1)
    }

    /// The points of a grid are the pixels of the output.
    fn is_dense(&self) -> bool {
        self.place.step == 1
            && (self.place.height, self.place.width) == (self.columns.grid.height, self.columns.grid.width)
    }

    /// # Safety
    /// As [`Self::run`], for the points of `tile` and the outputs of `group`.
    unsafe fn compute(&self, out: Shared<T>, tile: &Tile, group: &Range<usize>, scratch: &mut Scratch<T>) {
        let Scratch { columns, result } = scratch;
        match tile.image {
            Some((image, point)) if self.is_dense() => {
                let area = self.columns.grid.area();
                let at = (image * self.outputs + group.start) * area + point;
                // SAFETY: the caller's promise.
                unsafe { self.product(out, at, area, tile, group, columns) };
            }
            _ => {
                let result = grown(result, group.len() * tile.points);
                // SAFETY: `result` is this task's own; the pixels by the caller's promise.
                unsafe {
                    self.product(Shared::new(result), 0, tile.points, tile, group, columns);
                    self.put(out, result, tile, group);
                }
            }
        }
    }

    /// Bias plus product for one tile, into the matrix of `dst` that starts at `at` with rows `stride` apart.
    ///
    /// # Safety
    /// Nothing else uses that matrix meanwhile.
    unsafe fn product(
        &self,
        dst: Shared<T>,
        at: usize,
        stride: usize,
        tile: &Tile,
        group: &Range<usize>,
        buffer: &mut Vec<T>,
    ) {
        let (depth, taps) = (self.columns.depth(), self.columns.window.area());
        for (row, m) in group.clone().enumerate() {
            let start = at + row * stride;
            // SAFETY: the caller's promise.
            unsafe { dst.slice(start..start + tile.points) }.fill(self.bias.map_or(T::ZERO, |b| b[m]));
        }
        for block in self.blocks() {
            let shape = (group.len(), block.len() * taps, tile.points);
            let weight = Matrix { data: &self.weight[group.start * depth + block.start * taps..], strides: (depth, 1) };
            let columns = self.columns.tile(tile, block, buffer);
            // SAFETY: the caller's promise.
            unsafe { dst.multiply(at, (stride, 1), shape, weight, columns, true) };
        }
    }

    /// Moves a finished tile to its pixels.
    ///
    /// # Safety
    /// Nothing else uses those pixels meanwhile, nor the ones between them in a line.
    unsafe fn put(&self, out: Shared<T>, result: &[T], tile: &Tile, group: &Range<usize>) {
        let Place { height, width, step, origin } = self.place;
        for (row, m) in result.chunks_exact(tile.points).zip(group.clone()) {
            for run in &tile.runs {
                let line = ((run.image * self.outputs + m) * height + run.y * step + origin.0) * width;
                let first = line + run.x * step + origin.1;
                // SAFETY: the caller's promise.
                let pixels = unsafe { out.slice(first..first + (run.len - 1) * step + 1) };
                let values = &row[run.at..run.at + run.len];
                pixels.iter_mut().step_by(step).zip(values).for_each(|(p, v)| *p = *v);
            }
        }
    }
}

/// One axis of the adjoint of a convolution (kernel `kernel`, stride `stride`, padding `padding`) for the output
/// positions that are `remainder` modulo `stride`.
struct Phase {
    /// The first kernel index that reaches such positions; the others follow `stride` apart.
    first: usize,
    taps: usize,
    offset: isize,
}

impl Phase {
    fn new(kernel: usize, stride: usize, padding: usize, remainder: usize) -> Self {
        // Position s·q + r is reached from input position q + d − j through kernel index first + s·j.
        let first = (remainder + padding) % stride;
        let taps = kernel.saturating_sub(first).div_ceil(stride);
        let d = ((remainder + padding) / stride) as isize;
        Self { first, taps, offset: d - (taps as isize - 1) }
    }

    /// The kernel index at tap `t`, in reverse order.
    fn index(&self, t: usize, stride: usize) -> usize {
        self.first + stride * (self.taps - 1 - t)
    }
}

/// The adjoint of a convolution: `source` are its outputs, `weight (source.channels, outputs, kh, kw)`, and the result
/// `(batch, outputs, size)` has the size of its inputs.
pub(super) struct Adjoint<'a, T> {
    pub source: Source<'a, T>,
    pub batch: usize,
    pub weight: &'a [T],
    pub outputs: usize,
    pub kernel: (usize, usize),
    pub bias: Option<&'a [T]>,
    pub stride: usize,
    pub padding: usize,
    pub size: (usize, usize),
}

impl<T: Real> Adjoint<'_, T> {
    /// Computes all outputs in parallel.
    pub fn run(&self, out: &mut [T]) {
        let out = Shared::new(out);
        for ry in 0..self.stride.min(self.size.0) {
            for rx in 0..self.stride.min(self.size.1) {
                self.phase(out, (ry, rx));
            }
        }
    }

    fn phase(&self, out: Shared<T>, origin: (usize, usize)) {
        let py = Phase::new(self.kernel.0, self.stride, self.padding, origin.0);
        let px = Phase::new(self.kernel.1, self.stride, self.padding, origin.1);
        let weight = self.phase_weight(&py, &px);
        let window = Window { step: 1, offset: (py.offset, px.offset), taps: (py.taps, px.taps) };
        let grid = Grid {
            batch: self.batch,
            height: (self.size.0 - origin.0).div_ceil(self.stride),
            width: (self.size.1 - origin.1).div_ceil(self.stride),
        };
        let correlation = Correlation {
            columns: Columns { source: self.source, window, grid },
            weight: &weight,
            outputs: self.outputs,
            bias: self.bias,
            place: Place { height: self.size.0, width: self.size.1, step: self.stride, origin },
        };
        // SAFETY: `out` belongs to this call, and phases run one after the other.
        unsafe { correlation.run(out) };
    }

    /// The weights of one phase, `(outputs, source.channels · taps)`.
    fn phase_weight(&self, py: &Phase, px: &Phase) -> Vec<T> {
        let area = self.kernel.0 * self.kernel.1;
        let taps = py.taps * px.taps;
        let depth = self.source.channels * taps;
        let mut weight = vec![T::ZERO; self.outputs * depth];
        if depth == 0 {
            return weight;
        }
        let indices: Vec<usize> = (0..taps)
            .map(|t| py.index(t / px.taps, self.stride) * self.kernel.1 + px.index(t % px.taps, self.stride))
            .collect();
        weight.par_chunks_mut(depth).enumerate().for_each(|(m, row)| {
            for (c, taps) in row.chunks_exact_mut(taps).enumerate() {
                let kernel = &self.weight[(c * self.outputs + m) * area..][..area];
                taps.iter_mut().zip(&indices).for_each(|(t, &i)| *t = kernel[i]);
            }
        });
        weight
    }
}
