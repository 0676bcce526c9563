//! How the memory-bound kernels run: fixed chunks over rayon, each vectorised, and element-by-element custom operations.

use crate::cpu::{Real, buffer, slice, vectorize};
use crate::dispatch_real;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Error, Layout, Result, Shape, Tensor};
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

/// The error of a `bwd` that is never reached, since the operation only runs inside another's `bwd`.
pub(crate) fn no_gradient<R>(op: &'static str) -> Result<R> {
    Err(Error::BackwardNotSupported { op })
}

/// A function of two elements, made an operation on tensors of the same shape by [`Zip2`].
pub(crate) trait Binary: Send + Sync + 'static {
    const NAME: &'static str;
    /// The value; implementations are `#[inline(always)]`.
    fn eval<T: Real>(a: T, b: T) -> T;
    /// The gradients of both arguments, from them and the (contiguous) gradient of the result.
    fn grads(_a: &Tensor, _b: &Tensor, _grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        no_gradient(Self::NAME)
    }
}

/// [`Binary`] as an operation on contiguous tensors.
pub(crate) struct Zip2<K>(pub(crate) K);

impl<K: Binary> CustomOp2 for Zip2<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        dispatch_real!(K::NAME, s1, T => {
            let (a, b) = (slice::<T>(K::NAME, s1, l1)?, slice::<T>(K::NAME, s2, l2)?);
            let out = fill_chunks(a.len(), CHUNK, #[inline(always)] |start, out| {
                let n = out.len();
                let (a, b) = (&a[start..start + n], &b[start..start + n]);
                for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
                    *out = K::eval::<T>(a, b);
                }
            });
            Ok((to_storage(out), l1.shape().clone()))
        })
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        K::grads(a, b, &grad.contiguous()?)
    }
}

/// The gradients of three arguments.
pub(crate) type Grads3 = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

/// A function of three elements, made an operation on tensors of the same shape by [`Zip3`].
pub(crate) trait Ternary: Send + Sync + 'static {
    const NAME: &'static str;
    /// The value; implementations are `#[inline(always)]`.
    fn eval<T: Real>(a: T, b: T, c: T) -> T;
    /// The gradients of the arguments, from them and the (contiguous) gradient of the result.
    fn grads(_a: &Tensor, _b: &Tensor, _c: &Tensor, _grad: &Tensor) -> Result<Grads3> {
        no_gradient(Self::NAME)
    }
}

/// [`Ternary`] as an operation on contiguous tensors.
pub(crate) struct Zip3<K>(pub(crate) K);

impl<K: Ternary> CustomOp3 for Zip3<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        dispatch_real!(K::NAME, s1, T => {
            let (a, b) = (slice::<T>(K::NAME, s1, l1)?, slice::<T>(K::NAME, s2, l2)?);
            let c = slice::<T>(K::NAME, s3, l3)?;
            let out = fill_chunks(a.len(), CHUNK, #[inline(always)] |start, out| {
                let n = out.len();
                let (a, b, c) = (&a[start..start + n], &b[start..start + n], &c[start..start + n]);
                for (((out, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
                    *out = K::eval::<T>(a, b, c);
                }
            });
            Ok((to_storage(out), l1.shape().clone()))
        })
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, c: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Grads3> {
        K::grads(a, b, c, &grad.contiguous()?)
    }
}

/// A vector as candle's storage.
pub(crate) fn to_storage<T: Real>(data: Vec<T>) -> CpuStorage {
    T::to_cpu_storage_owned(data)
}
