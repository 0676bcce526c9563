//! Attention within one line, tile by tile.

use crate::gemm;
use crate::gemm::Matrix;
use colormamba_cpu as cpu;
use colormamba_cpu::Shared;

/// Queries whose weights are held at a time.
const TILE: usize = 32;
/// Lanes that a tile's queries are added up in: a register of f32.
const LANES: usize = 16;
/// Below every energy; finite, so that a line without keys has weights 0 and not NaN.
const LOWEST: f64 = -1e30;

/// The work on one line of `n` pixels.
pub(super) struct Line<T> {
    n: usize,
    k: usize,
    c: usize,
    /// In its column a pixel does not attend to itself: it does so in its row.
    is_column: bool,
    queries: Vec<[T; TILE]>,
    /// For each key, the energies (later the weights) of `TILE` queries.
    tile: Vec<[T; TILE]>,
    /// The gradients of the weights.
    slopes: Vec<[T; TILE]>,
    query_gradients: Vec<[T; TILE]>,
    /// The gradients of all keys, each in lanes that are added up at the end.
    key_gradients: Vec<[T; LANES]>,
}

impl<T: cpu::Real> Line<T> {
    pub fn new(n: usize, k: usize, c: usize, is_column: bool) -> Self {
        let zeros = |length| vec![[T::ZERO; TILE]; length];
        Self {
            n,
            k,
            c,
            is_column,
            queries: zeros(k),
            tile: zeros(n),
            slopes: zeros(n),
            query_gradients: zeros(k),
            key_gradients: vec![[T::ZERO; LANES]; k * n],
        }
    }

    /// `x`: queries, keys, values. `part`: their attention with the weights `exp(e - maximum)`, the maximum and the sum of
    /// the weights.
    pub fn attend(&mut self, x: &[T], part: &mut [T]) {
        let (n, c) = (self.n, self.c);
        let (qk, v) = x.split_at(2 * self.k * n);
        let (y, statistics) = part.split_at_mut(c * n);
        let (maxima, sums) = statistics.split_at_mut(n);
        for start in (0..n).step_by(TILE) {
            let count = TILE.min(n - start);
            let (mut maximum, mut sum) = ([T::of(LOWEST); TILE], [T::ZERO; TILE]);
            cpu::vectorize(
                #[inline(always)]
                || {
                    self.energies(qk, start, count);
                    largest(&self.tile, &mut maximum);
                    exponentials(&mut self.tile, &maximum);
                    add_up(&self.tile, &mut sum);
                },
            );
            maxima[start..start + count].copy_from_slice(&maximum[..count]);
            sums[start..start + count].copy_from_slice(&sum[..count]);
            let weights = Matrix { data: self.tile.as_flattened(), strides: (1, TILE) };
            multiply(&mut y[start..], (1, n), (count, n, c), weights, Matrix { data: v, strides: (1, n) }, false);
        }
    }

    /// `x`: queries, keys, values, scaled gradients, maxima, delta. `part`: the gradients of the first three.
    pub fn gradient(&mut self, x: &[T], part: &mut [T], for_qk: bool, for_v: bool) {
        let (n, k, c) = (self.n, self.k, self.c);
        let (qk, rest) = x.split_at(2 * k * n);
        let keys = &qk[k * n..];
        let (v, rest) = rest.split_at(c * n);
        let (grad, statistics) = rest.split_at(c * n);
        let (dq, rest) = part.split_at_mut(k * n);
        let (dk, dv) = rest.split_at_mut(k * n);
        self.key_gradients.fill([T::ZERO; LANES]);
        for start in (0..n).step_by(TILE) {
            let count = TILE.min(n - start);
            let [mut maximum, mut delta] = [[T::ZERO; TILE]; 2];
            maximum[..count].copy_from_slice(&statistics[start..][..count]);
            delta[..count].copy_from_slice(&statistics[n + start..][..count]);
            cpu::vectorize(
                #[inline(always)]
                || {
                    self.energies(qk, start, count);
                    exponentials(&mut self.tile, &maximum);
                },
            );
            let grad = &grad[start..];
            if for_v {
                let weights = Matrix { data: self.tile.as_flattened(), strides: (TILE, 1) };
                multiply(dv, (1, n), (n, count, c), weights, Matrix { data: grad, strides: (1, n) }, start > 0);
            }
            if for_qk {
                let (grad, v) = (Matrix { data: grad, strides: (1, n) }, Matrix { data: v, strides: (n, 1) });
                multiply(self.slopes.as_flattened_mut(), (1, TILE), (count, c, n), grad, v, false);
                cpu::vectorize(
                    #[inline(always)]
                    || self.energy_gradients(&delta, keys),
                );
                for (dq, of_queries) in dq.chunks_exact_mut(n).zip(&self.query_gradients) {
                    dq[start..start + count].copy_from_slice(&of_queries[..count]);
                }
            }
        }
        cpu::vectorize(
            #[inline(always)]
            || {
                for (dk, lanes) in dk.iter_mut().zip(&self.key_gradients) {
                    *dk = total(*lanes);
                }
            },
        );
    }

