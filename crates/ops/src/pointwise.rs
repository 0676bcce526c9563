//! How the memory-bound kernels run: fixed chunks over rayon, each vectorised, and functions element by element.

use crate::cpu::{Real, buffer, tensor, vectorize};
use crate::with_slices;
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Elements per task: large beside a task's cost, small enough that its operands stay in the first-level caches.
pub(crate) const CHUNK: usize = 1 << 14;

/// A vector of `n` elements, filled in parallel by `f(offset, chunk)` in chunks of `chunk` elements.
pub(crate) fn fill_chunks<T: Real>(n: usize, chunk: usize, f: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
    let mut out = buffer(n);
    let run = |(i, part): (usize, &mut [T])| {
        vectorize(
            #[inline(always)]
            || f(i * chunk, part),
        )
    };
    if n > chunk && chunk > 0 {
        out.par_chunks_mut(chunk).enumerate().for_each(run);
    } else if n > 0 {
        run((0, &mut out));
    }
    out
}

/// How many rows of `row` elements make a task.
pub(crate) fn rows_per_chunk(row: usize) -> usize {
    (CHUNK / row.max(1)).max(1)
}

/// A vector of `n` elements in rows of `row`, filled in parallel by `f(offset, row)`.
pub(crate) fn fill_rows<T: Real>(n: usize, row: usize, f: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
    fill_chunks(
        n,
        rows_per_chunk(row) * row,
        #[inline(always)]
        |start, part| {
            for (i, out) in part.chunks_exact_mut(row).enumerate() {
                f(start + i * row, out);
            }
        },
    )
}

/// Both sums of `f` over pairs of elements, in f64 and in independent lanes so that it vectorises; fixed order.
#[inline(always)]
pub(crate) fn sum_pairs<T: Real>(a: &[T], b: &[T], f: impl Fn(T, T) -> (f64, f64)) -> (f64, f64) {
    const LANES: usize = 8;
    let (mut p, mut q) = ([0.0f64; LANES], [0.0f64; LANES]);
    let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            let (u, v) = f(a[lane], b[lane]);
            p[lane] += u;
            q[lane] += v;
        }
    }
    for (lane, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        let (u, v) = f(a, b);
        p[lane] += u;
        q[lane] += v;
    }
    // Pairwise: three additions deep rather than eight, which is felt on short rows.
    for half in [4, 2, 1] {
        for lane in 0..half {
            p[lane] += p[lane + half];
            q[lane] += q[lane + half];
        }
    }
    (p[0], q[0])
}

/// Adds `partials` (each as long as `total`) in order, in f64.
pub(crate) fn add_up<T: Real>(partials: &[Vec<T>], total: &mut [T]) {
    for (i, out) in total.iter_mut().enumerate() {
        *out = T::of(partials.iter().map(|p| p[i].wide()).sum());
    }
}

/// A function of two elements; implementations are `#[inline(always)]`.
pub(crate) trait Binary {
    const NAME: &'static str;
    fn eval<T: Real>(a: T, b: T) -> T;
}

/// `K` element by element, on contiguous tensors of the same shape.
pub(crate) fn zip2<K: Binary>(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let shape = a.shape();
    with_slices!(K::NAME, [a, b], T => {
        let out = fill_chunks(a.len(), CHUNK, #[inline(always)] |start, out| {
            let n = out.len();
            let (a, b) = (&a[start..start + n], &b[start..start + n]);
            for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
                *out = K::eval::<T>(a, b);
            }
        });
        Ok(tensor(out, shape))
    })
}

/// A function of three elements; implementations are `#[inline(always)]`.
pub(crate) trait Ternary {
    const NAME: &'static str;
    fn eval<T: Real>(a: T, b: T, c: T) -> T;
}

/// `K` element by element, on contiguous tensors of the same shape.
pub(crate) fn zip3<K: Ternary>(a: &Tensor, b: &Tensor, c: &Tensor) -> Result<Tensor> {
    let shape = a.shape();
    with_slices!(K::NAME, [a, b, c], T => {
        let out = fill_chunks(a.len(), CHUNK, #[inline(always)] |start, out| {
            let n = out.len();
            let (a, b, c) = (&a[start..start + n], &b[start..start + n], &c[start..start + n]);
            for (((out, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
                *out = K::eval::<T>(a, b, c);
            }
        });
        Ok(tensor(out, shape))
    })
}

/// The gradients of three arguments.
pub(crate) type Grads3 = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

/// A vector as candle's storage.
pub(crate) fn to_storage<T: Real>(data: Vec<T>) -> candle_core::CpuStorage {
    T::to_cpu_storage_owned(data)
}
