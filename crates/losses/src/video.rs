//! Losses between frames of a video: functions of two frames and the motion between them, not terms of an objective.

use crate::LossError;
use crate::mean::sign;
use crate::scalar::{number, scalar};
use candle_core::{DType, Result as CandleResult, Tensor};
use colormamba_cpu::{Real, tensor, with_slices};
use colormamba_ops::Node;
use rayon::prelude::*;

/// Samples `image` `(B, C, H, W)` where `flow` `(B, 2, H, W)` points: the result at row i and column j is the image at row
/// i + flow\[1\] and column j + flow\[0\], in pixels, by bilinear interpolation; beyond the border it is the border's pixel
/// (PyTorch's `grid_sample` with padding "border" and aligned corners). Given the previous frame, and the flow from a frame
/// to it, the result is that frame. The flow takes no gradient.
///
/// # Errors
/// [`LossError::Flow`] if the shapes do not fit or the image has no element.
pub fn warp(image: &Node, flow: &Tensor) -> Result<Node, LossError> {
    let fits = matches!((image.dims(), flow.dims()), (&[b, _, h, w], &[fb, 2, fh, fw]) if (b, h, w) == (fb, fh, fw));
    if !fits || image.shape().elem_count() == 0 {
        return Err(LossError::Flow { image: image.shape().clone(), flow: flow.shape().clone() });
    }
    let image = image.contiguous()?;
    let corners = corners(&doubles(flow)?, image.dims4()?);
    let y = sample(image.value(), &corners)?;
    Ok(Node::new(y, [&image], move |grad| Ok([Some(scatter(grad, &corners)?)]))?)
}

/// The mean over the visible pixels and the channels of |pred − previous warped by flow|, averaged over the batch: an f64
/// scalar, 0 or more, in the units of the frames. An image without a visible pixel counts 0.
///
/// `pred`, `previous`: two frames `(B, C, H, W)`, both may take gradients; `flow` `(B, 2, H, W)`: from pred to previous, see
/// [`warp`]; `visible` `(B, 1, H, W)`: 1 where a pixel of pred is seen in previous, 0 where it is occluded, or a share.
///
/// # Errors
/// [`LossError::Frames`], [`LossError::Flow`], [`LossError::Visible`] if shapes do not fit.
///
/// Source: the short-term loss of Lai et al., "Learning blind video temporal consistency", ECCV 2018, arXiv 1808.00449, divided
/// by the number of visible pixels.
pub fn warp_loss(pred: &Node, previous: &Node, flow: &Tensor, visible: &Tensor) -> Result<Node, LossError> {
    check_frames(pred, previous)?;
    let warped = warp(previous, flow)?;
    check_visible(flow, visible)?;
    Ok(masked_l1(pred, &warped, &doubles(visible)?)?)
}

/// [`warp_loss`] on features of two frames, `(B, C, h, w)`, with flow and mask of the frames, `(B, 2, H, W)` and
/// `(B, 1, H, W)`: both are averaged over the pixels that a feature stands for (bins as those of PyTorch's
/// `AdaptiveAvgPool2d`), and the flow is counted in features, times w/W and h/H.
///
/// # Errors
/// As [`warp_loss`].
pub fn temporal_feature_loss(
    features: &Node,
    previous: &Node,
    flow: &Tensor,
    visible: &Tensor,
) -> Result<Node, LossError> {
    check_frames(features, previous)?;
    let (batch, _, h, w) = features.dims4()?;
    let &[flows, 2, height, width] = flow.dims() else {
        return Err(LossError::Flow { image: features.shape().clone(), flow: flow.shape().clone() });
    };
    if flows != batch || height * width == 0 {
        return Err(LossError::Flow { image: features.shape().clone(), flow: flow.shape().clone() });
    }
    check_visible(flow, visible)?;
    let scales = [w as f64 / width as f64, h as f64 / height as f64];
    let flow = averaged(flow, h, w, &scales)?;
    warp_loss(features, previous, &flow, &averaged(visible, h, w, &[1.0])?)
}

