//! Moving data: between images and token maps, and side by side along the channels.

use crate::OpError;
use crate::cpu::{Real, buffer, slice};
use crate::dispatch_real;
use crate::pointwise::{Grads3, fill_chunks, rows_per_chunk, to_storage};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// An image `(B, C, H, W)` as tokens `(B, H, W, C)`.
///
/// # Errors
/// [`OpError::Shape`] unless of rank 4, [`OpError::DType`] unless f32 or f64.
pub fn tokens_from_image(x: &Tensor) -> Result<Tensor> {
    transpose("tokens_from_image", x, Transpose::TokensFromImage)
}

/// Tokens `(B, H, W, C)` as an image `(B, C, H, W)`.
///
/// # Errors
/// [`OpError::Shape`] unless of rank 4, [`OpError::DType`] unless f32 or f64.
pub fn image_from_tokens(x: &Tensor) -> Result<Tensor> {
    transpose("image_from_tokens", x, Transpose::ImageFromTokens)
}

fn transpose(op: &'static str, x: &Tensor, kind: Transpose) -> Result<Tensor> {
    if x.rank() != 4 {
        return Err(OpError::shape(op, "a tensor of rank 4", x.shape()));
    }
    x.contiguous()?.apply_op1(kind)
}

/// The tensors `(B, C_i, ..)` side by side along dimension 1: `(B, Σ C_i, ..)`.
///
/// # Errors
/// [`OpError::Argument`] without tensors, [`OpError::Shape`] if the other dimensions differ, [`OpError::DType`] unless f32 or
/// f64.
pub fn cat_channels(xs: &[&Tensor]) -> Result<Tensor> {
    let Some(first) = xs.first() else {
        return Err(OpError::argument("cat_channels", "nothing to concatenate"));
    };
    for x in xs {
        if x.rank() < 2
            || x.rank() != first.rank()
            || x.dims()[0] != first.dims()[0]
            || x.dims()[2..] != first.dims()[2..]
        {
            let expected = format!("{:?} but for the size of dimension 1", first.dims());
            return Err(OpError::shape("cat_channels", expected, x.shape()));
        }
    }
    cat(xs.iter().map(|x| x.contiguous()).collect::<Result<_>>()?)
}

/// Custom operations take up to three tensors; more are joined three at a time.
fn cat(mut xs: Vec<Tensor>) -> Result<Tensor> {
    match xs.as_slice() {
        [a, b] => a.apply_op2(b, Cat),
        [a, b, c] => a.apply_op3(b, c, Cat),
        [a, b, c, ..] => {
            let joined = a.apply_op3(b, c, Cat)?;
            xs.splice(..3, [joined]);
            cat(xs)
        }
        _ => Ok(xs.swap_remove(0)),
    }
}

#[derive(Clone, Copy)]
enum Transpose {
    TokensFromImage,
    ImageFromTokens,
}

impl CustomOp1 for Transpose {
    fn name(&self) -> &'static str {
        match self {
            Self::TokensFromImage => "tokens_from_image",
            Self::ImageFromTokens => "image_from_tokens",
        }
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, d1, d2, d3) = l.shape().dims4()?;
        let (rows, columns, shape) = match self {
            Self::TokensFromImage => (d1, d2 * d3, Shape::from((b, d2, d3, d1))),
            Self::ImageFromTokens => (d1 * d2, d3, Shape::from((b, d3, d1, d2))),
        };
        dispatch_real!(self.name(), s, T => {
            let x = slice::<T>(self.name(), s, l)?;
            Ok((to_storage(transposed::<T>(x, rows, columns)), shape))
        })
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let back = match self {
            Self::TokensFromImage => Self::ImageFromTokens,
            Self::ImageFromTokens => Self::TokensFromImage,
        };
        grad.contiguous()?.apply_op1_no_bwd(&back).map(Some)
    }
}

/// Side of the square tiles of a transpose: 16 f32 are a cache line.
const TILE: usize = 16;

/// Every `(rows, columns)` matrix of `x` as `(columns, rows)`.
fn transposed<T: Real>(x: &[T], rows: usize, columns: usize) -> Vec<T> {
    let chunk = rows_per_chunk(rows).next_multiple_of(TILE) * rows;
    fill_chunks(
        x.len(),
        chunk,
        #[inline(always)]
        |start, out| {
            let mut line = start / rows;
            let mut out = out;
            while !out.is_empty() {
                let (matrix, column) = (line / columns, line % columns);
                // A band of lines ends with the matrix, if not before.
                let height = TILE.min(columns - column).min(out.len() / rows);
                let (band, rest) = out.split_at_mut(height * rows);
                let x = &x[matrix * rows * columns..][..rows * columns];
                for row in (0..rows).step_by(TILE) {
                    transpose_tile(x, columns, (row, column), band, rows, height);
                }
                out = rest;
                line += height;
            }
        },
    )
}

