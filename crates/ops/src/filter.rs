//! Separable filters.

use crate::separable::{Format, add_scaled, size};
use crate::{Node, OpError};
use candle_core::{Result, Tensor};
use colormamba_cpu::with_slices;
use colormamba_cpu::{Real, tensor, vectorize};
use rayon::prelude::*;

const OP: &str = "separable_filter";
/// A task of the thread pool takes at least this many rows.
const ROWS: usize = 16;

/// Correlates every channel of `x` `(B, C, H, W)` with the outer product of `taps` (n) with itself, where it fits inside
/// the image: `y[i, j] = Σ taps[a] taps[b] x[i + a, j + b]`, `(B, C, H - n + 1, W - n + 1)`.
///
/// # Errors
/// [`OpError::Argument`] without taps, [`OpError::Shape`] if `x` has other than four dimensions or is smaller than `taps`.
pub fn separable_filter(x: impl Into<Node>, taps: &[f64]) -> Result<Node> {
    if taps.is_empty() {
        return Err(OpError::argument(OP, "there must be at least one tap"));
    }
    let x = x.into().contiguous()?;
    size(OP, &x, Format::Image, taps.len())?;
    let y = filter(x.value(), taps, false)?;
    let taps = taps.to_vec();
    Node::new(y, [&x], move |grad| Ok([Some(filter(grad, &taps, true)?)]))
}

/// The filter, or its adjoint: a full convolution, which enlarges the image again.
fn filter(x: &Tensor, taps: &[f64], adjoint: bool) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    let margin = taps.len() - 1;
    let resized = |n: usize| if adjoint { n + margin } else { n - margin };
    let (y_h, y_w) = (resized(h), resized(w));
    with_slices!(OP, [x], T => {
        let taps: Vec<T> = taps.iter().map(|&t| T::of(t)).collect();
        let mut y = vec![T::ZERO; b * c * y_h * y_w];
        y.par_chunks_mut(y_w).enumerate().with_min_len(ROWS).for_each_init(
            || vec![T::ZERO; w],
            |mixed, (row, y)| {
                let (plane, i) = (&x[row / y_h * h * w..][..h * w], row % y_h);
                vectorize(
                    #[inline(always)]
                    || if adjoint { spread(plane, i, &taps, mixed, y) } else { gather(plane, i, &taps, mixed, y) },
                );
            },
        );
        Ok(tensor(y, (b, c, y_h, y_w)))
    })
}

/// Row `i` of the filtered plane.
#[inline(always)]
fn gather<T: Real>(plane: &[T], i: usize, taps: &[T], mixed: &mut [T], y: &mut [T]) {
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
fn spread<T: Real>(plane: &[T], i: usize, taps: &[T], mixed: &mut [T], y: &mut [T]) {
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
