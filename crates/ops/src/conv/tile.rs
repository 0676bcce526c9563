//! Winograd's minimal filtering F(2 × 2, r × r): of a correlation with r × r taps, tiles of 2 × 2 results with (r + 1)²
//! multiplications instead of 4·r². A tile's source pixels are transformed to (r + 1)² numbers that are called frequencies
//! here, so is the kernel; one is multiplied by the other, summed over channels, and transformed back.
//!
//! Source: Lavin & Gray 2016, arXiv 1509.09308, section 4; F(2, 2) after Winograd 1980, Arithmetic Complexity of Computations.
//! `N` is r + 1, the number of frequencies along an axis: 3 or 4. All transforms are sums and differences, and halves: in f32
//! the result is as near to the exact one as the sum over taps is, to a small factor.

use super::kernel::each;
use crate::cpu::vectorize;
use crate::lanes::{Lanes, WIDEST, load, store};
use pulp::{Arch, Simd, WithSimd};

/// Frequency `k` of `N` neighbouring pixels.
#[inline(always)]
fn of_pixels<S: Simd, T: Lanes, const N: usize>(simd: S, k: usize, d: [T::Vector<S>; N]) -> T::Vector<S> {
    match (k, N) {
        (0, 3) => T::minus(simd, d[0], d[1]),
        (1, 3) => d[1],
        (2, 3) => T::minus(simd, d[2], d[1]),
        (0, _) => T::minus(simd, d[0], d[2]),
        (1, _) => T::plus(simd, d[1], d[2]),
        (2, _) => T::minus(simd, d[2], d[1]),
        _ => T::minus(simd, d[1], d[N - 1]),
    }
}

/// Result `i` of the two that the products at `N` frequencies give.
#[inline(always)]
fn result<S: Simd, T: Lanes, const N: usize>(simd: S, i: usize, m: [T::Vector<S>; N]) -> T::Vector<S> {
    match (i, N) {
        (0, 3) => T::plus(simd, m[0], m[1]),
        (_, 3) => T::plus(simd, m[1], m[2]),
        (0, _) => T::plus(simd, T::plus(simd, m[0], m[1]), m[2]),
        _ => T::minus(simd, T::minus(simd, m[1], m[2]), m[N - 1]),
    }
}

/// Frequency `k` of two gradients of results: the adjoint of [`result`].
#[inline(always)]
fn of_gradients<S: Simd, T: Lanes, const N: usize>(simd: S, k: usize, y: [T::Vector<S>; 2]) -> T::Vector<S> {
    match (k, N) {
        (0, _) => y[0],
        (1, _) => T::plus(simd, y[0], y[1]),
        (2, 3) => y[1],
        (2, _) => T::minus(simd, y[0], y[1]),
        _ => T::minus(simd, T::splat(simd, T::ZERO), y[1]),
    }
}

/// The frequencies of `N - 1` taps, of many kernels side by side.
#[inline(always)]
fn of_taps<T: Lanes, const N: usize, const M: usize>(tap: impl Fn(usize) -> [T; M]) -> [[T; M]; N] {
    let half = T::of(0.5);
    let (first, second, last) = (tap(0), tap(1), tap(N - 2));
    let mut all = [first; N];
    for m in 0..M {
        if N == 3 {
            all[1][m] = first[m] + last[m];
        } else {
            all[1][m] = (first[m] + second[m] + last[m]) * half;
            all[2][m] = (first[m] - second[m] + last[m]) * half;
        }
        all[N - 1][m] = last[m];
    }
    all
}

/// The gradient of tap `j` from those at its `N` frequencies: the adjoint of [`of_taps`].
#[inline(always)]
pub(super) fn gradient_of_tap<T: Lanes, const N: usize>(j: usize, m: impl Fn(usize) -> T) -> T {
    let half = T::of(0.5);
    match (j, N) {
        (_, 3) => m(j) + m(j + 1),
        (0, _) => m(0) + (m(1) + m(2)) * half,
        (1, _) => (m(1) - m(2)) * half,
        _ => (m(1) + m(2)) * half + m(N - 1),
    }
}

/// The frequencies of kernels side by side, row by row, whose taps `(y, x)` are `tap(y, x)`.
#[inline(always)]
pub(super) fn kernel_frequencies<T: Lanes, const N: usize, const M: usize>(
    tap: impl Fn(usize, usize) -> [T; M],
) -> [[[T; M]; N]; N] {
    let mut columns = [[[T::ZERO; M]; N]; N];
    for (x, column) in columns.iter_mut().take(N - 1).enumerate() {
        *column = of_taps(|y| tap(y, x));
    }
    let mut all = columns;
    for (k, row) in all.iter_mut().enumerate() {
        *row = of_taps(|x| columns[x][k]);
    }
    all
}

/// [`gradient_of_tap`] of many kernels at once.
pub(super) fn gradients_of_taps<T: Lanes, const N: usize>(j: usize, m: [&[T]; N], out: &mut [T]) {
    let m = m.map(|m| &m[..out.len()]);
    vectorize(
        #[inline(always)]
        || {
            for (i, out) in out.iter_mut().enumerate() {
                *out = gradient_of_tap::<T, N>(j, |k| m[k][i]);
            }
        },
    );
}

