//! Gaussian windows: weighted means of images around every pixel, and the way back.
//!
//! Rows are the outer loop, and all that is averaged at a pixel is averaged at once. A row is mixed from the rows below
//! it first, then from its own columns; in between it stays in the first-level cache.

use colormamba_cpu::Real;

/// The weights of a Gaussian of standard deviation `sigma` at `size` pixels around its middle; their sum is 1.
pub(crate) fn gaussian<T: Real>(size: usize, sigma: f64) -> Vec<T> {
    let middle = (size / 2) as f64;
    let taps: Vec<f64> = (0..size).map(|i| (-((i as f64 - middle) / sigma).powi(2) / 2.0).exp()).collect();
    let sum: f64 = taps.iter().sum();
    taps.iter().map(|tap| T::of(tap / sum)).collect()
}

/// Work on `L` columns from `start` on, whatever L; doing it twice must do no harm.
trait Columns {
    fn run<const L: usize>(&mut self, start: usize);
}

/// Covers `n` columns by blocks of the same width, the last of which may overlap the one before it: no block is cut short,
/// so that its sums stay in registers.
#[inline(always)]
fn sweep(n: usize, columns: &mut impl Columns) {
    // Two of the widest registers in f32: enough sums side by side to hide how long one takes.
    if n >= 32 {
        blocks::<32>(n, columns);
    } else if n >= 8 {
        blocks::<8>(n, columns);
    } else {
        blocks::<1>(n, columns);
    }
}

#[inline(always)]
fn blocks<const L: usize>(n: usize, columns: &mut impl Columns) {
    for block in 0..n / L {
        columns.run::<L>(block * L);
    }
    if !n.is_multiple_of(L) {
        columns.run::<L>(n - L);
    }
}

/// Rows of two images, one for each tap.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a, T> {
    pub(crate) first: &'a [T],
    pub(crate) second: &'a [T],
    /// The length of a row.
    pub(crate) width: usize,
}

/// The means of the `K` numbers `moments` of both images, over a row of windows: `K` rows `out`, each shorter than the images'
/// by one less than the taps. `mixed`: K rows as long as the images', to work in.
#[inline(always)]
pub(crate) fn window_means<T: Real, const K: usize>(
    source: Source<'_, T>,
    moments: impl Fn(T, T) -> [T; K],
    taps: &[T],
    mixed: &mut [T],
    out: &mut [T],
) {
    let width = source.width;
    sweep(width, &mut Rows::<T, _, K> { source, moments, taps, mixed });
    let narrow = width + 1 - taps.len();
    for (mixed, out) in mixed.chunks_exact(width).zip(out.chunks_exact_mut(narrow)) {
        sweep(narrow, &mut Along { taps, row: mixed, out });
    }
}

struct Rows<'a, T, F, const K: usize> {
    source: Source<'a, T>,
    moments: F,
    taps: &'a [T],
    mixed: &'a mut [T],
}

impl<T: Real, F: Fn(T, T) -> [T; K], const K: usize> Columns for Rows<'_, T, F, K> {
    #[inline(always)]
    fn run<const L: usize>(&mut self, start: usize) {
        let Source { first, second, width } = self.source;
        let mut sums = [[T::ZERO; L]; K];
        for (row, &tap) in self.taps.iter().enumerate() {
            let at = row * width + start;
            let (first, second) = (&first[at..][..L], &second[at..][..L]);
            for lane in 0..L {
                let moments = (self.moments)(first[lane], second[lane]);
                for k in 0..K {
                    sums[k][lane] = moments[k].mul_add(tap, sums[k][lane]);
                }
            }
        }
        for (mixed, sums) in self.mixed.chunks_exact_mut(width).zip(&sums) {
            mixed[start..][..L].copy_from_slice(sums);
        }
    }
}

struct Along<'a, T> {
    taps: &'a [T],
    row: &'a [T],
    out: &'a mut [T],
}

impl<T: Real> Columns for Along<'_, T> {
    #[inline(always)]
    fn run<const L: usize>(&mut self, start: usize) {
        self.out[start..][..L].copy_from_slice(&along::<T, L>(self.taps, &self.row[start..]));
    }
}

