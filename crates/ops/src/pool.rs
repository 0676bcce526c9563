//! Pooling.

use crate::memory::buffer;
use crate::separable::{Axis, Format, separable, size};
use crate::{Node, OpError};
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, tensor, vectorize, with_slices};
use colormamba_cuda::applies;
use rayon::prelude::*;

const MAX_POOL: &str = "max_pool2d";

/// The mean of each 2x2 block of `x` `(B, C, H, W)`: `(B, C, H/2, W/2)`; an odd last row or column is left out.
///
/// # Errors
/// [`OpError::Shape`] if `x` has other than four dimensions or is smaller than 2x2.
pub fn avg_pool2d(x: impl Into<Node>) -> Result<Node> {
    const OP: &str = "avg_pool2d";
    let x = x.into();
    let (h, w) = size(OP, &x, Format::Image, 2)?;
    let axis = |n: usize| Axis::new(n, (0..n / 2).map(|i| [(2 * i, 0.5), (2 * i + 1, 0.5)]));
    separable(OP, &x, Format::Image, axis(h), axis(w))
}

/// Averages the token map `x` `(B, H, W, C)` over `side` x `side` bins: `(B, side², C)`, rows of bins first.
///
/// Bin `i` of an axis of length `n` is `floor(i n / side) .. ceil((i + 1) n / side)`, so that bins may overlap and `n`
/// may be smaller than `side` (PyTorch's `AdaptiveAvgPool2d`).
///
/// # Errors
/// [`OpError::Shape`] if `x` has other than four dimensions or no tokens, [`OpError::Argument`] if `side` is 0.
pub fn adaptive_avg_pool_tokens(x: impl Into<Node>, side: usize) -> Result<Node> {
    const OP: &str = "adaptive_avg_pool_tokens";
    let x = x.into();
    let (h, w) = size(OP, &x, Format::Tokens, 1)?;
    let (batch, channels) = (x.dims()[0], x.dims()[3]);
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
    separable(OP, &x, Format::Tokens, axis(h), axis(w))?.reshape((batch, side * side, channels))
}

/// Blurs `x` `(B, C, H, W)` by the taps 1/4, 1/2, 1/4 along both axes and keeps every second pixel, from the first on:
/// `(B, C, ⌊(H + 1)/2⌋ + 1, ⌊(W + 1)/2⌋ + 1)`. Around the image are two pixels of it, mirrored about the border pixels,
/// which are not repeated.
///
/// Source: Zhang, "Making convolutional networks shift-invariant again", ICML 2019, arXiv 1904.11486; with so wide a
/// border: Ghildyal, Liu, ECCV 2022, arXiv 2207.13686.
///
/// # Errors
/// [`OpError::Shape`] if `x` has other than four dimensions or is smaller than 3x3.
pub fn blur_pool2d(x: impl Into<Node>) -> Result<Node> {
    const OP: &str = "blur_pool2d";
    const TAPS: [f64; 3] = [0.25, 0.5, 0.25];
    let x = x.into();
    let (h, w) = size(OP, &x, Format::Image, 3)?;
    let axis = |n: usize| {
        let mirrored = move |i: usize| (n - 1) - (n - 1).abs_diff(i.abs_diff(2));
        Axis::new(
            n,
            (0..n.div_ceil(2) + 1)
                .map(move |i| TAPS.iter().enumerate().map(move |(tap, w)| (mirrored(2 * i + tap), *w))),
        )
    };
    separable(OP, &x, Format::Image, axis(h), axis(w))
}

/// The maximum of each 2x2 block of `x` `(B, C, H, W)`: `(B, C, H/2, W/2)`; an odd last row or column is left out.
///
/// The gradient goes to the block's first maximum in row-major order. A NaN counts as the maximum.
///
/// # Errors
/// [`OpError::Shape`] if `x` has other than four dimensions or is smaller than 2x2.
pub fn max_pool2d(x: impl Into<Node>) -> Result<Node> {
    let x = x.into().contiguous()?;
    let (h, w) = size(MAX_POOL, &x, Format::Image, 2)?;
    if applies(x.value()) {
        return crate::windows::cuda::max_pool(&x, 2, 2, (h / 2, w / 2));
    }
    let (y, places) = max_pool(x.value(), h, w)?;
    Node::new(y, [&x], move |grad| Ok([Some(max_pool_gradient(grad, &places, h, w)?)]))
}