/// Elements from one frequency of `len` numbers to the next: a cache line more than a multiple of a page, since frequencies
/// are written side by side.
pub(super) fn apart(len: usize) -> usize {
    len + WIDEST
}

/// Rows and columns of tiles. A register holds tiles that are neighbours in a row.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    pub rows: usize,
    /// A multiple of [`crate::lanes::WIDEST`].
    pub columns: usize,
}

impl Tiles {
    pub fn count(&self) -> usize {
        self.rows * self.columns
    }
}

/// The frequencies of some planes, of tiles that begin at every second pixel of every second row.
pub(super) struct Transform<'a, T, const N: usize> {
    pub source: &'a [T],
    /// Where in the source each plane begins.
    pub planes: &'a [usize],
    /// Elements from one row of the source to the next.
    pub pitch: usize,
    pub tiles: Tiles,
    /// Frequency `(k, l)` of a plane's tiles begins at `(k · N + l) · stride + plane · tiles`.
    pub out: &'a mut [T],
    pub stride: usize,
}

impl<T: Lanes, const N: usize> Transform<'_, T, N> {
    /// Panics if a buffer is too short.
    pub fn run(self) {
        let Tiles { rows, columns } = self.tiles;
        // In every row, registers are read from the first 2 · columns + 2 pixels.
        let read = (2 * rows + N - 3) * self.pitch + 2 * columns + 2;
        assert!(self.planes.iter().all(|plane| plane + read <= self.source.len()));
        assert!(self.out.len() >= (N * N - 1) * self.stride + self.planes.len() * self.tiles.count());
        Arch::new().dispatch(self);
    }
}

/// Made by [`Transform::run`] alone, which checks the bounds.
impl<T: Lanes, const N: usize> WithSimd for Transform<'_, T, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Tiles { rows, columns } = self.tiles;
        let width = T::width::<S>();
        for (plane, &start) in self.planes.iter().enumerate() {
            for row in 0..rows {
                for column in (0..columns).step_by(width) {
                    let source = self.source[start + 2 * row * self.pitch + 2 * column..].as_ptr();
                    let out = self.out[plane * self.tiles.count() + row * columns + column..].as_mut_ptr();
                    // SAFETY: in bounds by the assertions of `run`.
                    each!(N, K => unsafe {
                        let band = band::<S, T, N>(simd, K, source, self.pitch);
                        each!(N, L => store::<S, T>(out.add((K * N + L) * self.stride), band[L]));
                    });
                }
            }
        }
    }
}

/// The frequencies in row `k` of a register of tiles of pixels.
///
/// # Safety
/// Four registers from column 0 and from column 2 on must be readable in `N` rows.
#[inline(always)]
unsafe fn band<S: Simd, T: Lanes, const N: usize>(
    simd: S,
    k: usize,
    source: *const T,
    pitch: usize,
) -> [T::Vector<S>; N] {
    let width = T::width::<S>();
    let mut columns = [T::splat(simd, T::ZERO); 4];
    each!(4, J => {
        let mut rows = [columns[J]; N];
        // SAFETY: the caller's promise.
        each!(N, I => rows[I] = unsafe { load::<S, T>(source.add(I * pitch + J % 2 * width + J / 2 * 2)) });
        columns[J] = of_pixels::<S, T, N>(simd, k, rows);
    });
    let first = T::unzip(simd, [columns[0], columns[1]]);
    let second = T::unzip(simd, [columns[2], columns[3]]);
    let mut pixels = [first[0]; N];
    pixels[1] = first[1];
    pixels[2] = second[0];
    pixels[N - 1] = second[(N + 1) % 2];
    let mut band = pixels;
    each!(N, L => band[L] = of_pixels::<S, T, N>(simd, L, pixels));
    band
}

/// The results of one output from its products at all frequencies.
pub(super) struct Inverse<'a, T, const N: usize> {
    /// Frequency `(k, l)` of the tiles begins at `(k · N + l) · stride`.
    pub products: &'a [T],
    pub stride: usize,
    pub tiles: Tiles,
    /// `(2 · tiles.rows, 2 · tiles.columns)`.
    pub out: &'a mut [T],
}

impl<T: Lanes, const N: usize> Inverse<'_, T, N> {
    /// Panics if a buffer is too short.
    pub fn run(self) {
        assert!(self.products.len() >= (N * N - 1) * self.stride + self.tiles.count());
        assert!(self.out.len() >= 4 * self.tiles.count());
        Arch::new().dispatch(self);
    }
}