#[inline(always)]
fn along<T: Real, const L: usize>(taps: &[T], row: &[T]) -> [T; L] {
    let mut sums = [T::ZERO; L];
    for (shift, &tap) in taps.iter().enumerate() {
        let row = &row[shift..][..L];
        for lane in 0..L {
            sums[lane] = row[lane].mul_add(tap, sums[lane]);
        }
    }
    sums
}

/// A row that gradients by window means go back to.
pub(crate) struct Sink<'a, T> {
    /// A row of the first image.
    pub(crate) first: &'a [T],
    /// The same row of the second.
    pub(crate) second: &'a [T],
    /// What the gradient by the means is multiplied by.
    pub(crate) weight: T,
    /// What is added to it.
    pub(crate) rest: &'a [T],
    /// The gradient of the row of the first.
    pub(crate) gradient: &'a mut [T],
}

/// The length of the rows that [`spread`] works in.
pub(crate) fn spread_width(width: usize, taps: usize) -> usize {
    width + taps - 1
}

/// The gradient of row `row` of the first image, given those by the window means of d, d² and d·t, with d the first
/// image less the second, t.
///
/// `slopes`: for every row of windows the rows of the three, one after the other. `mixed`: three rows of [`spread_width`] to
/// work in, 0 at first. `taps` are symmetric.
#[inline(always)]
pub(crate) fn spread<T: Real>(slopes: &[T], row: usize, taps: &[T], mixed: &mut [T], sink: Sink<'_, T>) {
    let margin = taps.len() - 1;
    let width = sink.gradient.len();
    let narrow = width - margin;
    // The windows that hold this row.
    let windows = row.saturating_sub(margin)..(row + 1).min(slopes.len() / (3 * narrow));
    let weights = &taps[row + 1 - windows.end..row + 1 - windows.start];
    let slopes = &slopes[3 * narrow * windows.start..3 * narrow * windows.end];
    sweep(narrow, &mut Gather { slopes, weights, narrow, margin, mixed });
    sweep(width, &mut Combine { taps, mixed, sink });
}

struct Gather<'a, T> {
    slopes: &'a [T],
    /// The weight of each window, the last first.
    weights: &'a [T],
    narrow: usize,
    margin: usize,
    mixed: &'a mut [T],
}

impl<T: Real> Columns for Gather<'_, T> {
    #[inline(always)]
    fn run<const L: usize>(&mut self, start: usize) {
        // One after the other: the compiler keeps three sums at once in memory rather than in registers.
        for (k, mixed) in self.mixed.chunks_exact_mut(self.narrow + 2 * self.margin).enumerate() {
            let mut sums = [T::ZERO; L];
            for (window, &weight) in self.weights.iter().rev().enumerate() {
                let slopes = &self.slopes[(3 * window + k) * self.narrow + start..][..L];
                for lane in 0..L {
                    sums[lane] = slopes[lane].mul_add(weight, sums[lane]);
                }
            }
            mixed[self.margin + start..][..L].copy_from_slice(&sums);
        }
    }
}

struct Combine<'a, T> {
    taps: &'a [T],
    mixed: &'a [T],
    sink: Sink<'a, T>,
}

impl<T: Real> Columns for Combine<'_, T> {
    #[inline(always)]
    fn run<const L: usize>(&mut self, start: usize) {
        let long = self.mixed.len() / 3;
        let mean = along::<T, L>(self.taps, &self.mixed[start..]);
        let square = along::<T, L>(self.taps, &self.mixed[long + start..]);
        let product = along::<T, L>(self.taps, &self.mixed[2 * long + start..]);
        let (p, t) = (&self.sink.first[start..][..L], &self.sink.second[start..][..L]);
        let (rest, gradient) = (&self.sink.rest[start..][..L], &mut self.sink.gradient[start..][..L]);
        for lane in 0..L {
            let d = p[lane] - t[lane];
            let by_p = (d + d).mul_add(square[lane], t[lane].mul_add(product[lane], mean[lane]));
            gradient[lane] = by_p.mul_add(self.sink.weight, rest[lane]);
        }
    }
}
