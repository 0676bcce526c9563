//! Pooling.

use crate::separable::{Axis, Format, separable, size};
use crate::{OpError, cpu, dispatch_real};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, WithDType};
use rayon::prelude::*;

const MAX_POOL: &str = "max_pool2d";

/// The mean of each 2x2 block of `x` `(B, C, H, W)`: `(B, C, H/2, W/2)`; an odd last row or column is left out.
///
/// # Errors
/// [`OpError::Shape`] if `x` has other than four dimensions or is smaller than 2x2.
pub fn avg_pool2d(x: &Tensor) -> Result<Tensor> {
    const OP: &str = "avg_pool2d";
    let (h, w) = size(OP, x, Format::Image, 2)?;
    let axis = |n: usize| Axis::new(n, (0..n / 2).map(|i| [(2 * i, 0.5), (2 * i + 1, 0.5)]));
    separable(OP, x, Format::Image, axis(h), axis(w))
}

/// Averages the token map `x` `(B, H, W, C)` over `side` x `side` bins: `(B, side², C)`, rows of bins first.
///
/// Bin `i` of an axis of length `n` is `floor(i n / side) .. ceil((i + 1) n / side)`, so that bins may overlap and `n`
/// may be smaller than `side` (PyTorch's `AdaptiveAvgPool2d`).
///
/// # Errors
/// [`OpError::Shape`] if `x` has other than four dimensions or no tokens, [`OpError::Argument`] if `side` is 0.
pub fn adaptive_avg_pool_tokens(x: &Tensor, side: usize) -> Result<Tensor> {
    const OP: &str = "adaptive_avg_pool_tokens";
    let (h, w) = size(OP, x, Format::Tokens, 1)?;
    if side == 0 {
        return Err(OpError::argument(OP, "side must be at least 1"));
    }
    let axis = |n: usize| {
        let bin = |i: usize| {
            let range = i * n / side..((i + 1) * n).div_ceil(side);
            let weight = 1.0 / range.len() as f64;
            range.map(move |j| (j, weight))
        };
        Axis::new(n, (0..side).map(bin))
    };
    separable(OP, x, Format::Tokens, axis(h), axis(w))?.flatten(1, 2)
}

/// The maximum of each 2x2 block of `x` `(B, C, H, W)`: `(B, C, H/2, W/2)`; an odd last row or column is left out.
///
/// The gradient goes to the block's first maximum in row-major order. A NaN counts as the maximum.
///
/// # Errors
/// [`OpError::Shape`] if `x` has other than four dimensions or is smaller than 2x2.
pub fn max_pool2d(x: &Tensor) -> Result<Tensor> {
    size(MAX_POOL, x, Format::Image, 2)?;
    x.contiguous()?.apply_op1(MaxPool)
}

/// The shape after pooling, and height and width before.
fn pooled(layout: &Layout) -> Result<(Shape, usize, usize)> {
    let (b, c, h, w) = layout.shape().dims4()?;
    Ok((Shape::from((b, c, h / 2, w / 2)), h, w))
}

/// Position (0 to 3, row-major) of the first maximum of a 2x2 block.
#[inline(always)]
fn first_maximum<T: cpu::Real>(block: [T; 4]) -> usize {
    let mut best = 0;
    for i in 1..4 {
        // Only a NaN differs from itself; no number is larger than it afterwards.
        #[allow(clippy::eq_op)]
        let is_nan = block[i] != block[i];
        if block[i] > block[best] || is_nan {
            best = i;
        }
    }
    best
}

struct MaxPool;

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        MAX_POOL
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (shape, h, w) = pooled(layout)?;
        dispatch_real!(MAX_POOL, storage, T => {
            let mut y = cpu::buffer(shape.elem_count());
            max_pool::<T>(cpu::slice(MAX_POOL, storage, layout)?, h, w, &mut y);
            Ok((<T as WithDType>::to_cpu_storage_owned(y), shape))
        })
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        x.apply_op2_no_bwd(&grad.contiguous()?, &MaxPoolGradient).map(Some)
    }
}

fn max_pool<T: cpu::Real>(x: &[T], h: usize, w: usize, y: &mut [T]) {
    y.par_chunks_mut((h / 2) * (w / 2)).zip(x.par_chunks(h * w)).for_each(|(y, x)| {
        cpu::vectorize(
            #[inline(always)]
            || {
                for (y, rows) in y.chunks_exact_mut(w / 2).zip(x.chunks_exact(2 * w)) {
                    let (top, bottom) = rows.split_at(w);
                    for ((y, t), b) in y.iter_mut().zip(top.chunks_exact(2)).zip(bottom.chunks_exact(2)) {
                        let block = [t[0], t[1], b[0], b[1]];
                        *y = block[first_maximum(block)];
                    }
                }
            },
        );
    });
}

struct MaxPoolGradient;

impl CustomOp2 for MaxPoolGradient {
    fn name(&self) -> &'static str {
        MAX_POOL
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, h, w) = pooled(l1)?;
        dispatch_real!(MAX_POOL, s1, T => {
            let mut dx = vec![0 as T; l1.shape().elem_count()];
            max_pool_gradient::<T>(cpu::slice(MAX_POOL, s1, l1)?, cpu::slice(MAX_POOL, s2, l2)?, h, w, &mut dx);
            Ok((<T as WithDType>::to_cpu_storage_owned(dx), l1.shape().clone()))
        })
    }
}

fn max_pool_gradient<T: cpu::Real>(x: &[T], grad: &[T], h: usize, w: usize, dx: &mut [T]) {
    let grads = grad.par_chunks((h / 2) * (w / 2));
    dx.par_chunks_mut(h * w).zip(x.par_chunks(h * w)).zip(grads).for_each(|((dx, x), grad)| {
        for (i, grad) in grad.chunks_exact(w / 2).enumerate() {
            for (j, &grad) in grad.iter().enumerate() {
                let corner = 2 * i * w + 2 * j;
                let places = [corner, corner + 1, corner + w, corner + w + 1];
                dx[places[first_maximum(places.map(|p| x[p]))]] = grad;
            }
        }
    });
}