    /// From the weights and their gradients those of the energies, and from these at once those of the tile's queries and
    /// (added) of all keys.
    #[inline(always)]
    fn energy_gradients(&mut self, delta: &[T; TILE], keys: &[T]) {
        let n = self.n;
        self.query_gradients.fill([T::ZERO; TILE]);
        for (j, (weights, slopes)) in self.tile.iter().zip(&self.slopes).enumerate() {
            let mut energies = [T::ZERO; TILE];
            for i in 0..TILE {
                energies[i] = weights[i] * (slopes[i] - delta[i]);
            }
            for (channel, (dq, queries)) in self.query_gradients.iter_mut().zip(&self.queries).enumerate() {
                let key = keys[channel * n + j];
                for (dq, &energy) in dq.iter_mut().zip(&energies) {
                    *dq = energy.mul_add(key, *dq);
                }
                let lanes = &mut self.key_gradients[channel * n + j];
                for (energies, queries) in energies.as_chunks::<LANES>().0.iter().zip(queries.as_chunks::<LANES>().0) {
                    for i in 0..LANES {
                        lanes[i] = energies[i].mul_add(queries[i], lanes[i]);
                    }
                }
            }
        }
    }

    /// Fills the tile with the energies of the queries from `start` on, `qk` being queries and keys `(2, K, n)`.
    #[inline(always)]
    fn energies(&mut self, qk: &[T], start: usize, count: usize) {
        let (q, keys) = qk.split_at(self.k * self.n);
        for (queries, q) in self.queries.iter_mut().zip(q.chunks_exact(self.n)) {
            queries[..count].copy_from_slice(&q[start..start + count]);
            // Those past the line's end must not reach the gradient of the keys.
            queries[count..].fill(T::ZERO);
        }
        for (j, energies) in self.tile.iter_mut().enumerate() {
            let mut sum = [T::ZERO; TILE];
            for (queries, keys) in self.queries.iter().zip(keys.chunks_exact(self.n)) {
                let key = keys[j];
                for (sum, &query) in sum.iter_mut().zip(queries) {
                    *sum = query.mul_add(key, *sum);
                }
            }
            *energies = sum;
        }
        if self.is_column {
            for (i, energies) in self.tile[start..start + count].iter_mut().enumerate() {
                energies[i] = T::of(f64::NEG_INFINITY);
            }
        }
    }
}

#[inline(always)]
fn largest<T: cpu::Real>(tile: &[[T; TILE]], maximum: &mut [T; TILE]) {
    let mut largest = *maximum;
    for row in tile {
        for (largest, &x) in largest.iter_mut().zip(row) {
            *largest = if x > *largest { x } else { *largest };
        }
    }
    *maximum = largest;
}

#[inline(always)]
fn exponentials<T: cpu::Real>(tile: &mut [[T; TILE]], maximum: &[T; TILE]) {
    for row in tile {
        for (x, &maximum) in row.iter_mut().zip(maximum) {
            *x = (*x - maximum).exp();
        }
    }
}

#[inline(always)]
fn add_up<T: cpu::Real>(tile: &[[T; TILE]], sum: &mut [T; TILE]) {
    for row in tile {
        for (sum, &x) in sum.iter_mut().zip(row) {
            *sum += x;
        }
    }
}

/// The sum of all lanes, pairwise.
#[inline(always)]
fn total<T: cpu::Real>(mut lanes: [T; LANES]) -> T {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

/// `dst (m, n) = lhs (m, k) · rhs (k, n)`, or `+=`, on this thread.
fn multiply<T: cpu::Real>(
    dst: &mut [T],
    strides: (usize, usize),
    sizes: (usize, usize, usize),
    lhs: Matrix<T>,
    rhs: Matrix<T>,
    accumulate: bool,
) {
    // SAFETY: `dst` is borrowed by this call alone.
    unsafe { gemm::multiply((Shared::new(dst), 0), strides, sizes, lhs, rhs, accumulate) }
}
