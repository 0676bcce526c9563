//! Sums and modulations in one multi-threaded pass, where candle would take several single-threaded ones.

use crate::OpError;
use crate::cpu::{Real, slice, vectorize};
use crate::dispatch_real;
use crate::pointwise::{Binary, Grads3, Ternary, Zip2, Zip3, add_up, fill_rows, rows_per_chunk, to_storage};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// `a` + `b`, both of the same shape.
///
/// # Errors
/// [`OpError::Shape`] if the shapes differ, [`OpError::DType`] unless f32 or f64.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    same_shape("add", a, b)?;
    a.contiguous()?.apply_op2(&b.contiguous()?, Zip2(Add))
}

/// `xn` · (1 + `gamma`) + `beta`, all of the same shape.
///
/// # Errors
/// [`OpError::Shape`] if the shapes differ, [`OpError::DType`] unless f32 or f64.
///
/// Source: Park et al. 2019, arXiv 1903.07291, equation 1 (with the scale around 1, as in their code).
pub fn spade_modulate(xn: &Tensor, gamma: &Tensor, beta: &Tensor) -> Result<Tensor> {
    same_shape("spade_modulate", xn, gamma)?;
    same_shape("spade_modulate", xn, beta)?;
    xn.contiguous()?.apply_op3(&gamma.contiguous()?, &beta.contiguous()?, Zip3(Modulate))
}

/// `x` · `s` + `y` with `x` and `y` `(.., C)` and `s` `(C)`.
///
/// # Errors
/// [`OpError::Shape`] if the shapes do not fit, [`OpError::DType`] unless f32 or f64.
pub fn scale_add(x: &Tensor, s: &Tensor, y: &Tensor) -> Result<Tensor> {
    same_shape("scale_add", x, y)?;
    if x.rank() == 0 || s.dims() != &x.dims()[x.rank() - 1..] {
        return Err(OpError::shape(
            "scale_add",
            format!("a scale per entry of the last dimension of {:?}", x.dims()),
            s.shape(),
        ));
    }
    x.contiguous()?.apply_op3(&s.contiguous()?, &y.contiguous()?, ScaleAdd)
}

/// [`OpError::Shape`] unless both have the same shape.
pub(crate) fn same_shape(op: &'static str, a: &Tensor, b: &Tensor) -> Result<()> {
    if a.dims() == b.dims() {
        return Ok(());
    }
    Err(OpError::shape(op, format!("the shape of the first argument, {:?}", a.dims()), b.shape()))
}

struct Add;
impl Binary for Add {
    const NAME: &'static str = "add";
    #[inline(always)]
    fn eval<T: Real>(a: T, b: T) -> T {
        a + b
    }
    fn grads(a: &Tensor, b: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((a.track_op().then(|| grad.clone()), b.track_op().then(|| grad.clone())))
    }
}

struct Modulate;
impl Ternary for Modulate {
    const NAME: &'static str = "spade_modulate";
    #[inline(always)]
    fn eval<T: Real>(x: T, gamma: T, beta: T) -> T {
        x.mul_add(T::ONE + gamma, beta)
    }
    fn grads(x: &Tensor, gamma: &Tensor, beta: &Tensor, grad: &Tensor) -> Result<Grads3> {
        let dx = x.track_op().then(|| grad.apply_op2_no_bwd(gamma, &Zip2(TimesOnePlus))).transpose()?;
        let dgamma = gamma.track_op().then(|| grad.apply_op2_no_bwd(x, &Zip2(Times))).transpose()?;
        Ok((dx, dgamma, beta.track_op().then(|| grad.clone())))
    }
}

struct Times;
impl Binary for Times {
    const NAME: &'static str = "spade_modulate";
    #[inline(always)]
    fn eval<T: Real>(a: T, b: T) -> T {
        a * b
    }
}

struct TimesOnePlus;
impl Binary for TimesOnePlus {
    const NAME: &'static str = "spade_modulate";
    #[inline(always)]
    fn eval<T: Real>(a: T, b: T) -> T {
        a.mul_add(b, a)
    }
}

struct ScaleAdd;
/// x · s with s per last dimension.
struct Scale;
/// Σ x · grad over all but the last dimension.
struct ScaleGrad;

impl CustomOp3 for ScaleAdd {
    fn name(&self) -> &'static str {
        "scale_add"
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
        dispatch_real!("scale_add", s1, T => {
            let (x, s) = (slice::<T>("scale_add", s1, l1)?, slice::<T>("scale_add", s2, l2)?);
            let y = slice::<T>("scale_add", s3, l3)?;
            let out = fill_rows(x.len(), s.len(), #[inline(always)] |start, out| {
                let end = start + out.len();
                for (((out, &x), &s), &y) in out.iter_mut().zip(&x[start..end]).zip(s).zip(&y[start..end]) {
                    *out = x.mul_add(s, y);
                }
            });
            Ok((to_storage(out), l1.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, s: &Tensor, y: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Grads3> {
        let grad = grad.contiguous()?;
        let dx = x.track_op().then(|| grad.apply_op2_no_bwd(s, &Scale)).transpose()?;
        let ds = s.track_op().then(|| x.apply_op2_no_bwd(&grad, &ScaleGrad)).transpose()?;
        Ok((dx, ds, y.track_op().then_some(grad)))
    }
}

impl CustomOp2 for Scale {
    fn name(&self) -> &'static str {
        "scale_add"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        dispatch_real!("scale_add", s1, T => {
            let (g, s) = (slice::<T>("scale_add", s1, l1)?, slice::<T>("scale_add", s2, l2)?);
            let out = fill_rows(g.len(), s.len(), #[inline(always)] |start, out| {
                for ((out, &g), &s) in out.iter_mut().zip(&g[start..]).zip(s) {
                    *out = g * s;
                }
            });
            Ok((to_storage::<T>(out), l1.shape().clone()))
        })
    }
}

impl CustomOp2 for ScaleGrad {
    fn name(&self) -> &'static str {
        "scale_add"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        dispatch_real!("scale_add", s1, T => {
            let (x, g) = (slice::<T>("scale_add", s1, l1)?, slice::<T>("scale_add", s2, l2)?);
            let row = l1.dims().last().copied().unwrap_or(1);
            Ok((to_storage(column_sums::<T>(x, g, row)), Shape::from(row)))
        })
    }
}

/// Σ over rows of `x` · `g`, in fixed chunks of rows that are added in order.
fn column_sums<T: Real>(x: &[T], g: &[T], row: usize) -> Vec<T> {
    let mut total = vec![T::ZERO; row];
    if x.is_empty() {
        return total;
    }
    let chunk = rows_per_chunk(row) * row;
    let sum_chunk = |(x, g): (&[T], &[T])| {
        vectorize(
            #[inline(always)]
            || {
                let mut sum = vec![T::ZERO; row];
                for (x, g) in x.chunks_exact(row).zip(g.chunks_exact(row)) {
                    for ((sum, &x), &g) in sum.iter_mut().zip(x).zip(g) {
                        *sum = x.mul_add(g, *sum);
                    }
                }
                sum
            },
        )
    };
    let partials: Vec<Vec<T>> = x.par_chunks(chunk).zip(g.par_chunks(chunk)).map(sum_chunk).collect();
    add_up(&partials, &mut total);
    total
}
