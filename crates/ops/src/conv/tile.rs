//! Winograd's minimal filtering F(2 × 2, r × r): of a correlation with r × r taps, tiles of 2 × 2 results with (r + 1)²
//! multiplications instead of 4·r². A tile's source pixels are transformed to (r + 1)² numbers that are called frequencies
//! here, so is the kernel; one is multiplied by the other, summed over channels, and transformed back.
//!
//! `N` is r + 1, the number of frequencies along an axis: 3 to 5. They are values of polynomials at 0, 1, −1, 2 and ∞, the
//! first `N - 1` of these and ∞. The transforms are adjoint to the multiplication of polynomials by interpolation.
//!
//! In the letters of Lavin & Gray (eq. 8), with ⊙ the product by elements, a tile of results Y of a source tile d and a
//! kernel g is
//!
//! `Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A`, for N = 4 with
//!
//! ```text
//!      1  0 −1  0         1    0    0
//! Bᵀ = 0  1  1  0    G =  1/2  1/2  1/2    Aᵀ = 1  1  1  0
//!      0 −1  1  0         1/2 −1/2  1/2         0  1 −1 −1
//!      0  1  0 −1         0    0    1
//! ```
//!
//! A row of Bᵀ is [`of_pixels`], of G [`factors`], of Aᵀ [`result`]. The gradient of the kernel is the adjoint of the same
//! formula: with Ȳ the gradient of the tile of results, `ḡ = Gᵀ [(A Ȳ Aᵀ) ⊙ (Bᵀ d B)] G`, summed over tiles; a row of A is
//! [`of_gradients`], of Gᵀ [`gradients_of_taps`]. That of the source is a correlation again, with the kernel turned around.
//!
//! Source: Winograd 1980, "Arithmetic Complexity of Computations", chapter 4; Lavin & Gray 2016, arXiv 1509.09308.

#![allow(clippy::out_of_bounds_indexing, reason = "what `each!` writes out beyond its bound is never run")]

use super::kernel::each;
use crate::simd::{SimdReal, WIDEST, load, store};
use colormamba_cpu::vectorize;
use pulp::{Arch, Simd, WithSimd};

/// Frequency `k` of `N` neighbouring pixels.
#[inline(always)]
fn of_pixels<S: Simd, T: SimdReal, const N: usize>(simd: S, k: usize, d: [T::Vector<S>; N]) -> T::Vector<S> {
    let minus = |a: usize, b: usize| T::minus(simd, d[a], d[b]);
    let twice_plus = |a, b| T::fused(simd, T::splat(simd, T::of(2.0)), a, b);
    match (N, k) {
        (3, 0) => minus(0, 1),
        (3, 1) => d[1],
        (3, _) => minus(2, 1),
        (4, 0) => minus(0, 2),
        (4, 1) => T::plus(simd, d[1], d[2]),
        (4, 2) => minus(2, 1),
        (4, _) => minus(1, N - 1),
        (_, 0) => twice_plus(minus(0, 2), minus(N - 2, 1)),
        (_, 1) => twice_plus(d[1], minus(2, N - 2)),
        (_, 2) => twice_plus(minus(1, 2), minus(N - 2, 2)),
        (_, 3) => minus(N - 2, 1),
        _ => twice_plus(minus(1, N - 2), minus(N - 1, 2)),
    }
}

/// Result `i` of the two that the products at `N` frequencies give.
#[inline(always)]
fn result<S: Simd, T: SimdReal, const N: usize>(simd: S, i: usize, m: [T::Vector<S>; N]) -> T::Vector<S> {
    let plus = |a, b| T::plus(simd, a, b);
    match (N, i) {
        (3, 0) => plus(m[0], m[1]),
        (3, _) => plus(m[1], m[2]),
        (4, 0) => plus(plus(m[0], m[1]), m[2]),
        (4, _) => T::minus(simd, T::minus(simd, m[1], m[2]), m[N - 1]),
        (_, 0) => plus(plus(m[0], m[1]), plus(m[2], m[N - 2])),
        _ => {
            let two = T::splat(simd, T::of(2.0));
            plus(T::fused(simd, two, m[N - 2], T::minus(simd, m[1], m[2])), m[N - 1])
        }
    }
}

/// Frequency `k` of two gradients of results: the adjoint of [`result`].
#[inline(always)]
fn of_gradients<S: Simd, T: SimdReal, const N: usize>(simd: S, k: usize, y: [T::Vector<S>; 2]) -> T::Vector<S> {
    match (N, k) {
        (_, 0) => y[0],
        (_, 1) => T::plus(simd, y[0], y[1]),
        (3, _) => y[1],
        (_, 2) => T::minus(simd, y[0], y[1]),
        (4, _) => T::minus(simd, T::splat(simd, T::ZERO), y[1]),
        (_, 3) => T::fused(simd, T::splat(simd, T::of(2.0)), y[1], y[0]),
        _ => y[1],
    }
}

/// What `n - 1` taps contribute to their frequencies: `[k][j]` of tap `j` to frequency `k`, in sixths.
const fn factors(n: usize) -> [[i8; 4]; 5] {
    match n {
        3 => [[6, 0, 0, 0], [6, 6, 0, 0], [0, 6, 0, 0], [0; 4], [0; 4]],
        4 => [[6, 0, 0, 0], [3, 3, 3, 0], [3, -3, 3, 0], [0, 0, 6, 0], [0; 4]],
        _ => [[3, 0, 0, 0], [3, 3, 3, 3], [-1, 1, -1, 1], [1, 2, 4, 8], [0, 0, 0, 6]],
    }
}

