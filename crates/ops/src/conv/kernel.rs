//! The inner loops of convolutions: blocks of results that stay in registers.
//!
//! A block is `M` rows of `V` registers. With 32 registers (AVX-512) up to 24 hold sums, which hides the latency of a
//! multiply-add, and every value that is loaded is used `M` or `V` times; with 16 (AVX2) rows are taken four at a time.

use crate::simd::{SimdReal, load, store};
use pulp::{Arch, Simd, WithSimd};

/// `$body` for every `$i` below `$n` ≤ 8, written out: arrays that are indexed by constants become registers at once, while
/// of a loop that is unrolled later some stay in memory.
macro_rules! each {
    ($n:expr, $i:ident => $body:expr) => {
        each!(@ $n, $i => $body, 0 1 2 3 4 5 6 7)
    };
    (@ $n:expr, $i:ident => $body:expr, $($k:literal)*) => {{
        $({
            const $i: usize = $k;
            if $i < $n {
                $body
            }
        })*
    }};
}

pub(super) use each;

/// Most rows of a block.
pub(super) const ROWS: usize = 8;

/// `out[m · stride + p] (+)= Σ_k weights[k · step + m] · source[offsets[k] + p]` for `rows` ≤ [`ROWS`] rows and `points`
/// points, rounded up to whole registers.
pub(super) struct Product<'a, T> {
    pub weights: &'a [T],
    pub step: usize,
    pub rows: usize,
    pub offsets: &'a [usize],
    pub source: *const T,
    pub out: *mut T,
    pub stride: usize,
    pub points: usize,
    /// Adds to what is in `out`.
    pub add: bool,
}

impl<T: SimdReal> Product<'_, T> {
    /// # Safety
    /// `points`, rounded up to a multiple of [`crate::simd::WIDEST`], must be readable at every offset and writable in
    /// every row, which nothing else uses meanwhile.
    pub unsafe fn run(self) {
        assert!(self.weights.len() + self.step >= self.offsets.len() * self.step + self.rows);
        Arch::new().dispatch(self);
    }
}

/// Made by [`Product::run`] alone, whose caller promises what the code below relies on.
impl<T: SimdReal> WithSimd for Product<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut row = 0;
        while row < self.rows {
            let left = self.rows - row;
            // SAFETY: the caller's promise.
            unsafe {
                row += if S::REGISTER_COUNT >= 32 {
                    match left {
                        1 => self.strip::<S, 1, 8>(simd, row),
                        2 => self.strip::<S, 2, 8>(simd, row),
                        3 => self.strip::<S, 3, 7>(simd, row),
                        4 => self.strip::<S, 4, 6>(simd, row),
                        5 => self.strip::<S, 5, 5>(simd, row),
                        6 => self.strip::<S, 6, 4>(simd, row),
                        7 => self.strip::<S, 7, 3>(simd, row),
                        _ => self.strip::<S, 8, 3>(simd, row),
                    }
                } else {
                    match left {
                        1 => self.strip::<S, 1, 6>(simd, row),
                        2 => self.strip::<S, 2, 4>(simd, row),
                        3 => self.strip::<S, 3, 3>(simd, row),
                        _ => self.strip::<S, 4, 3>(simd, row),
                    }
                }
            }
        }
    }
}

impl<T: SimdReal> Product<'_, T> {
    /// `M` rows from `row` on; returns `M`.
    #[inline(always)]
    unsafe fn strip<S: Simd, const M: usize, const V: usize>(&self, simd: S, row: usize) -> usize {
        let width = T::width::<S>();
        let mut point = 0;
        // SAFETY: the caller's promise.
        unsafe {
            while point + (V - 1) * width < self.points {
                self.block::<S, M, V>(simd, row, point);
                point += V * width;
            }
            if V > 2 && point + width < self.points {
                self.block::<S, M, 2>(simd, row, point);
                point += 2 * width;
            }
            while point < self.points {
                self.block::<S, M, 1>(simd, row, point);
                point += width;
            }
        }
        M
    }

    #[inline(always)]
    unsafe fn block<S: Simd, const M: usize, const V: usize>(&self, simd: S, row: usize, point: usize) {
        let width = T::width::<S>();
        // SAFETY: the caller's promise; weights by the assertion above.
        unsafe {
            let out = self.out.add(row * self.stride + point);
            let mut sums = [[T::splat(simd, T::ZERO); V]; M];
            if self.add {
                each!(M, I => each!(V, J => sums[I][J] = load::<S, T>(out.add(I * self.stride + J * width))));
            }
            let source = self.source.add(point);
            let mut weights = self.weights.as_ptr().add(row);
            for &offset in self.offsets {
                let mut values = [T::splat(simd, T::ZERO); V];
                each!(V, J => values[J] = load::<S, T>(source.add(offset + J * width)));
                each!(M, I => {
                    let weight = T::splat(simd, *weights.add(I));
                    each!(V, J => sums[I][J] = T::fused(simd, weight, values[J], sums[I][J]));
                });
                weights = weights.wrapping_add(self.step);
            }
            each!(M, I => each!(V, J => store::<S, T>(out.add(I * self.stride + J * width), sums[I][J])));
        }
    }
}

