//! Resizing of images.

use crate::separable::{Axis, Format, separable, size};
use crate::{Node, OpError};
use candle_core::Result;

/// Enlarges `x` `(B, C, H, W)` to `(B, C, H·factor, W·factor)` by bilinear interpolation with aligned corners: output
/// `i` of `n` samples position `i (H - 1) / (n - 1)`. The gradient is the exact adjoint.
///
/// # Errors
/// [`OpError::Shape`] if `x` has other than four dimensions or no pixels, [`OpError::Argument`] if `factor` is 0.
pub fn upsample_bilinear2d(x: impl Into<Node>, factor: usize) -> Result<Node> {
    const OP: &str = "upsample_bilinear2d";
    let x = x.into();
    let (h, w) = size(OP, &x, Format::Image, 1)?;
    if factor == 0 {
        return Err(OpError::argument(OP, "factor must be at least 1"));
    }
    separable(OP, &x, Format::Image, bilinear(h, h * factor), bilinear(w, w * factor))
}

/// Resizes `x` `(B, C, H, W)` to `(B, C, h, w)` by bilinear interpolation between the centres of pixels: output `i` of
/// `h` samples position `(i + 1/2) H / h − 1/2`, where positions beyond the first and the last centre count as these
/// (PyTorch's mode "bilinear" with `align_corners=False`). Nothing is smoothed before an image is made smaller. The
/// gradient is the exact adjoint.
///
/// # Errors
/// [`OpError::Shape`] if `x` has other than four dimensions or no pixels, [`OpError::Argument`] if `h` or `w` is 0.
pub fn resize_bilinear2d(x: impl Into<Node>, h: usize, w: usize) -> Result<Node> {
    resized("resize_bilinear2d", x.into(), (h, w), between_centres)
}

/// Resizes `x` `(B, C, H, W)` to `(B, C, h, w)`; output row `i` copies input row `floor(i H / h)`, columns alike
/// (PyTorch's mode "nearest"). The gradient of an input pixel is the sum over its copies.
///
/// # Errors
/// [`OpError::Shape`] if `x` has other than four dimensions or no pixels, [`OpError::Argument`] if `h` or `w` is 0.
pub fn resize_nearest2d(x: impl Into<Node>, h: usize, w: usize) -> Result<Node> {
    resized("resize_nearest2d", x.into(), (h, w), nearest)
}

/// Resizes to height and width `(h, w)` by what `axis(inputs, outputs)` makes of an axis.
fn resized(op: &'static str, x: Node, (h, w): (usize, usize), axis: fn(usize, usize) -> Axis) -> Result<Node> {
    let (height, width) = size(op, &x, Format::Image, 1)?;
    if h == 0 || w == 0 {
        return Err(OpError::argument(op, format!("the target size {h}x{w} has no pixels")));
    }
    separable(op, &x, Format::Image, axis(height, h), axis(width, w))
}

fn nearest(inputs: usize, outputs: usize) -> Axis {
    Axis::select(inputs, (0..outputs).map(|i| i * inputs / outputs))
}

fn bilinear(inputs: usize, outputs: usize) -> Axis {
    let steps = (outputs - 1).max(1);
    Axis::new(inputs, (0..outputs).map(|i| interpolated(inputs, i * (inputs - 1), steps)))
}

fn between_centres(inputs: usize, outputs: usize) -> Axis {
    let position = |i: usize| ((2 * i + 1) * inputs).saturating_sub(outputs);
    Axis::new(inputs, (0..outputs).map(|i| interpolated(inputs, position(i), 2 * outputs)))
}

/// The pixels at the position `numerator / denominator`, or the last one alone, with their weights. Integer arithmetic,
/// so that positions which fall on a pixel take it alone.
fn interpolated(inputs: usize, numerator: usize, denominator: usize) -> impl Iterator<Item = (usize, f64)> {
    let (lower, rest) = (numerator / denominator, numerator % denominator);
    let rest = if lower + 1 < inputs { rest } else { 0 };
    let upper = rest as f64 / denominator as f64;
    let second = (rest > 0).then_some((lower + 1, upper));
    std::iter::once((lower, 1.0 - upper)).chain(second)
}