/// The frequencies of `N - 1` taps, of many kernels side by side.
#[inline(always)]
fn of_taps<T: SimdReal, const N: usize, const M: usize>(tap: impl Fn(usize) -> [T; M]) -> [[T; M]; N] {
    let mut all = [[T::ZERO; M]; N];
    for j in 0..N - 1 {
        let tap = tap(j);
        for (frequency, factors) in all.iter_mut().zip(factors(N)) {
            let factor = T::of(f64::from(factors[j]) / 6.0);
            for (f, t) in frequency.iter_mut().zip(tap) {
                *f = t.mul_add(factor, *f);
            }
        }
    }
    all
}

/// The frequencies of kernels side by side, row by row, whose taps `(y, x)` are `tap(y, x)`.
#[inline(always)]
pub(super) fn kernel_frequencies<T: SimdReal, const N: usize, const M: usize>(
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

/// The gradients of tap `j` of many kernels from those at its `N` frequencies: the adjoint of [`of_taps`].
pub(super) fn gradients_of_taps<T: SimdReal, const N: usize>(j: usize, m: [&[T]; N], out: &mut [T]) {
    let m = m.map(|m| &m[..out.len()]);
    let factors: [T; N] = std::array::from_fn(|k| T::of(f64::from(factors(N)[k][j]) / 6.0));
    vectorize(
        #[inline(always)]
        || {
            for (i, out) in out.iter_mut().enumerate() {
                let mut sum = T::ZERO;
                for k in 0..N {
                    sum = m[k][i].mul_add(factors[k], sum);
                }
                *out = sum;
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
    /// A multiple of [`crate::simd::WIDEST`].
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

impl<T: SimdReal, const N: usize> Transform<'_, T, N> {
    /// Panics if a buffer is too short, or rows of tiles are not whole registers.
    pub fn run(self) {
        let Tiles { rows, columns } = self.tiles;
        // In every row, registers are read from the first 2 · columns pixels, and from those 2 and 4 to the right.
        let read = (2 * rows + N - 3) * self.pitch + 2 * columns + (N - 1) / 2 * 2;
        assert!(columns.is_multiple_of(WIDEST));
        assert!(self.planes.iter().all(|plane| plane + read <= self.source.len()));
        assert!(self.out.len() >= (N * N - 1) * self.stride + self.planes.len() * self.tiles.count());
        Arch::new().dispatch(self);
    }
}

/// Made by [`Transform::run`] alone, which checks the bounds.
impl<T: SimdReal, const N: usize> WithSimd for Transform<'_, T, N> {
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
/// Two registers from column 0 on, and from every second one below `N`, must be readable in `N` rows.
#[inline(always)]
unsafe fn band<S: Simd, T: SimdReal, const N: usize>(
    simd: S,
    k: usize,
    source: *const T,
    pitch: usize,
) -> [T::Vector<S>; N] {
    let zero = T::splat(simd, T::ZERO);
    let mut pixels = [zero; N];
    each!(N.div_ceil(2), PAIR => {
        let mut pair = [zero; 2];
        each!(2, J => {
            let mut rows = [zero; N];
            // SAFETY: the caller's promise.
            each!(N, I => rows[I] = unsafe { load::<S, T>(source.add(I * pitch + 2 * PAIR + J * T::width::<S>())) });
            pair[J] = of_pixels::<S, T, N>(simd, k, rows);
        });
        let pair = T::unzip(simd, pair);
        each!(2, J => if 2 * PAIR + J < N {
            pixels[2 * PAIR + J] = pair[J];
        });
    });
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

impl<T: SimdReal, const N: usize> Inverse<'_, T, N> {
    /// Panics if a buffer is too short.
    pub fn run(self) {
        assert!(self.tiles.columns.is_multiple_of(WIDEST));
        assert!(self.products.len() >= (N * N - 1) * self.stride + self.tiles.count());
        assert!(self.out.len() >= 4 * self.tiles.count());
        Arch::new().dispatch(self);
    }
}

/// Made by [`Inverse::run`] alone, which checks the bounds.
impl<T: SimdReal, const N: usize> WithSimd for Inverse<'_, T, N> {
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
    /// A multiple of [`crate::simd::WIDEST`].
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

impl<T: SimdReal, const N: usize> ChannelsLast<'_, T, N> {
    /// Panics if a buffer is too short.
    pub fn run(self) {
        let (rows, columns) = self.tiles;
        let side = match self.input {
            Input::Pixels => N,
            Input::Gradients => 2,
        };
        let last = |tiles: usize| 2 * (tiles - 1) + side - 1;
        let read = last(rows) * self.strides.0 + last(columns) * self.strides.1 + self.channels;
        assert!(self.channels.is_multiple_of(WIDEST) && read <= self.source.len());
        assert!(self.out.len() >= (N * N - 1) * self.frequency + (rows * columns - 1) * self.tile + self.channels);
        Arch::new().dispatch(self);
    }
}

/// Made by [`ChannelsLast::run`] alone, which checks the bounds.
impl<T: SimdReal, const N: usize> WithSimd for ChannelsLast<'_, T, N> {
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

impl<T: SimdReal, const N: usize> ChannelsLast<'_, T, N> {
    /// # Safety
    /// What the assertions of [`Self::run`] ensure for each tile and register of channels.
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

    /// # Safety
    /// As [`Self::pixels`].
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