fn check_frames(frame: &Node, previous: &Node) -> Result<(), LossError> {
    let fits = frame.shape() == previous.shape() && frame.dims().len() == 4 && frame.shape().elem_count() > 0;
    let error = || LossError::Frames { frame: frame.shape().clone(), previous: previous.shape().clone() };
    if fits { Ok(()) } else { Err(error()) }
}

fn check_visible(flow: &Tensor, visible: &Tensor) -> Result<(), LossError> {
    let fits = matches!((flow.dims(), visible.dims()), (&[b, _, h, w], &[vb, 1, vh, vw]) if (b, h, w) == (vb, vh, vw));
    let error = || LossError::Visible { flow: flow.shape().clone(), visible: visible.shape().clone() };
    if fits { Ok(()) } else { Err(error()) }
}

fn doubles(x: &Tensor) -> CandleResult<Vec<f64>> {
    x.detach().to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// Which four pixels of a plane are mixed, and how.
struct Corner {
    /// The upper left one.
    at: usize,
    /// From it to its neighbours; 0 at the border.
    right: usize,
    below: usize,
    /// The shares of the neighbours.
    x: f64,
    y: f64,
}

impl Corner {
    /// The four pixels with their shares.
    #[inline(always)]
    fn shares(&self) -> [(usize, f64); 4] {
        let Self { at, right, below, x, y } = *self;
        let (left, above) = (1.0 - x, 1.0 - y);
        [(at, above * left), (at + right, above * x), (at + below, y * left), (at + below + right, y * x)]
    }
}

/// Where every pixel of every image comes from.
fn corners(flow: &[f64], (_, _, h, w): (usize, usize, usize, usize)) -> Vec<Vec<Corner>> {
    let plane = h * w;
    let corner = |pixel: usize, dx: f64, dy: f64| {
        let x = ((pixel % w) as f64 + dx).clamp(0.0, (w - 1) as f64);
        let y = ((pixel / w) as f64 + dy).clamp(0.0, (h - 1) as f64);
        let (column, row) = (x as usize, y as usize);
        Corner {
            at: row * w + column,
            right: usize::from(column + 1 < w),
            below: if row + 1 < h { w } else { 0 },
            x: x - column as f64,
            y: y - row as f64,
        }
    };
    let image = |flow: &[f64]| (0..plane).map(|pixel| corner(pixel, flow[pixel], flow[pixel + plane])).collect();
    flow.par_chunks(2 * plane).map(image).collect()
}

fn sample(image: &Tensor, corners: &[Vec<Corner>]) -> CandleResult<Tensor> {
    let (_, channels, h, w) = image.dims4()?;
    let shape = image.shape();
    with_slices!("warp", [image], T => {
        let mut out = vec![T::ZERO; image.len()];
        let planes = out.par_chunks_mut(h * w).zip(image.par_chunks(h * w)).enumerate();
        planes.for_each(|(index, (out, plane))| {
            for (out, corner) in out.iter_mut().zip(&corners[index / channels]) {
                *out = T::of(corner.shares().iter().map(|&(at, share)| share * plane[at].wide()).sum());
            }
        });
        Ok(tensor(out, shape))
    })
}

/// The adjoint of [`sample`]. One task does a plane, so that sums have one order.
fn scatter(grad: &Tensor, corners: &[Vec<Corner>]) -> CandleResult<Tensor> {
    let (_, channels, h, w) = grad.dims4()?;
    let shape = grad.shape();
    with_slices!("warp", [grad], T => {
        let mut out = vec![T::ZERO; grad.len()];
        let planes = out.par_chunks_mut(h * w).zip(grad.par_chunks(h * w)).enumerate();
        planes.for_each(|(index, (out, grad))| {
            let mut sums = vec![0.0; grad.len()];
            for (grad, corner) in grad.iter().zip(&corners[index / channels]) {
                corner.shares().iter().for_each(|&(at, share)| sums[at] += share * grad.wide());
            }
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = T::of(sum));
        });
        Ok(tensor(out, shape))
    })
}

