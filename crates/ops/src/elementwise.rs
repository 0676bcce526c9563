//! Sums and modulations in one multi-threaded pass, where candle would take several single-threaded ones.

use crate::operands::{check_type, check_types};
use crate::pointwise::{Binary, add_up, fill_rows, rows_per_chunk, zip2};
use crate::{Node, OpError, sums};
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, tensor, vectorize, with_slices};
use colormamba_cuda::applies;
use rayon::prelude::*;

/// `a` + `b`, both of the same shape.
///
/// # Errors
/// [`OpError::Shape`] if the shapes differ, [`OpError::DType`] for [other types](crate#types).
pub fn add(a: impl Into<Node>, b: impl Into<Node>) -> Result<Node> {
    let (a, b) = (a.into().contiguous()?, b.into().contiguous()?);
    same_shape(Add::NAME, &a, &b)?;
    let y = sum(a.value(), b.value())?;
    let (for_a, for_b) = (a.is_tracked(), b.is_tracked());
    Node::new(y, [&a, &b], move |grad| Ok([for_a.then(|| grad.clone()), for_b.then(|| grad.clone())]))
}

/// The sum of contiguous tensors.
pub(crate) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    zip2::<Add>(a, b)
}

/// `x` · `s` + `y` with `x` and `y` `(.., C)` and `s` `(C)`.
///
/// # Errors
/// [`OpError::Shape`] if the shapes do not fit, [`OpError::DType`] for [other types](crate#types).
pub fn scale_add(x: impl Into<Node>, s: impl Into<Node>, y: impl Into<Node>) -> Result<Node> {
    const OP: &str = "scale_add";
    let (x, s, y) = (x.into().contiguous()?, s.into().contiguous()?, y.into().contiguous()?);
    same_shape(OP, &x, &y)?;
    if x.dims().is_empty() || s.dims() != &x.dims()[x.dims().len() - 1..] {
        let expected = format!("a scale per entry of the last dimension of {:?}", x.dims());
        return Err(OpError::shape(OP, expected, s.shape()));
    }
    check_type(OP, x.value(), "scale", s.value())?;
    let (xv, sv) = (x.value().clone(), s.value().clone());
    let out = scaled_sum(&xv, &sv, y.value())?;
    let (for_x, for_s, for_y) = (x.is_tracked(), s.is_tracked(), y.is_tracked());
    Node::new(out, [&x, &s, &y], move |grad| {
        let dx = for_x.then(|| scaled(grad, &sv)).transpose()?;
        let ds = for_s.then(|| products(&xv, grad)).transpose()?;
        Ok([dx, ds, for_y.then(|| grad.clone())])
    })
}

/// Maps `(B, C, H, W)`, each times a constant of `factors` `(B, C)`, or of `(B, 1)` for all of an image. The factors
/// get no gradient.
///
/// # Errors
/// [`OpError::Shape`] if the shapes do not fit, [`OpError::DType`] for [other types](crate#types).
pub fn scale_maps(x: impl Into<Node>, factors: &Tensor) -> Result<Node> {
    const OP: &str = "scale_maps";
    let x = x.into();
    let (batch, channels, _, _) = x.dims4()?;
    if ![[batch, channels], [batch, 1]].iter().any(|dims| factors.dims() == dims) {
        return Err(OpError::shape(OP, format!("a factor for each of {batch} x {channels} maps"), factors.shape()));
    }
    check_type(OP, x.value(), "factors", factors)?;
    let factors = factors.unsqueeze(2)?.unsqueeze(3)?;
    let y = x.value().broadcast_mul(&factors)?;
    Node::new(y, [&x], move |grad| Ok([Some(grad.broadcast_mul(&factors)?)]))
}

/// Checks that both have the same shape and type.
pub(crate) fn same_shape(op: &'static str, a: &Node, b: &Node) -> Result<()> {
    if a.dims() != b.dims() {
        return Err(OpError::shape(op, format!("the shape of the first argument, {:?}", a.dims()), b.shape()));
    }
    check_types(op, &[a, b])
}

struct Add;
impl Binary for Add {
    const NAME: &'static str = "add";
    #[inline(always)]
    fn eval<T: Real>(a: T, b: T) -> T {
        a + b
    }
}

/// x · s + y with s per entry of the last dimension.
fn scaled_sum(x: &Tensor, s: &Tensor, y: &Tensor) -> Result<Tensor> {
    if applies(x) {
        return cuda::scale_add(x, s, Some(y));
    }
    let shape = x.shape();
    with_slices!("scale_add", [x, s, y], T => {
        let out = fill_rows(x.len(), s.len(), #[inline(always)] |start, out: &mut [T]| {
            let end = start + out.len();
            for (((out, &x), &s), &y) in out.iter_mut().zip(&x[start..end]).zip(s).zip(&y[start..end]) {
                *out = x.mul_add(s, y);
            }
        });
        Ok(tensor(out, shape))
    })
}

/// x · s with s per entry of the last dimension.
fn scaled(x: &Tensor, s: &Tensor) -> Result<Tensor> {
    if applies(x) {
        return cuda::scale_add(x, s, None);
    }
    let shape = x.shape();
    with_slices!("scale_add", [x, s], T => {
        let out = fill_rows(x.len(), s.len(), #[inline(always)] |start, out: &mut [T]| {
            for ((out, &x), &s) in out.iter_mut().zip(&x[start..]).zip(s) {
                *out = x * s;
            }
        });
        Ok(tensor(out, shape))
    })
}

/// Σ x · g over all but the last dimension.
fn products(x: &Tensor, g: &Tensor) -> Result<Tensor> {
    let row = x.dims().last().copied().unwrap_or(1);
    if applies(x) {
        return sums::cuda::product_sums(x, g, row);
    }
    with_slices!("scale_add", [x, g], T => Ok(tensor(column_sums::<T>(x, g, row), row)))
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

mod cuda {
    use crate::pointwise::cuda::over;
    use candle_core::{Result, Tensor};
    use colormamba_cuda::DeviceMemory;

    /// x · s, plus y if there is one.
    pub(super) fn scale_add(x: &Tensor, s: &Tensor, y: Option<&Tensor>) -> Result<Tensor> {
        let mut out = DeviceMemory::like(x)?;
        let launch = over("scale_add", x).input(x).input(s).maybe(y).output(&mut out);
        launch.size(x.elem_count()).size(s.elem_count()).run()?;
        out.tensor(x.shape())
    }
}