/// Made by [`Inverse::run`] alone, which checks the bounds.
impl<T: Lanes, const N: usize> WithSimd for Inverse<'_, T, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Tiles { rows, columns } = self.tiles;
        let width = T::width::<S>();
        for row in 0..rows {
            for column in (0..columns).step_by(width) {
                let products = self.products[row * columns + column..].as_ptr();
                let mut lines = [[T::splat(simd, T::ZERO); N]; 2];
                each!(N, L => {
                    let mut m = [T::splat(simd, T::ZERO); N];
                    // SAFETY: in bounds by the assertions of `run`.
                    each!(N, K => m[K] = unsafe { load::<S, T>(products.add((K * N + L) * self.stride)) });
                    each!(2, I => lines[I][L] = result::<S, T, N>(simd, I, m));
                });
                each!(2, I => {
                    let parts = [result::<S, T, N>(simd, 0, lines[I]), result::<S, T, N>(simd, 1, lines[I])];
                    let pixels = T::zip(simd, parts);
                    let out = self.out[(2 * row + I) * 2 * columns + 2 * column..].as_mut_ptr();
                    // SAFETY: as above.
                    each!(2, J => unsafe { store::<S, T>(out.add(J * width), pixels[J]) });
                });
            }
        }
    }
}

/// What [`ChannelsLast`] transforms.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// `N × N` pixels a tile.
    Pixels,
    /// `2 × 2` gradients of results a tile.
    Gradients,
}

/// As [`Transform`], of a source whose channels are neighbours in memory: a register holds channels.
pub(super) struct ChannelsLast<'a, T, const N: usize> {
    pub input: Input,
    pub source: &'a [T],
    /// A multiple of [`crate::lanes::WIDEST`].
    pub channels: usize,
    /// Elements from a row, and from a pixel, to the next.
    pub strides: (usize, usize),
    /// Rows and columns.
    pub tiles: (usize, usize),
    /// Frequency `(k, l)` of tile `t` begins at `(k · N + l) · frequency + t · tile`.
    pub out: &'a mut [T],
    pub frequency: usize,
    pub tile: usize,
}

impl<T: Lanes, const N: usize> ChannelsLast<'_, T, N> {
    /// Panics if a buffer is too short.
    pub fn run(self) {
        let (rows, columns) = self.tiles;
        let side = match self.input {
            Input::Pixels => N,
            Input::Gradients => 2,
        };
        let last = |tiles: usize| 2 * (tiles - 1) + side - 1;
        let read = last(rows) * self.strides.0 + last(columns) * self.strides.1 + self.channels;
        assert!(self.channels % WIDEST == 0 && read <= self.source.len());
        assert!(self.out.len() >= (N * N - 1) * self.frequency + (rows * columns - 1) * self.tile + self.channels);
        Arch::new().dispatch(self);
    }
}

/// Made by [`ChannelsLast::run`] alone, which checks the bounds.
impl<T: Lanes, const N: usize> WithSimd for ChannelsLast<'_, T, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (rows, columns) = self.tiles;
        for row in 0..rows {
            for column in 0..columns {
                let source = &self.source[2 * row * self.strides.0 + 2 * column * self.strides.1..];
                let out = self.out[(row * columns + column) * self.tile..].as_mut_ptr();
                for channel in (0..self.channels).step_by(T::width::<S>()) {
                    let (source, out) = (source[channel..].as_ptr(), out.wrapping_add(channel));
                    // SAFETY: in bounds by the assertions of `run`.
                    unsafe {
                        match self.input {
                            Input::Pixels => self.pixels(simd, source, out),
                            Input::Gradients => self.gradients(simd, source, out),
                        }
                    }
                }
            }
        }
    }
}

impl<T: Lanes, const N: usize> ChannelsLast<'_, T, N> {
    #[inline(always)]
    unsafe fn pixels<S: Simd>(&self, simd: S, source: *const T, out: *mut T) {
        let zero = T::splat(simd, T::ZERO);
        let mut bands = [[zero; N]; N];
        each!(N, J => {
            let mut column = [zero; N];
            // SAFETY: the caller's promise.
            each!(N, I => column[I] = unsafe { load::<S, T>(source.add(I * self.strides.0 + J * self.strides.1)) });
            each!(N, K => bands[K][J] = of_pixels::<S, T, N>(simd, K, column));
        });
        each!(N, K => each!(N, L => {
            let frequency = of_pixels::<S, T, N>(simd, L, bands[K]);
            // SAFETY: as above.
            unsafe { store::<S, T>(out.add((K * N + L) * self.frequency), frequency) };
        }));
    }

    #[inline(always)]
    unsafe fn gradients<S: Simd>(&self, simd: S, source: *const T, out: *mut T) {
        let zero = T::splat(simd, T::ZERO);
        let mut bands = [[zero; 2]; N];
        each!(2, J => {
            let mut column = [zero; 2];
            // SAFETY: the caller's promise.
            each!(2, I => column[I] = unsafe { load::<S, T>(source.add(I * self.strides.0 + J * self.strides.1)) });
            each!(N, K => bands[K][J] = of_gradients::<S, T, N>(simd, K, column));
        });
        each!(N, K => each!(N, L => {
            let frequency = of_gradients::<S, T, N>(simd, L, bands[K]);
            // SAFETY: as above.
            unsafe { store::<S, T>(out.add((K * N + L) * self.frequency), frequency) };
        }));
    }
}
