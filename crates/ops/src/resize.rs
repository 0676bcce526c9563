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

/// Resizes `x` `(B, C, H, W)` to `(B, C, h, w)`; output row `i` copies input row `floor(i H / h)`, columns alike
/// (PyTorch's mode "nearest"). The gradient of an input pixel is the sum over its copies.
///
/// # Errors
/// [`OpError::Shape`] if `x` has other than four dimensions or no pixels, [`OpError::Argument`] if `h` or `w` is 0.
pub fn resize_nearest2d(x: impl Into<Node>, h: usize, w: usize) -> Result<Node> {
    const OP: &str = "resize_nearest2d";
    let x = x.into();
    let (height, width) = size(OP, &x, Format::Image, 1)?;
    if h == 0 || w == 0 {
        return Err(OpError::argument(OP, format!("the target size {h}x{w} has no pixels")));
    }
    separable(OP, &x, Format::Image, nearest(height, h), nearest(width, w))
}

fn nearest(inputs: usize, outputs: usize) -> Axis {
    Axis::select(inputs, (0..outputs).map(|i| i * inputs / outputs))
}

/// Integer arithmetic, so that positions which fall on a pixel take it alone.
fn bilinear(inputs: usize, outputs: usize) -> Axis {
    let steps = (outputs - 1).max(1);
    let row = |i: usize| {
        let (lower, rest) = (i * (inputs - 1) / steps, i * (inputs - 1) % steps);
        let upper = rest as f64 / steps as f64;
        let second = (rest > 0).then_some((lower + 1, upper));
        std::iter::once((lower, 1.0 - upper)).chain(second)
    };
    Axis::new(inputs, (0..outputs).map(row))
}
