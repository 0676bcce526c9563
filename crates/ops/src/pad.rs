//! Padding and cropping.

use crate::separable::{Axis, Format, separable, size};
use crate::{Node, OpError};
use candle_core::Result;

/// Pads `x` `(B, C, H, W)` by `p` pixels on every side with the nearest pixel of the image.
///
/// # Errors
/// [`OpError::Shape`] if `x` has other than four dimensions or no pixels.
pub fn replicate_pad2d(x: impl Into<Node>, p: usize) -> Result<Node> {
    const OP: &str = "replicate_pad2d";
    let x = x.into();
    let (h, w) = size(OP, &x, Format::Image, 1)?;
    let axis = |n: usize| Axis::select(n, (0..n + 2 * p).map(|i| i.saturating_sub(p).min(n - 1)));
    separable(OP, &x, Format::Image, axis(h), axis(w))
}

/// Pads `x` `(B, C, H, W)` by `p` pixels on every side with the image mirrored about its border pixels, which are not
/// repeated.
///
/// # Errors
/// [`OpError::Shape`] if `x` has other than four dimensions or no pixels, [`OpError::Argument`] if `p` is not smaller
/// than both height and width.
pub fn reflect_pad2d(x: impl Into<Node>, p: usize) -> Result<Node> {
    const OP: &str = "reflect_pad2d";
    let x = x.into();
    let (h, w) = size(OP, &x, Format::Image, 1)?;
    if p >= h.min(w) {
        return Err(OpError::argument(OP, format!("padding {p} must be smaller than the image, {h}x{w}")));
    }
    let axis = |n: usize| {
        let mirrored = |i: usize| (n - 1) - (n - 1).abs_diff(i.abs_diff(p));
        Axis::select(n, (0..n + 2 * p).map(mirrored))
    };
    separable(OP, &x, Format::Image, axis(h), axis(w))
}

/// Surrounds `x` `(B, C, H, W)` by zeros, so many on each side: `(B, C, top + H + bottom, left + W + right)`.
///
/// # Errors
/// [`OpError::Shape`] if `x` has other than four dimensions or no pixels.
pub fn pad2d(x: impl Into<Node>, [top, bottom, left, right]: [usize; 4]) -> Result<Node> {
    const OP: &str = "pad2d";
    let x = x.into();
    let (h, w) = size(OP, &x, Format::Image, 1)?;
    let axis = |before: usize, n: usize, after: usize| {
        let row = move |i: usize| i.checked_sub(before).filter(|i| *i < n).map(|i| (i, 1.0));
        Axis::new(n, (0..before + n + after).map(row))
    };
    separable(OP, &x, Format::Image, axis(top, h, bottom), axis(left, w, right))
}

/// Surrounds the token map `x` `(B, H, W, C)` by one ring of zeros: `(B, H + 2, W + 2, C)`.
///
/// # Errors
/// [`OpError::Shape`] if `x` has other than four dimensions or no tokens.
pub fn zero_ring(x: impl Into<Node>) -> Result<Node> {
    const OP: &str = "zero_ring";
    let x = x.into();
    let (h, w) = size(OP, &x, Format::Tokens, 1)?;
    let axis = |n: usize| {
        let row = |i: usize| (1..=n).contains(&i).then(|| (i - 1, 1.0));
        Axis::new(n, (0..n + 2).map(row))
    };
    separable(OP, &x, Format::Tokens, axis(h), axis(w))
}

/// Removes the outermost ring of the token map `x` `(B, H + 2, W + 2, C)`: `(B, H, W, C)`, the inverse of [`zero_ring`].
///
/// # Errors
/// [`OpError::Shape`] if `x` has other than four dimensions or nothing inside the ring.
pub fn crop_ring(x: impl Into<Node>) -> Result<Node> {
    const OP: &str = "crop_ring";
    let x = x.into();
    let (h, w) = size(OP, &x, Format::Tokens, 3)?;
    let axis = |n: usize| Axis::select(n, 1..n - 1);
    separable(OP, &x, Format::Tokens, axis(h), axis(w))
}
