//! Rows of numbers, and loops along them that vectorise.

use colormamba_cpu::Real;
use std::ops::Range;

/// Independent partial results of a reduction along the lanes: enough to hide the latency of an addition.
const LANES: usize = 64;

/// Rows of `n` elements.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, T> {
    pub data: &'a [T],
    pub n: usize,
}

impl<'a, T: Real> Rows<'a, T> {
    #[inline(always)]
    pub fn iter(self) -> impl Iterator<Item = &'a [T]> {
        self.data.chunks_exact(self.n)
    }

    /// `out` = the inner products of the columns in `lanes` with column `j` of `others`.
    #[inline(always)]
    pub fn products(self, lanes: &Range<usize>, others: Rows<T>, j: usize, out: &mut [T]) {
        for (p, (row, other)) in self.iter().zip(others.iter()).enumerate() {
            let (row, b) = (&row[lanes.clone()], other[j]);
            if p == 0 {
                for (out, &a) in out.iter_mut().zip(row) {
                    *out = a * b;
                }
            } else {
                add_product(out, row, b);
            }
        }
    }
}

/// `out += row b`.
#[inline(always)]
pub(super) fn add_product<T: Real>(out: &mut [T], row: &[T], b: T) {
    for (out, &a) in out.iter_mut().zip(row) {
        *out = a.mul_add(b, *out);
    }
}

/// Folds all elements with `f`, in lanes so that it vectorises.
#[inline(always)]
pub(super) fn reduce<T: Real>(x: &[T], start: T, f: impl Fn(T, T) -> T) -> T {
    let mut lanes = [start; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for (lane, &x) in lanes.iter_mut().zip(block) {
            *lane = f(*lane, x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = f(*lane, x);
    }
    fold(lanes, f)
}

/// The inner product.
#[inline(always)]
pub(super) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut lanes = [T::ZERO; LANES];
    let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for i in 0..LANES {
            lanes[i] = a[i].mul_add(b[i], lanes[i]);
        }
    }
    for (lane, (&a, &b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane = a.mul_add(b, *lane);
    }
    fold(
        lanes,
        #[inline(always)]
        |a, b| a + b,
    )
}

/// Pairwise.
#[inline(always)]
fn fold<T: Real>(mut lanes: [T; LANES], f: impl Fn(T, T) -> T) -> T {
    for half in [32, 16, 8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] = f(lanes[i], lanes[i + half]);
        }
    }
    lanes[0]
}

/// Without the handling of NaN of `f32::max`, which keeps loops scalar.
#[inline(always)]
pub(super) fn larger<T: Real>(a: T, b: T) -> T {
    if b > a { b } else { a }
}
