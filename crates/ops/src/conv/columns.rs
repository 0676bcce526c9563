//! Tiles of the column matrix ("im2col"): one row per weight, one column per output pixel.

use crate::cpu::{Real, vectorize};
use crate::gemm::Matrix;
use std::ops::Range;

/// Images to read, contiguous `(batch, channels, height, width)`.
#[derive(Clone, Copy)]
pub(super) struct Source<'a, T> {
    pub data: &'a [T],
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

/// Which source pixels a grid point reads: `(y · step + offset.0 + ty, x · step + offset.1 + tx)` for every tap
/// `(ty, tx)`; zero outside the image.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub step: usize,
    pub offset: (isize, isize),
    pub taps: (usize, usize),
}

impl Window {
    pub fn area(&self) -> usize {
        self.taps.0 * self.taps.1
    }
}

/// The points that windows are placed at, numbered row by row through all images.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub batch: usize,
    pub height: usize,
    pub width: usize,
}

/// Consecutive points of a tile in one row of one image.
pub(super) struct Run {
    pub image: usize,
    pub y: usize,
    pub x: usize,
    pub len: usize,
    /// Column of the tile that the run starts at.
    pub at: usize,
}

impl Grid {
    /// Points of one image.
    pub fn area(&self) -> usize {
        self.height * self.width
    }

    /// All points cut into tiles of about `size`: whole images if several fit, else whole rows if one fits. A tile of
    /// more than one image consists of whole images.
    pub fn tiles(&self, size: usize) -> Vec<Range<usize>> {
        let area = self.area();
        if area == 0 {
            return Vec::new();
        }
        if area <= size {
            let step = size / area * area;
            let total = self.batch * area;
            return (0..total).step_by(step).map(|start| start..(start + step).min(total)).collect();
        }
        let step = if self.width <= size { size / self.width * self.width } else { size };
        let of_image = |b: usize| {
            let (start, end) = (b * area, (b + 1) * area);
            (start..end).step_by(step).map(move |p| p..(p + step).min(end))
        };
        (0..self.batch).flat_map(of_image).collect()
    }

    /// Looks closer at one of [`Self::tiles`].
    pub fn tile(&self, range: &Range<usize>) -> Tile {
        let area = self.area();
        let image = range.start / area;
        let mut runs = Vec::new();
        let mut point = range.start;
        while point < range.end {
            let (row, x) = (point / self.width, point % self.width);
            let len = (self.width - x).min(range.end - point);
            runs.push(Run { image: row / self.height, y: row % self.height, x, len, at: point - range.start });
            point += len;
        }
        let one_image = range.end <= (image + 1) * area;
        Tile { points: range.len(), image: one_image.then_some((image, range.start % area)), runs }
    }
}

/// Some consecutive points of a grid.
pub(super) struct Tile {
    pub points: usize,
    /// The image that holds all points, if one does, and the first point in it.
    pub image: Option<(usize, usize)>,
    pub runs: Vec<Run>,
}

/// The column matrix of a correlation, made tile by tile.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a, T> {
    pub source: Source<'a, T>,
    pub window: Window,
    pub grid: Grid,
}

impl<'a, T: Real> Columns<'a, T> {
    /// Rows of the matrix.
    pub fn depth(&self) -> usize {
        self.source.channels * self.window.area()
    }

    /// The matrix is the source itself.
    fn is_source(&self) -> bool {
        let same_size = (self.source.height, self.source.width) == (self.grid.height, self.grid.width);
        self.window.step == 1 && self.window.taps == (1, 1) && self.window.offset == (0, 0) && same_size
    }

    /// The rows of `channels` and the columns of `tile`: row `(c · taps.0 + ty) · taps.1 + tx` holds what tap `(ty, tx)`
    /// reads of channel `c`.
    pub fn tile<'b>(&self, tile: &Tile, channels: Range<usize>, buffer: &'b mut Vec<T>) -> Matrix<'b, T>
    where
        'a: 'b,
    {
        match tile.image {
            Some((image, point)) if self.is_source() => {
                let area = self.grid.area();
                let first = (image * self.source.channels + channels.start) * area + point;
                Matrix { data: &self.source.data[first..], strides: (area, 1) }
            }
            _ => {
                let out = grown(buffer, channels.len() * self.window.area() * tile.points);
                vectorize(
                    #[inline(always)]
                    || self.fill(tile, channels, out),
                );
                Matrix { data: out, strides: (tile.points, 1) }
            }
        }
    }

    #[inline(always)]
    fn fill(&self, tile: &Tile, channels: Range<usize>, out: &mut [T]) {
        let mut rows = out.chunks_exact_mut(tile.points);
        for c in channels {
            for ty in 0..self.window.taps.0 {
                for (tx, row) in (0..self.window.taps.1).zip(&mut rows) {
                    for run in &tile.runs {
                        self.fill_run(c, (ty, tx), run, &mut row[run.at..run.at + run.len]);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn fill_run(&self, channel: usize, tap: (usize, usize), run: &Run, dst: &mut [T]) {
        let Source { data, channels, height, width } = self.source;
        let y = (run.y * self.window.step + tap.0) as isize + self.window.offset.0;
        let x = (run.x * self.window.step + tap.1) as isize + self.window.offset.1;
        if y < 0 || y >= height as isize {
            dst.fill(T::ZERO);
        } else {
            let line = (run.image * channels + channel) * height + y as usize;
            read_line(&data[line * width..][..width], x, self.window.step, dst);
        }
    }
}

/// `buffer` with at least `len` elements.
pub(super) fn grown<T: Real>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        *buffer = vec![T::ZERO; len];
    }
    &mut buffer[..len]
}

/// `dst[j] = line[x + j · step]`, zero outside the line.
#[inline(always)]
fn read_line<T: Real>(line: &[T], x: isize, step: usize, dst: &mut [T]) {
    // The first j with x + j · step ≥ bound.
    let reach = |bound: isize| ((bound - x).max(0) as usize).div_ceil(step).min(dst.len());
    let (low, high) = (reach(0), reach(line.len() as isize));
    dst[..low].fill(T::ZERO);
    dst[high..].fill(T::ZERO);
    if low == high {
        return;
    }
    let inside = &line[(x + (low * step) as isize) as usize..];
    let dst = &mut dst[low..high];
    match step {
        1 => dst.copy_from_slice(&inside[..dst.len()]),
        2 => every_second(inside, dst),
        _ => dst.iter_mut().zip(inside.iter().step_by(step)).for_each(|(d, s)| *d = *s),
    }
}

/// The step as a constant, so that the loop becomes shuffles of whole vectors.
#[inline(always)]
fn every_second<T: Real>(line: &[T], dst: &mut [T]) {
    let line = &line[..2 * dst.len() - 1];
    for (j, d) in dst.iter_mut().enumerate() {
        *d = line[2 * j];
    }
}