/// The mean of |p − q| over channels and pixels, each counted as much as it is visible, averaged over the batch.
fn masked_l1(p: &Node, q: &Node, visible: &[f64]) -> CandleResult<Node> {
    let (p, q) = (p.contiguous()?, q.contiguous()?);
    let (batch, channels, h, w) = p.dims4()?;
    let weigh = |visible: &[f64]| {
        let whole = visible.iter().sum::<f64>() * (batch * channels) as f64;
        visible.iter().map(|v| if whole > 0.0 { v / whole } else { 0.0 }).collect()
    };
    let weights: Vec<Vec<f64>> = visible.chunks(h * w).map(weigh).collect();
    let (pv, qv) = (p.value().clone(), q.value().clone());
    let value = weighted_l1(&pv, &qv, &weights)?;
    let tracked = [p.is_tracked(), q.is_tracked()];
    Node::new(scalar(value), [&p, &q], move |grad| {
        let grad = number(grad)?;
        let by = |tracked: bool, scale: f64| tracked.then(|| l1_slopes(&pv, &qv, &weights, scale)).transpose();
        Ok([by(tracked[0], grad)?, by(tracked[1], -grad)?])
    })
}

fn weighted_l1(p: &Tensor, q: &Tensor, weights: &[Vec<f64>]) -> CandleResult<f64> {
    let (_, channels, h, w) = p.dims4()?;
    with_slices!("warp_loss", [p, q], T => {
        let sum = |(index, (p, q)): (usize, (&[T], &[T]))| -> f64 {
            let pixels = p.iter().zip(q).zip(&weights[index / channels]);
            pixels.map(|((p, q), weight)| weight * (p.wide() - q.wide()).abs()).sum()
        };
        let planes = p.par_chunks(h * w).zip(q.par_chunks(h * w)).enumerate();
        Ok(planes.map(sum).collect::<Vec<f64>>().iter().sum())
    })
}

fn l1_slopes(p: &Tensor, q: &Tensor, weights: &[Vec<f64>], scale: f64) -> CandleResult<Tensor> {
    let (_, channels, h, w) = p.dims4()?;
    let shape = p.shape();
    with_slices!("warp_loss", [p, q], T => {
        let mut out = vec![T::ZERO; p.len()];
        let planes = out.par_chunks_mut(h * w).zip(p.par_chunks(h * w)).zip(q.par_chunks(h * w)).enumerate();
        planes.for_each(|(index, ((out, p), q))| {
            for (((out, p), q), weight) in out.iter_mut().zip(p).zip(q).zip(&weights[index / channels]) {
                *out = T::of(scale * weight * sign(p.wide() - q.wide()));
            }
        });
        Ok(tensor(out, shape))
    })
}

/// Means of an image `(B, C, H, W)` over bins, `(B, C, h, w)` in f64, channel c times `scales[c]`.
fn averaged(x: &Tensor, h: usize, w: usize, scales: &[f64]) -> CandleResult<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let values = doubles(x)?;
    let bin = |i: usize, bins: usize, length: usize| i * length / bins..((i + 1) * length).div_ceil(bins);
    let mut means = Vec::with_capacity(batch * channels * h * w);
    for (index, plane) in values.chunks(height * width).enumerate() {
        for (i, j) in (0..h).flat_map(|i| (0..w).map(move |j| (i, j))) {
            let (rows, columns) = (bin(i, h, height), bin(j, w, width));
            let count = (rows.len() * columns.len()) as f64;
            let sum: f64 = rows.flat_map(|row| &plane[row * width..][columns.clone()]).sum();
            means.push(sum / count * scales[index % channels]);
        }
    }
    Ok(tensor(means, (batch, channels, h, w)))
}
