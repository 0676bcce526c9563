//! Convolutions by Winograd's tiles, for the shapes where these are faster than sums over taps; the formula is that of
//! [`super::tile`], and the sum over channels is taken between its brackets: at each of the N² frequencies a product of
//! matrices (outputs × channels) · (channels × tiles). A convolution of stride 2, or a transposed one, is one of stride 1 of
//! the 4 phases of its source, or of its results.

use super::correlate::{Correlate, Lines};
use super::kernel::{Product, ROWS};
use super::source::Strip;
use super::tile::{Inverse, Tiles, Transform, apart, kernel_frequencies};
use super::views::View;
use crate::gemm::split;
use crate::memory::buffer;
use crate::simd::{SimdReal, WIDEST, grown};
use colormamba_cpu::{Shared, vectorize};
use rayon::prelude::*;
use std::ops::Range;

/// Tiles of a strip, if a row of tiles is not more.
const TILES: usize = 64;
/// Elements of a strip's frequencies, and of the products: together they stay in a core's second-level cache, unless an
/// image is very wide.
const SOURCE: usize = 1 << 16;
const PRODUCTS: usize = 1 << 17;
/// Grid points from which on the transform of the kernel does not count.
const AREA: usize = 1024;

/// Whether rows of tiles on a grid of that width fill registers, and all its points are enough.
fn fits(points: usize, width: usize) -> bool {
    let tiles = width.div_ceil(2);
    points >= AREA && 4 * tiles >= 3 * tiles.next_multiple_of(WIDEST) && tiles <= 8 * TILES
}

/// A view whose taps fill a square of each phase of the source.
pub(super) struct Square {
    /// The first tap, in grid points.
    base: (usize, usize),
    /// The weight's index of `(phase, y, x)`.
    index: Vec<usize>,
}

impl Square {
    fn of(view: &View, step: usize, side: usize) -> Option<Self> {
        let least = |axis: fn(&(usize, usize)) -> usize| view.taps.iter().map(|(tap, _)| axis(tap) / step).min();
        let base = (least(|tap| tap.0)?, least(|tap| tap.1)?);
        let mut index = vec![None; step * step * side * side];
        for &((ty, tx), weight) in &view.taps {
            let (y, x) = (ty / step - base.0, tx / step - base.1);
            if y >= side || x >= side {
                return None;
            }
            let phase = ty % step * step + tx % step;
            index[(phase * side + y) * side + x] = Some(weight);
        }
        Some(Self { base, index: index.into_iter().collect::<Option<_>>()? })
    }
}

impl<T: SimdReal> Correlate<'_, T> {
    /// The side of the squares that every view's taps fill, and these, if tiles are faster.
    pub(super) fn squares(&self) -> Option<(usize, Vec<Square>)> {
        let step = self.window.step;
        if step > 2 || !fits(self.batch * self.grid.0 * self.grid.1, self.grid.1) {
            return None;
        }
        let side = [2, 3, 4].into_iter().find(|side| self.views[0].taps.len() == (side * step) * (side * step))?;
        // Channels in and out from which on the transforms cost less than the multiplications they save, as measured.
        let outputs = if side == 2 { 32 } else { 16 };
        if self.images.channels() < 16 || self.outputs < outputs {
            return None;
        }
        let squares = self.views.iter().map(|view| Square::of(view, step, side)).collect::<Option<_>>()?;
        Some((side, squares))
    }

    /// By tiles; `N` is the squares' side and 1.
    pub(super) fn by_tiles<const N: usize>(&self, squares: &[Square], out: Shared<T>) {
        let weights: Vec<Vec<T>> = squares.iter().map(|square| self.frequencies::<N>(square)).collect();
        let (tiles, outputs) = self.tile_share::<N>();
        let strips = |image| (0..self.grid.0.div_ceil(2)).step_by(tiles.rows).map(move |first| (image, first));
        let groups = || (0..self.outputs).step_by(outputs).map(|first| first..(first + outputs).min(self.outputs));
        let tasks: Vec<_> =
            (0..self.batch).flat_map(strips).flat_map(|strip| groups().map(move |group| (strip, group))).collect();
        tasks.into_par_iter().for_each_init(Scratch::default, |scratch, ((image, first), group)| {
            let rows = tiles.rows.min(self.grid.0.div_ceil(2) - first);
            let tiles = Tiles { rows, ..tiles };
            Task::<T, N> { of: self, squares, weights: &weights, image, first, tiles, group, out, scratch }.run();
        });
    }

    /// The tiles of a strip and the outputs of a task; as [`Correlate::share`].
    fn tile_share<const N: usize>(&self) -> (Tiles, usize) {
        let wanted = 4 * rayon::current_num_threads();
        let columns = self.grid.1.div_ceil(2).next_multiple_of(WIDEST);
        let tiles = Tiles { rows: (TILES / columns).clamp(1, self.grid.0.div_ceil(2)), columns };
        let strips = self.batch * self.grid.0.div_ceil(2 * tiles.rows);
        let fitting = PRODUCTS / (self.views.len() * N * N * tiles.count());
        let outputs = self.outputs.div_ceil(wanted.div_ceil(strips)).next_multiple_of(ROWS);
        (tiles, outputs.max(4 * ROWS).min(fitting / ROWS * ROWS).max(ROWS))
    }

    /// The phases of the source.
    fn phases(&self) -> usize {
        self.window.step * self.window.step
    }

    /// The kernels' frequencies, one block of [`ROWS`] outputs after the other, each `(frequencies, channels · phases,
    /// outputs)`.
    fn frequencies<const N: usize>(&self, square: &Square) -> Vec<T> {
        let planes = self.images.channels() * self.phases();
        let mut all = buffer(self.outputs * planes * N * N);
        all.par_chunks_mut(ROWS * planes * N * N).enumerate().for_each(|(block, panel)| {
            vectorize(
                #[inline(always)]
                || self.block_frequencies::<N>(square, block * ROWS, panel),
            );
        });
        all
    }

    /// Those of a block that begins at output `first`.
    #[inline(always)]
    fn block_frequencies<const N: usize>(&self, square: &Square, first: usize, panel: &mut [T]) {
        let (channels, phases, side) = (self.images.channels(), self.phases(), N - 1);
        let planes = channels * phases;
        let rows = panel.len() / (planes * N * N);
        for plane in 0..planes {
            let (c, phase) = (plane / phases, plane % phases);
            let index = &square.index[phase * side * side..][..side * side];
            let mut taps = [[T::ZERO; ROWS]; 16];
            for m in 0..rows {
                let kernel = &self.weight[(first + m) * self.strides.0 + c * self.strides.1..];
                for (tap, &i) in taps.iter_mut().zip(index) {
                    tap[m] = kernel[i];
                }
            }
            let frequencies = kernel_frequencies::<T, N, ROWS>(|y, x| taps[y * side + x]);
            for (f, values) in frequencies.as_flattened().iter().enumerate() {
                panel[(f * planes + plane) * rows..][..rows].copy_from_slice(&values[..rows]);
            }
        }
    }
}

