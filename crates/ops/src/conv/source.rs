//! The pixels that a convolution reads: images with zeros around them, in strips that a kernel can walk through as if they
//! were one long line.

use crate::simd::WIDEST;
use colormamba_cpu::Real;
use std::ops::Range;

/// Images to read: contiguous `(batch, channels, height, width)`, the channels of several tensors one after the other.
pub(super) struct Images<'a, T> {
    /// The elements of each tensor, and its channels.
    pub parts: Vec<(&'a [T], usize)>,
    pub height: usize,
    pub width: usize,
}

impl<'a, T: Real> Images<'a, T> {
    pub fn channels(&self) -> usize {
        self.parts.iter().map(|(_, channels)| channels).sum()
    }

    /// One channel of one image.
    #[inline(always)]
    pub fn plane(&self, image: usize, mut channel: usize) -> &'a [T] {
        let area = self.height * self.width;
        for &(data, channels) in &self.parts {
            if channel < channels {
                return &data[(image * channels + channel) * area..][..area];
            }
            channel -= channels;
        }
        &[]
    }
}

/// How a window lies over the source: grid point `(y, x)` and tap `(ty, tx)` meet at the source pixel
/// `(y · step + low.0 + ty, x · step + low.1 + tx)`; zero outside the image.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub step: usize,
    pub low: (isize, isize),
    /// Taps are below this.
    pub taps: (usize, usize),
}

/// The layout of a strip: some rows of the grid, over all its columns. Each channel is cut into `step²` phases (the pixels
/// that are equal modulo the step), in which neighbours on the grid are neighbours in memory. A grid row takes `pitch`
/// elements, a few more than the grid is wide: kernels compute these too, and nobody looks at the result.
#[derive(Clone, Copy)]
pub(super) struct Strip {
    window: Window,
    /// Elements from one grid row to the next.
    pub pitch: usize,
    /// Rows of a phase.
    rows: usize,
}

impl Strip {
    /// For `rows` rows of a grid `width` wide.
    pub fn new(window: Window, width: usize, rows: usize) -> Self {
        let margin = |taps: usize| taps.saturating_sub(1) / window.step;
        Self { window, pitch: width + margin(window.taps.1), rows: rows + margin(window.taps.0) }
    }

    /// Elements of one channel.
    pub fn channel(&self) -> usize {
        self.window.step * self.window.step * self.rows * self.pitch
    }

    /// Points of `rows` grid rows, with what lies between them.
    pub fn points(&self, rows: usize) -> usize {
        rows * self.pitch
    }

    /// Elements that a buffer needs for `channels`: kernels read a little past the end.
    pub fn len(&self, channels: usize) -> usize {
        channels * self.channel() + self.pitch + self.window.taps.1 + WIDEST
    }

    /// Where in a channel the tap `(ty, tx)` of the strip's first grid point lies.
    pub fn tap(&self, ty: usize, tx: usize) -> usize {
        let step = self.window.step;
        let phase = (ty % step) * step + tx % step;
        (phase * self.rows + ty / step) * self.pitch + tx / step
    }

    /// Fills the strip of grid rows from `first` on.
    #[inline(always)]
    pub fn fill<T: Real>(&self, images: &Images<T>, image: usize, channels: Range<usize>, first: usize, out: &mut [T]) {
        for (channel, out) in channels.zip(out.chunks_exact_mut(self.channel())) {
            self.fill_channel(images.plane(image, channel), images.width, first, out);
        }
    }

    /// [`Strip::fill`] with one channel, a plane of rows of `width` pixels.
    #[inline(always)]
    pub fn fill_channel<T: Real>(&self, plane: &[T], width: usize, first: usize, out: &mut [T]) {
        let step = self.window.step;
        let mut rows = out.chunks_exact_mut(self.pitch);
        for (py, px) in (0..step * step).map(|phase| (phase / step, phase % step)) {
            for (row, out) in (0..self.rows).zip(&mut rows) {
                let y = ((first + row) * step + py) as isize + self.window.low.0;
                let line = usize::try_from(y).ok().and_then(|y| plane.get(y * width..(y + 1) * width));
                match line {
                    Some(line) => read_line(line, self.window.low.1 + px as isize, step, out),
                    None => out.fill(T::ZERO),
                }
            }
        }
    }
}

/// Copies a rectangle of all `channels` from pixel `(top, left)` on, zero outside the image, to `out`, `(rows, columns, stride)`.
#[inline(always)]
pub(super) fn fill_channels_last<T: Real>(
    images: &Images<T>,
    image: usize,
    channels: Range<usize>,
    (top, left): (isize, isize),
    (rows, columns): (usize, usize),
    stride: usize,
    out: &mut [T],
) {
    // So many planes are read at a time: more would meet in the same places of the first-level cache.
    const PLANES: usize = 8;
    let inside = |start: isize, end: usize, size: usize| -> Range<usize> {
        let low = (-start).clamp(0, end as isize);
        low as usize..(size as isize - start).clamp(low, end as isize) as usize
    };
    let (ys, xs) = (inside(top, rows, images.height), inside(left, columns, images.width));
    for (y, out) in out.chunks_exact_mut(columns * stride).take(rows).enumerate() {
        if xs.is_empty() || !ys.contains(&y) {
            out.fill(T::ZERO);
            continue;
        }
        out[..xs.start * stride].fill(T::ZERO);
        out[xs.end * stride..].fill(T::ZERO);
        let out = &mut out[xs.start * stride..xs.end * stride];
        let at = (top + y as isize) as usize * images.width + (left + xs.start as isize) as usize;
        let mut c = channels.start;
        while c + PLANES <= channels.end {
            let lines: [&[T]; PLANES] = std::array::from_fn(|i| &images.plane(image, c + i)[at..][..xs.len()]);
            for (x, pixel) in out.chunks_exact_mut(stride).enumerate() {
                let pixel = &mut pixel[c - channels.start..][..PLANES];
                for i in 0..PLANES {
                    pixel[i] = lines[i][x];
                }
            }
            c += PLANES;
        }
        for c in c..channels.end {
            let line = &images.plane(image, c)[at..][..xs.len()];
            for (pixel, &value) in out.chunks_exact_mut(stride).zip(line) {
                pixel[c - channels.start] = value;
            }
        }
    }
}

/// `dst[j] = line[x + j · step]`, zero outside the line.
#[inline(always)]
pub(super) fn read_line<T: Real>(line: &[T], x: isize, step: usize, dst: &mut [T]) {
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
