//! How both directions of a convolution are stride-1 correlations of strips of their source.
//!
//! The adjoint of a convolution with stride `s` falls apart into `s²` of them, one for each position of an output pixel
//! modulo `s`, which read the same strip of source pixels.

use super::source::Window;
use crate::activation::LeakyRelu;
use colormamba_cpu::Real;

/// One correlation of the source: makes the outputs at `(y · step + origin.0, x · step + origin.1)`.
pub(super) struct View {
    pub origin: (usize, usize),
    /// Tap `(ty, tx)` of the window, and its weight's index in the kernel.
    pub taps: Vec<((usize, usize), usize)>,
}

/// All correlations of a source on a grid.
pub(super) struct Views {
    pub window: Window,
    /// Height and width of the grid.
    pub grid: (usize, usize),
    /// Row by row.
    pub list: Vec<View>,
    /// Outputs from one of a view to its next.
    pub step: usize,
}

impl Views {
    /// The forward direction, with `padding` rows and columns of zeros before the image, to results of height and width
    /// `size`.
    pub fn forward(
        (height, width): (usize, usize),
        stride: usize,
        padding: (usize, usize),
        size: (usize, usize),
    ) -> Self {
        let taps = (0..height).flat_map(|ty| (0..width).map(move |tx| ((ty, tx), ty * width + tx))).collect();
        let low = (-(padding.0 as isize), -(padding.1 as isize));
        Self {
            window: Window { step: stride, low, taps: (height, width) },
            grid: size,
            list: vec![View { origin: (0, 0), taps }],
            step: 1,
        }
    }

    /// The adjoint, to images of height and width `size`.
    pub fn adjoint(kernel: (usize, usize), stride: usize, padding: (usize, usize), size: (usize, usize)) -> Self {
        let phases = |kernel: usize, padding: usize, size: usize| -> Vec<Phase> {
            (0..stride.min(size)).map(|r| Phase::new(kernel, stride, padding, r)).collect()
        };
        let (rows, columns) = (phases(kernel.0, padding.0, size.0), phases(kernel.1, padding.1, size.1));
        let ((low_y, taps_y), (low_x, taps_x)) = (reach(&rows), reach(&columns));
        let view = |(ry, row): (usize, &Phase), (rx, column): (usize, &Phase)| {
            let rows = row.taps(low_y, stride);
            let columns = || column.taps(low_x, stride);
            let taps = rows.flat_map(|(ty, ky)| columns().map(move |(tx, kx)| ((ty, tx), ky * kernel.1 + kx)));
            View { origin: (ry, rx), taps: taps.collect() }
        };
        let list =
            rows.iter().enumerate().flat_map(|row| columns.iter().enumerate().map(move |column| view(row, column)));
        Self {
            window: Window { step: 1, low: (low_y, low_x), taps: (taps_y, taps_x) },
            grid: (size.0.div_ceil(stride), size.1.div_ceil(stride)),
            list: list.collect(),
            step: stride,
        }
    }
}

/// A line of pixels, with bias and activation, from the sums `source(x)` of those that are `x` modulo `columns`.
#[inline(always)]
pub(super) fn join_line<'a, T: Real>(
    columns: usize,
    source: impl Fn(usize) -> &'a [T],
    bias: T,
    ramp: LeakyRelu<T>,
    line: &mut [T],
) {
    match columns {
        1 => line.iter_mut().zip(source(0)).for_each(|(p, &s)| *p = ramp.at(s + bias)),
        2 => interleave(source(0), source(1), bias, ramp, line),
        _ => (0..columns).for_each(|x| {
            let pixels = line[x..].iter_mut().step_by(columns);
            pixels.zip(source(x)).for_each(|(p, &s)| *p = ramp.at(s + bias));
        }),
    }
}

/// One line of pixels from two lines of every second pixel.
#[inline(always)]
fn interleave<T: Real>(even: &[T], odd: &[T], bias: T, ramp: LeakyRelu<T>, out: &mut [T]) {
    let (pixels, rest) = out.as_chunks_mut::<2>();
    for ((pixel, &a), &b) in pixels.iter_mut().zip(even).zip(odd) {
        *pixel = [ramp.at(a + bias), ramp.at(b + bias)];
    }
    if let [last] = rest {
        *last = ramp.at(even[pixels.len()] + bias);
    }
}

/// One axis of the adjoint of a convolution for the output positions that are `remainder` modulo the stride.
struct Phase {
    /// The first kernel index that reaches such positions; the others follow a stride apart.
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

    /// The taps in a window that begins at `low`, and their kernel indices.
    fn taps(&self, low: isize, stride: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (start, first, taps) = ((self.offset - low) as usize, self.first, self.taps);
        (0..taps).map(move |t| (start + t, first + stride * (taps - 1 - t)))
    }
}

/// The first source position that any phase reads, beside the grid's own, and how many there are from it on.
fn reach(phases: &[Phase]) -> (isize, usize) {
    let used = || phases.iter().filter(|phase| phase.taps > 0);
    let low = used().map(|phase| phase.offset).min().unwrap_or(0);
    let high = used().map(|phase| phase.offset + phase.taps as isize).max().unwrap_or(1);
    (low, (high - low).max(1) as usize)
}
