//! Convolutions on all cores, with all gradients.

mod correlate;
mod cuda;
#[cfg(feature = "cudnn")]
mod cudnn;
mod depthwise;
mod depthwise_image;
mod kernel;
mod source;
mod tile;
mod views;
mod weight;
mod weight_tiles;
mod winograd;

pub use depthwise::depthwise_conv3x3;
pub use depthwise_image::depthwise_conv2d;

use crate::operands::{Operands, check_types};
use crate::profile;
use crate::sums::plane_bias_gradient;
use crate::{Activation, Node, OpError};
use candle_core::{Result, Tensor};
use colormamba_cpu::{dispatch_real, hold, tensor};
use correlate::{Correlate, Geometry};
use source::Images;
use std::ops::Range;
use std::slice;
use weight::WeightGradient;

/// How the window of a convolution moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Pixels from one window to the next, along both axes; at least 1.
    pub stride: usize,
    /// Rows and columns of zeros on every side.
    pub padding: usize,
}

impl Default for Conv2dConfig {
    fn default() -> Self {
        Self { stride: 1, padding: 0 }
    }
}

/// Two-dimensional convolution (cross-correlation, as everywhere in deep learning).
///
/// `x (B, I, H, W)`, `w (O, I, kh, kw)`, `bias (O)` → `(B, O, H', W')` with `H' = ⌊(H + 2·padding − kh) / stride⌋ + 1`.
///
/// # Errors
/// [`OpError`] for shapes that do not fit, an empty weight, a kernel larger than the padded input, a stride of 0, and
/// tensors that are not all f32 or all f64.
pub fn conv2d(x: impl Into<Node>, w: &Tensor, bias: Option<&Tensor>, cfg: Conv2dConfig) -> Result<Node> {
    conv2d_fused(&[x.into()], w, bias, cfg, Activation::Identity)
}

/// [`conv2d`] of the channels of all of `xs`, one tensor after the other, and then an activation; neither the concatenation
/// nor the result before the activation is ever made.
///
/// # Errors
/// As [`conv2d`], and [`OpError`] if the inputs differ in batch or size.
pub fn conv2d_fused(
    xs: &[Node],
    w: &Tensor,
    bias: Option<&Tensor>,
    cfg: Conv2dConfig,
    activation: Activation,
) -> Result<Node> {
    const OP: &str = "conv2d";
    let (outputs, _, kh, kw) = weight_dims(OP, w)?;
    let (h, width) = input_size(OP, xs, w, 1, cfg)?;
    if h + 2 * cfg.padding < kh || width + 2 * cfg.padding < kw {
        let expected = format!("an input of at least {kh} x {kw} pixels with its padding of {}", cfg.padding);
        return Err(OpError::shape(OP, expected, xs[0].shape()));
    }
    let side = |n: usize, k: usize| (n + 2 * cfg.padding - k) / cfg.stride + 1;
    let convolution = Convolution {
        op: OP,
        direction: Direction::Forward,
        geometry: Geometry { kernel: (kh, kw), stride: cfg.stride, padding: cfg.padding },
        outputs,
        size: (side(h, kh), side(width, kw)),
        activation,
    };
    convolution.apply(xs, w, bias)
}

/// Transposed two-dimensional convolution: the adjoint of [`conv2d`] with the same weight.
///
/// `x (B, I, H, W)`, `w (I, O, kh, kw)`, `bias (O)` → `(B, O, H', W')` with `H' = (H − 1)·stride − 2·padding + kh`.
///
/// # Errors
/// [`OpError`] for shapes that do not fit, an empty weight or input, padding that leaves no output, a stride of 0, and
/// tensors that are not all f32 or all f64.
pub fn conv_transpose2d(x: impl Into<Node>, w: &Tensor, bias: Option<&Tensor>, cfg: Conv2dConfig) -> Result<Node> {
    conv_transpose2d_fused(&[x.into()], w, bias, cfg, Activation::Identity)
}

/// [`conv_transpose2d`] of the channels of all of `xs`, and then an activation; see [`conv2d_fused`].
///
/// # Errors
/// As [`conv_transpose2d`], and [`OpError`] if the inputs differ in batch or size.
pub fn conv_transpose2d_fused(
    xs: &[Node],
    w: &Tensor,
    bias: Option<&Tensor>,
    cfg: Conv2dConfig,
    activation: Activation,
) -> Result<Node> {
    const OP: &str = "conv_transpose2d";
    let (_, outputs, kh, kw) = weight_dims(OP, w)?;
    let (h, width) = input_size(OP, xs, w, 0, cfg)?;
    let side =
        |n: usize, k: usize| (n.checked_sub(1)? * cfg.stride + k).checked_sub(2 * cfg.padding).filter(|&n| n > 0);
    let (Some(out_h), Some(out_w)) = (side(h, kh), side(width, kw)) else {
        let expected = format!("an input of which a padding of {} leaves some output", cfg.padding);
        return Err(OpError::shape(OP, expected, xs[0].shape()));
    };
    let convolution = Convolution {
        op: OP,
        direction: Direction::Adjoint,
        geometry: Geometry { kernel: (kh, kw), stride: cfg.stride, padding: cfg.padding },
        outputs,
        size: (out_h, out_w),
        activation,
    };
    convolution.apply(xs, w, bias)
}