/// Taps that go through the kernel together.
const SHIFTS: usize = 3;

/// `sums[c][t][m] += Σ_p grad[m · stride + p] · source[c · channel + offsets[t] + p]`, each sum kept as a register's lanes.
pub(super) struct Correlation<'a, T> {
    pub grad: *const T,
    pub stride: usize,
    /// At most [`ROWS`].
    pub rows: usize,
    pub source: *const T,
    pub channels: usize,
    /// Elements from one channel of the source to the next.
    pub channel: usize,
    pub offsets: &'a [usize],
    pub points: usize,
    /// `(channels, offsets.len(), rows, lanes)`.
    pub sums: *mut T,
}

impl<T: SimdReal> Correlation<'_, T> {
    /// # Safety
    /// As [`Product::run`], and `sums` must hold a register for every sum.
    pub unsafe fn run(self) {
        Arch::new().dispatch(self);
    }
}

/// Made by [`Correlation::run`] alone, whose caller promises what the code below relies on.
impl<T: SimdReal> WithSimd for Correlation<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut start = 0;
        while start < self.offsets.len() {
            let count = match self.offsets.len() - start {
                // Two and two rather than three and one.
                4 => 2,
                left => left.min(SHIFTS),
            };
            // SAFETY: the caller's promise.
            unsafe {
                match count {
                    1 => self.shifts::<S, 1>(simd, start),
                    2 => self.shifts::<S, 2>(simd, start),
                    _ => self.shifts::<S, 3>(simd, start),
                }
            }
            start += count;
        }
    }
}

impl<T: SimdReal> Correlation<'_, T> {
    /// `K` taps from `start` on.
    #[inline(always)]
    unsafe fn shifts<S: Simd, const K: usize>(&self, simd: S, start: usize) {
        let mut row = 0;
        while row < self.rows {
            let left = self.rows - row;
            // SAFETY: the caller's promise.
            unsafe {
                row += match left {
                    1 => self.all_channels::<S, 1, K>(simd, row, start),
                    2 => self.all_channels::<S, 2, K>(simd, row, start),
                    3 => self.all_channels::<S, 3, K>(simd, row, start),
                    8.. if S::REGISTER_COUNT >= 32 => self.all_channels::<S, 8, K>(simd, row, start),
                    _ => self.all_channels::<S, 4, K>(simd, row, start),
                }
            }
        }
    }

    /// `M` rows from `row` on; returns `M`.
    #[inline(always)]
    unsafe fn all_channels<S: Simd, const M: usize, const K: usize>(&self, simd: S, row: usize, start: usize) -> usize {
        for c in 0..self.channels {
            // SAFETY: the caller's promise.
            unsafe { self.block::<S, M, K>(simd, row, start, c) };
        }
        M
    }

    #[inline(always)]
    unsafe fn block<S: Simd, const M: usize, const K: usize>(&self, simd: S, row: usize, start: usize, c: usize) {
        let width = T::width::<S>();
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[T::splat(simd, T::ZERO); K]; M];
            let grad = self.grad.add(row * self.stride);
            let mut sources = [self.source.add(c * self.channel); K];
            each!(K, J => sources[J] = sources[J].add(*self.offsets.get_unchecked(start + J)));
            let mut point = 0;
            while point < self.points {
                let mut values = [T::splat(simd, T::ZERO); K];
                each!(K, J => values[J] = load::<S, T>(sources[J].add(point)));
                each!(M, I => {
                    let g = load::<S, T>(grad.add(I * self.stride + point));
                    each!(K, J => sums[I][J] = T::fused(simd, g, values[J], sums[I][J]));
                });
                point += width;
            }
            let first = (c * self.offsets.len() + start) * self.rows + row;
            each!(M, I => each!(K, J => {
                let at = self.sums.add((first + J * self.rows + I) * width);
                store::<S, T>(at, T::plus(simd, load::<S, T>(at), sums[I][J]));
            }));
        }
    }
}