/// The maxima of all blocks, and where in each the maximum stands: the gradient needs no more of the input.
fn max_pool(x: &Tensor, h: usize, w: usize) -> Result<(Tensor, Vec<u8>)> {
    let (b, c, ..) = x.dims4()?;
    with_slices!(MAX_POOL, [x], T => {
        let (y, places) = maxima::<T>(x, h, w);
        Ok((tensor(y, (b, c, h / 2, w / 2)), places))
    })
}

fn maxima<T: Real>(x: &[T], h: usize, w: usize) -> (Vec<T>, Vec<u8>) {
    let area = (h / 2) * (w / 2);
    let mut y = buffer(x.len() / (h * w) * area);
    let mut places = vec![0; y.len()];
    let outputs = y.par_chunks_mut(area).zip(places.par_chunks_mut(area));
    outputs.zip(x.par_chunks(h * w)).for_each(|((y, places), x)| {
        vectorize(
            #[inline(always)]
            || {
                let outputs = y.chunks_exact_mut(w / 2).zip(places.chunks_exact_mut(w / 2));
                for ((y, places), rows) in outputs.zip(x.chunks_exact(2 * w)) {
                    let (top, bottom) = rows.split_at(w);
                    let blocks = top.as_chunks::<2>().0.iter().zip(bottom.as_chunks::<2>().0);
                    for ((y, place), (t, b)) in y.iter_mut().zip(places).zip(blocks) {
                        (*y, *place) = first_maximum([t[0], t[1], b[0], b[1]]);
                    }
                }
            },
        );
    });
    (y, places)
}

/// The first maximum of a 2x2 block, and its position (0 to 3, row-major).
#[inline(always)]
fn first_maximum<T: Real>(block: [T; 4]) -> (T, u8) {
    let (mut maximum, mut place) = (block[0], 0);
    for (i, &x) in (0..).zip(&block).skip(1) {
        // Only a NaN differs from itself; no number is larger than it afterwards.
        #[allow(clippy::eq_op)]
        let is_larger = x > maximum || x != x;
        (maximum, place) = if is_larger { (x, i) } else { (maximum, place) };
    }
    (maximum, place)
}

/// The gradient of an input `h` high and `w` wide.
fn max_pool_gradient(grad: &Tensor, places: &[u8], h: usize, w: usize) -> Result<Tensor> {
    let (b, c, ..) = grad.dims4()?;
    with_slices!(MAX_POOL, [grad], T => Ok(tensor(scattered::<T>(grad, places, h, w), (b, c, h, w))))
}

fn scattered<T: Real>(grad: &[T], places: &[u8], h: usize, w: usize) -> Vec<T> {
    let area = (h / 2) * (w / 2);
    let mut dx = buffer(grad.len() / area * h * w);
    dx.par_chunks_mut(h * w).zip(grad.par_chunks(area).zip(places.par_chunks(area))).for_each(
        |(dx, (grad, places))| {
            vectorize(
                #[inline(always)]
                || {
                    let (blocks, rest) = dx.split_at_mut(h / 2 * 2 * w);
                    rest.fill(T::ZERO);
                    let sources = grad.chunks_exact(w / 2).zip(places.chunks_exact(w / 2));
                    for (rows, (grad, places)) in blocks.chunks_exact_mut(2 * w).zip(sources) {
                        let (top, bottom) = rows.split_at_mut(w);
                        scatter_row(grad, places, 0, top);
                        scatter_row(grad, places, 2, bottom);
                    }
                },
            );
        },
    );
    dx
}

/// A row of the input's gradient, whose pixels are the positions `first` and `first + 1` of their blocks.
#[inline(always)]
fn scatter_row<T: Real>(grad: &[T], places: &[u8], first: u8, dx: &mut [T]) {
    let (pairs, rest) = dx.as_chunks_mut::<2>();
    for ((pair, &grad), &place) in pairs.iter_mut().zip(grad).zip(places) {
        *pair = [0, 1].map(|i| if place == first + i { grad } else { T::ZERO });
    }
    rest.fill(T::ZERO);
}