/// Channels, height and width of all inputs together.
fn input_dims(op: &'static str, xs: &[Node]) -> Result<(usize, usize, usize)> {
    let Some(first) = xs.first() else { return Err(OpError::argument(op, "no input")) };
    let mut channels = 0;
    for x in xs {
        let &[_, c, h, w] = x.dims() else {
            return Err(OpError::shape(op, "an input (batch, channels, height, width)", x.shape()));
        };
        if [x.dims()[0], h, w] != [first.dims()[0], first.dims()[2], first.dims()[3]] {
            return Err(OpError::shape(
                op,
                format!("batch and size of the first input, {:?}", first.dims()),
                x.shape(),
            ));
        }
        channels += c;
    }
    Ok((channels, first.dims()[2], first.dims()[3]))
}

fn weight_dims(op: &'static str, w: &Tensor) -> Result<(usize, usize, usize, usize)> {
    match *w.dims() {
        [a, b, kh, kw] if w.elem_count() > 0 => Ok((a, b, kh, kw)),
        _ => Err(OpError::shape(op, "a weight of four dimensions, none of them 0", w.shape())),
    }
}

/// Height and width of the inputs, which must have the channels that the weight's dimension `inputs` says.
fn input_size(op: &'static str, xs: &[Node], w: &Tensor, inputs: usize, cfg: Conv2dConfig) -> Result<(usize, usize)> {
    let (channels, h, width) = input_dims(op, xs)?;
    let wanted = w.dims()[inputs];
    if channels != wanted {
        let expected = format!("an input of {wanted} channels (weight {:?})", w.shape());
        return Err(OpError::shape(op, expected, xs[0].shape()));
    }
    if cfg.stride == 0 {
        return Err(OpError::argument(op, "the stride must be at least 1"));
    }
    Ok((h, width))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Adjoint,
}

/// A convolution of checked sizes.
#[derive(Clone, Copy)]
struct Convolution {
    op: &'static str,
    direction: Direction,
    geometry: Geometry,
    outputs: usize,
    /// Height and width of the result.
    size: (usize, usize),
    activation: Activation,
}

impl Convolution {
    fn apply(self, xs: &[Node], w: &Tensor, bias: Option<&Tensor>) -> Result<Node> {
        self.activation.check(self.op)?;
        let Operands { w, bias, .. } = Operands::new(self.op, &xs[0], w, bias, self.outputs)?;
        check_types(self.op, &xs.iter().collect::<Vec<_>>())?;
        let xs = xs.iter().map(Node::contiguous).collect::<Result<Vec<_>>>()?;
        let values: Vec<Tensor> = xs.iter().map(|x| x.value().clone()).collect();
        let y = self.run(&values, w.value(), bias.as_ref().map(Node::value))?;

        let tracked: Vec<bool> = xs.iter().map(Node::is_tracked).collect();
        let channels: Vec<usize> = xs.iter().map(|x| x.dims()[1]).collect();
        let size = (xs[0].dims()[2], xs[0].dims()[3]);
        let weight = tracked.contains(&true).then(|| w.value().clone());
        let values = w.is_tracked().then_some(values);
        let kept = (self.activation != Activation::Identity).then(|| y.clone());
        let for_bias = bias.as_ref().map(Node::is_tracked);
        let shape = w.shape().clone();
        let backward = move |grad: &Tensor| {
            let grad = match &kept {
                Some(y) => &self.activation.gradient(y, grad)?,
                None => grad,
            };
            let mut start = 0;
            let mut grads = Vec::with_capacity(channels.len() + 2);
            for (&tracked, &count) in tracked.iter().zip(&channels) {
                let range = start..start + count;
                start += count;
                let weight = weight.as_ref().filter(|_| tracked);
                grads.push(weight.map(|w| self.input_gradient(grad, w, range, size)).transpose()?);
            }
            grads.push(values.map(|xs| self.weight_gradient(&xs, grad)?.reshape(shape)).transpose()?);
            if let Some(tracked) = for_bias {
                grads.push(tracked.then(|| plane_bias_gradient(grad)).transpose()?);
            }
            Ok(grads)
        };
        let inputs: Vec<&Node> = xs.iter().chain([&w]).chain(&bias).collect();
        let windows = if self.direction == Direction::Forward { self.size } else { size };
        profile::work(self.op, 2 * xs[0].dims()[0] * windows.0 * windows.1 * w.shape().elem_count());
        Node::of_many(y, &inputs, backward)
    }

