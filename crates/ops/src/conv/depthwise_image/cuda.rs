//! Depthwise convolutions of images on a GPU.

use super::{Depthwise, Kept};
use crate::kernels::DEPTHWISE_IMAGE;
use crate::pointwise::cuda::over_elements;
use crate::sums::{cuda::row_sums, plane_bias_gradient};
use candle_core::{Result, Tensor};
use colormamba_cuda::{DeviceMemory, Launch, threads_for};

impl Depthwise {
    /// The sizes that all kernels take.
    fn pass<'a>(&self, launch: Launch<'a>, channels: usize) -> Launch<'a> {
        let launch = launch.sizes([channels, self.input.0, self.input.1, self.output.0, self.output.1]);
        launch.sizes([self.side, self.stride, self.padding.0, self.padding.1])
    }
}

pub(super) fn forward(of: &Depthwise, x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (batch, channels, ..) = x.dims4()?;
    let n = batch * channels * of.output.0 * of.output.1;
    let mut y = DeviceMemory::new(x, x.dtype(), n)?;
    let launch = over_elements(&DEPTHWISE_IMAGE, "depthwise_image", x, n).input(x).input(w).maybe(bias);
    of.ramp.pass(of.pass(launch.output(&mut y).size(n), channels)).run()?;
    y.tensor((batch, channels, of.output.0, of.output.1))
}

pub(super) fn gradients(of: &Depthwise, kept: Kept, grad: &Tensor) -> Result<[Option<Tensor>; 3]> {
    let before_activation = kept.y.map(|y| kept.activation.gradient(&y, grad)).transpose()?;
    let grad = before_activation.as_ref().unwrap_or(grad);
    let dx = kept.w.map(|w| input_gradient(of, grad, &w)).transpose()?;
    let dw = kept.x.map(|x| weight_gradient(of, &x, grad)).transpose()?;
    Ok([dx, dw, kept.for_bias.then(|| plane_bias_gradient(grad)).transpose()?])
}

fn input_gradient(of: &Depthwise, grad: &Tensor, w: &Tensor) -> Result<Tensor> {
    let (batch, channels, ..) = grad.dims4()?;
    let n = batch * channels * of.input.0 * of.input.1;
    let mut dx = DeviceMemory::new(grad, grad.dtype(), n)?;
    let launch = over_elements(&DEPTHWISE_IMAGE, "depthwise_image_gradient", grad, n).input(grad).input(w);
    of.pass(launch.output(&mut dx).size(n), channels).run()?;
    dx.tensor((batch, channels, of.input.0, of.input.1))
}

fn weight_gradient(of: &Depthwise, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let (batch, channels, ..) = grad.dims4()?;
    let weights = channels * of.taps();
    let mut sums = DeviceMemory::statistics(x, batch * weights)?;
    let launch = Launch::new(&DEPTHWISE_IMAGE, "depthwise_image_sums", x);
    let launch = launch.blocks([channels, of.side, batch], threads_for(of.output.0 * of.output.1));
    of.pass(launch.input(x).input(grad).output(&mut sums), channels).run()?;
    row_sums(&sums.tensor((batch, weights))?, weights)?.reshape((channels, 1, of.side, of.side))
}