/// What a thread reuses from task to task.
#[derive(Default)]
struct Scratch<T> {
    source: Vec<T>,
    frequencies: Vec<T>,
    products: Vec<T>,
    lines: Vec<T>,
}

/// Some rows of tiles of one image, for some outputs.
struct Task<'a, 'b, T, const N: usize> {
    of: &'b Correlate<'a, T>,
    squares: &'b [Square],
    weights: &'b [Vec<T>],
    image: usize,
    /// The first row of tiles.
    first: usize,
    tiles: Tiles,
    group: Range<usize>,
    out: Shared<'b, T>,
    scratch: &'b mut Scratch<T>,
}

impl<T: SimdReal, const N: usize> Task<'_, '_, T, N> {
    fn run(self) {
        let Self { of, squares, weights, image, first, tiles, ref group, out, scratch } = self;
        let Scratch { source, frequencies, products, lines } = scratch;
        let strip = Strip::new(of.window, 2 * tiles.columns, 2 * tiles.rows);
        let (channels, phases, count) = (of.images.channels(), of.phases(), tiles.count());
        let fitting = SOURCE / (N * N * phases * count);
        let blocks = split(channels, channels.div_ceil(fitting.max(1)), 1);
        let source = grown(source, strip.len(blocks[0].len()));
        let (frequency, product) = (apart(phases * blocks[0].len() * count), apart(group.len() * count));
        let frequencies = grown(frequencies, N * N * frequency);
        let products = grown(products, squares.len() * N * N * product);
        for (i, block) in blocks.iter().enumerate() {
            vectorize(
                #[inline(always)]
                || strip.fill(&of.images, image, block.clone(), 2 * first, source),
            );
            let offsets: Vec<usize> = (0..block.len() * phases).map(|plane| plane * count).collect();
            for (v, square) in squares.iter().enumerate() {
                let step = of.window.step;
                let tap =
                    |phase: usize| strip.tap(square.base.0 * step + phase / step, square.base.1 * step + phase % step);
                let planes: Vec<usize> = (0..block.len())
                    .flat_map(|c| (0..phases).map(move |phase| c * strip.channel() + tap(phase)))
                    .collect();
                let pitch = strip.pitch;
                Transform::<T, N> { source, planes: &planes, pitch, tiles, out: frequencies, stride: frequency }.run();
                for f in 0..N * N {
                    for m in group.clone().step_by(ROWS) {
                        let rows = ROWS.min(of.outputs - m);
                        let panel = &weights[v][m * channels * phases * N * N..];
                        let panel = &panel[(f * channels + block.start) * phases * rows..];
                        let at = (v * N * N + f) * product + (m - group.start) * count;
                        let product = Product {
                            weights: &panel[..planes.len() * rows],
                            step: rows,
                            rows,
                            offsets: &offsets,
                            source: frequencies[f * frequency..].as_ptr(),
                            out: products[at..].as_mut_ptr(),
                            stride: count,
                            points: count,
                            add: i > 0,
                        };
                        // SAFETY: tiles are whole registers, of every plane and of every row of the products, which are this
                        // thread's own.
                        unsafe { product.run() };
                    }
                }
            }
        }
        let lines = grown(lines, 4 * squares.len() * count);
        let rows = 2 * first..(2 * (first + tiles.rows)).min(of.grid.0);
        for m in group.clone() {
            for (v, out) in lines.chunks_exact_mut(4 * count).enumerate() {
                let products = &products[v * N * N * product + (m - group.start) * count..];
                Inverse::<T, N> { products, stride: product, tiles, out }.run();
            }
            let lines = Lines { data: lines, view: 4 * count, pitch: 2 * tiles.columns };
            // SAFETY: tasks differ in images, rows or outputs.
            unsafe { of.place((image, m), rows.clone(), lines, out) };
        }
    }
}