    fn run(&self, xs: &[Tensor], w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        if colormamba_cuda::applies(&xs[0]) {
            return cuda::run(self, xs, w, bias);
        }
        let (batch, _, height, width) = xs[0].dims4()?;
        let channels: Vec<usize> = xs.iter().map(|x| x.dims()[1]).collect();
        let xs: Vec<_> = xs.iter().map(|x| hold(self.op, x)).collect();
        let (w, bias) = (hold(self.op, w), bias.map(|bias| hold(self.op, bias)));
        dispatch_real!(self.op, w, T => {
            let parts = xs.iter().zip(channels).map(|(x, c)| Ok((x.slice::<T>()?, c))).collect::<Result<_>>()?;
            let images = Images { parts, height, width };
            let weight = w.slice::<T>()?;
            let correlate = match self.direction {
                Direction::Forward => Correlate::forward(images, batch, weight, self.geometry, self.size),
                Direction::Adjoint => {
                    Correlate::adjoint(images, batch, weight, self.geometry, self.size, 0..self.outputs)
                }
            };
            let bias = bias.as_ref().map(|bias| bias.slice::<T>()).transpose()?;
            let out = correlate.with(bias, self.activation).run();
            Ok(tensor(out, (batch, self.outputs, self.size.0, self.size.1)))
        })
    }

    /// The gradient of the input's channels `range`; the input was of height and width `size`.
    fn input_gradient(&self, grad: &Tensor, w: &Tensor, range: Range<usize>, size: (usize, usize)) -> Result<Tensor> {
        if colormamba_cuda::applies(grad) {
            return cuda::input_gradient(self, grad, w, range, size);
        }
        let (batch, channels, height, width) = grad.dims4()?;
        let (grad, w) = (hold(self.op, grad), hold(self.op, w));
        let shape = (batch, range.len(), size.0, size.1);
        dispatch_real!(self.op, w, T => {
            let images = Images { parts: vec![(grad.slice::<T>()?, channels)], height, width };
            let weight = w.slice::<T>()?;
            let correlate = match self.direction {
                Direction::Forward => Correlate::adjoint(images, batch, weight, self.geometry, size, range),
                // Here the outputs are the slow dimension of the weight.
                Direction::Adjoint => {
                    let row = channels * self.geometry.kernel.0 * self.geometry.kernel.1;
                    let weight = &weight[range.start * row..range.end * row];
                    Correlate::forward(images, batch, weight, self.geometry, size)
                }
            };
            Ok(tensor(correlate.run(), shape))
        })
    }

    /// The gradient of the weight, as a vector.
    fn weight_gradient(&self, xs: &[Tensor], grad: &Tensor) -> Result<Tensor> {
        match self.direction {
            Direction::Forward => correlation(self.op, self.geometry, xs, slice::from_ref(grad)),
            Direction::Adjoint => correlation(self.op, self.geometry, slice::from_ref(grad), xs),
        }
    }
}

/// The gradient of the weight of a forward convolution from `images` to something with gradient `grads`, as a vector
/// `(channels of grads, channels of images, kernel)`.
fn correlation(op: &'static str, geometry: Geometry, images: &[Tensor], grads: &[Tensor]) -> Result<Tensor> {
    if colormamba_cuda::applies(&images[0]) {
        return cuda::weight_gradient(geometry, images, grads);
    }
    let (batch, _, height, width) = images[0].dims4()?;
    let (_, _, grid_height, grid_width) = grads[0].dims4()?;
    let channels = |xs: &[Tensor]| xs.iter().map(|x| x.dims()[1]).collect::<Vec<_>>();
    let (image_channels, grad_channels) = (channels(images), channels(grads));
    let images: Vec<_> = images.iter().map(|x| hold(op, x)).collect();
    let grads: Vec<_> = grads.iter().map(|x| hold(op, x)).collect();
    dispatch_real!(op, images[0], T => {
        let mut all = Vec::new();
        for (grad, outputs) in grads.iter().zip(grad_channels) {
            let parts = images.iter().zip(&image_channels).map(|(x, &c)| Ok((x.slice::<T>()?, c)));
            let images = Images { parts: parts.collect::<Result<_>>()?, height, width };
            let grid = (grid_height, grid_width);
            let gradient = WeightGradient { images, batch, geometry, grad: grad.slice()?, outputs, grid };
            all.append(&mut gradient.run());
        }
        let count = all.len();
        Ok(tensor::<T>(all, count))
    })
}