/// Fills the columns from `row` on of `band`, `height` lines of `rows` elements.
///
/// The tile goes through a small buffer so that each cache line is touched once: with image sizes that are powers of two,
/// the lines of a tile share one cache set and would evict each other.
#[inline(always)]
fn transpose_tile<T: Real>(
    x: &[T],
    columns: usize,
    (row, column): (usize, usize),
    band: &mut [T],
    rows: usize,
    height: usize,
) {
    let width = TILE.min(rows - row);
    let mut tile = [[T::ZERO; TILE]; TILE];
    for (r, buffer) in tile.iter_mut().enumerate().take(width) {
        let source = &x[(row + r) * columns + column..][..height];
        if let Some(source) = source.first_chunk::<TILE>() {
            *buffer = *source;
        } else {
            buffer[..height].copy_from_slice(source);
        }
    }
    for (i, line) in band.chunks_exact_mut(rows).enumerate() {
        let line = &mut line[row..row + width];
        for (out, buffer) in line.iter_mut().zip(&tile) {
            *out = buffer[i];
        }
    }
}

struct Cat;

impl CustomOp2 for Cat {
    fn name(&self) -> &'static str {
        "cat_channels"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        dispatch_real!("cat_channels", s1, T => joined::<T>(&[(s1, l1), (s2, l2)]))
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        Ok((channels_of(&grad, a, 0)?, channels_of(&grad, b, a.dims()[1])?))
    }
}

impl CustomOp3 for Cat {
    fn name(&self) -> &'static str {
        "cat_channels"
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
        dispatch_real!("cat_channels", s1, T => joined::<T>(&[(s1, l1), (s2, l2), (s3, l3)]))
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, c: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Grads3> {
        let grad = grad.contiguous()?;
        let (from_b, from_c) = (a.dims()[1], a.dims()[1] + b.dims()[1]);
        Ok((channels_of(&grad, a, 0)?, channels_of(&grad, b, from_b)?, channels_of(&grad, c, from_c)?))
    }
}

/// The part of `grad` that belongs to `x`, whose channels begin at `start`.
fn channels_of(grad: &Tensor, x: &Tensor, start: usize) -> Result<Option<Tensor>> {
    let part = Channels { start, count: x.dims()[1] };
    x.track_op().then(|| grad.apply_op1_no_bwd(&part)).transpose()
}

fn joined<T: Real>(parts: &[(&CpuStorage, &Layout)]) -> Result<(CpuStorage, Shape)> {
    let mut dims = parts[0].1.dims().to_vec();
    let batch = dims[0];
    dims[1] = parts.iter().map(|(_, l)| l.dims()[1]).sum();
    let sources = parts.iter().map(|(s, l)| slice::<T>("cat_channels", s, l)).collect::<Result<Vec<_>>>()?;
    let mut out = buffer(dims.iter().product());
    let mut pieces = Vec::with_capacity(batch * parts.len());
    let mut rest = out.as_mut_slice();
    for b in 0..batch {
        for source in &sources {
            let n = source.len() / batch;
            let (piece, after) = rest.split_at_mut(n);
            pieces.push((piece, &source[b * n..(b + 1) * n]));
            rest = after;
        }
    }
    pieces.into_par_iter().for_each(|(piece, source)| piece.copy_from_slice(source));
    Ok((to_storage(out), Shape::from(dims)))
}

/// A contiguous copy of some channels.
struct Channels {
    start: usize,
    count: usize,
}

impl CustomOp1 for Channels {
    fn name(&self) -> &'static str {
        "cat_channels"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut dims = l.dims().to_vec();
        let plane: usize = dims[2..].iter().product();
        let (all, n, skip) = (dims[1] * plane, self.count * plane, self.start * plane);
        dims[1] = self.count;
        dispatch_real!("cat_channels", s, T => {
            let x = slice::<T>("cat_channels", s, l)?;
            let out = fill_chunks(dims[0] * n, n, #[inline(always)] |start, out| {
                let from = start / n * all + skip;
                out.copy_from_slice(&x[from..from + n]);
            });
            Ok((to_storage::<T>(out), Shape::from(dims)))
        })
    }
}
