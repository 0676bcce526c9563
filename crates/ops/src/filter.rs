//! Separable filters.

use crate::separable::{Format, add_scaled, size};
use crate::{OpError, cpu, dispatch_real};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType};
use rayon::prelude::*;

const OP: &str = "separable_filter";
/// A task of the thread pool takes at least this many rows.
const ROWS: usize = 16;

/// Correlates every channel of `x` `(B, C, H, W)` with the outer product of `taps` (n) with itself, where it fits inside
/// the image: `y[i, j] = Σ taps[a] taps[b] x[i + a, j + b]`, `(B, C, H - n + 1, W - n + 1)`.
///
/// # Errors
/// [`OpError::Argument`] without taps, [`OpError::Shape`] if `x` has other than four dimensions or is smaller than `taps`.
pub fn separable_filter(x: &Tensor, taps: &[f64]) -> Result<Tensor> {
    if taps.is_empty() {
        return Err(OpError::argument(OP, "there must be at least one tap"));
    }
    size(OP, x, Format::Image, taps.len())?;
    x.contiguous()?.apply_op1(Filter { taps: taps.to_vec(), adjoint: false })
}

/// The filter, or its adjoint: a full convolution, which enlarges the image again.
struct Filter {
    taps: Vec<f64>,
    adjoint: bool,
}

impl CustomOp1 for Filter {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, c, h, w) = layout.shape().dims4()?;
        let margin = self.taps.len() - 1;
        let resized = |n: usize| if self.adjoint { n + margin } else { n - margin };
        let shape = Shape::from((b, c, resized(h), resized(w)));
        dispatch_real!(OP, storage, T => {
            let taps: Vec<T> = self.taps.iter().map(|&t| t as T).collect();
            let x = cpu::slice::<T>(OP, storage, layout)?;
            let mut y = vec![0 as T; shape.elem_count()];
            let (y_h, y_w) = (resized(h), resized(w));
            y.par_chunks_mut(y_w).enumerate().with_min_len(ROWS).for_each_init(
                || vec![0 as T; w],
                |mixed, (row, y)| {
                    let plane = &x[row / y_h * h * w..][..h * w];
                    let i = row % y_h;
                    cpu::vectorize(#[inline(always)] || if self.adjoint { spread(plane, i, &taps, mixed, y) } else { gather(plane, i, &taps, mixed, y) });
                },
            );
            Ok((T::to_cpu_storage_owned(y), shape))
        })
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let adjoint = Self { taps: self.taps.clone(), adjoint: true };
        grad.contiguous()?.apply_op1_no_bwd(&adjoint).map(Some)
    }
}

/// Row `i` of the filtered plane.
#[inline(always)]
fn gather<T: cpu::Real>(plane: &[T], i: usize, taps: &[T], mixed: &mut [T], y: &mut [T]) {
    let w = mixed.len();
    mixed.fill(T::ZERO);
    for (a, &tap) in taps.iter().enumerate() {
        add_scaled(mixed, &plane[(i + a) * w..][..w], tap);
    }
    for (b, &tap) in taps.iter().enumerate() {
        add_scaled(y, &mixed[b..], tap);
    }
}

/// Row `i` of the adjoint.
#[inline(always)]
fn spread<T: cpu::Real>(plane: &[T], i: usize, taps: &[T], mixed: &mut [T], y: &mut [T]) {
    let w = mixed.len();
    mixed.fill(T::ZERO);
    for (a, &tap) in taps.iter().enumerate() {
        if let Some(row) = i.checked_sub(a).and_then(|row| plane.get(row * w..(row + 1) * w)) {
            add_scaled(mixed, row, tap);
        }
    }
    for (b, &tap) in taps.iter().enumerate() {
        add_scaled(&mut y[b..], mixed, tap);
    }
}
