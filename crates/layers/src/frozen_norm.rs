//! Convolutions of pretrained encoders, whose batch norms keep the statistics that they were trained with.

use crate::{Buffer, Init, Scope};
use candle_core::{Module, Result, Tensor};
use colormamba_ops::{self as ops, Activation, Conv2dConfig, Node, in_candle};

/// What EfficientNet adds to a variance.
///
/// Source: Tan & Le 2019, arXiv 1905.11946.
const EPS: f64 = 1e-3;

/// How the window moves.
enum Kind {
    /// Over all channels.
    Dense(Conv2dConfig),
    /// Over each channel alone, with this stride; padded to the size that TensorFlow calls "same".
    Depthwise(usize),
}

/// A convolution without bias, a batch norm by its running statistics in training as in evaluation, and an activation.
///
/// Such a norm is one affine map of each channel, so it goes into the convolution: weight `w · γ / √(σ² + 0.001)`, bias
/// `β − μ · γ / √(σ² + 0.001)`. The gradient reaches w, γ and β; μ and σ² are buffers that never move.
pub struct ConvFrozenNorm {
    weight: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Buffer,
    var: Buffer,
    kind: Kind,
    activation: Activation,
}

impl ConvFrozenNorm {
    /// Tensors `{conv}.weight` `(o, i, kernel, kernel)` and `{norm}.weight`, `.bias`, `.running_mean`, `.running_var`
    /// `(o)`.
    ///
    /// # Errors
    /// If the tensors exist with other shapes.
    #[allow(clippy::too_many_arguments, reason = "two layers in one")]
    pub fn dense(
        scope: &Scope,
        conv: &str,
        norm: &str,
        i: usize,
        o: usize,
        kernel: usize,
        config: Conv2dConfig,
        activation: Activation,
    ) -> Result<Self> {
        Self::new(scope, [conv, norm], [o, i, kernel], Kind::Dense(config), activation)
    }

    /// As [`ConvFrozenNorm::dense`] with a kernel for each channel, `{conv}.weight` `(channels, 1, kernel, kernel)`:
    /// see
    /// [`ops::depthwise_conv2d`].
    ///
    /// # Errors
    /// If the tensors exist with other shapes.
    pub fn depthwise(
        scope: &Scope,
        conv: &str,
        norm: &str,
        channels: usize,
        kernel: usize,
        stride: usize,
        activation: Activation,
    ) -> Result<Self> {
        Self::new(scope, [conv, norm], [channels, 1, kernel], Kind::Depthwise(stride), activation)
    }

    fn new(
        scope: &Scope,
        [conv, norm]: [&str; 2],
        [o, i, kernel]: [usize; 3],
        kind: Kind,
        activation: Activation,
    ) -> Result<Self> {
        let (conv, norm) = (scope.pp(conv), scope.pp(norm));
        Ok(Self {
            weight: conv.weight("weight", (o, i, kernel, kernel), Init::fan_in(i * kernel * kernel))?,
            scale: norm.weight("weight", o, Init::Constant(1.0))?,
            shift: norm.weight("bias", o, Init::Constant(0.0))?,
            mean: norm.buffer("running_mean", o, Init::Constant(0.0))?,
            var: norm.buffer("running_var", o, Init::Constant(1.0))?,
            kind,
            activation,
        })
    }

    /// `(B, i, H, W)` to `(B, o, H', W')`.
    ///
    /// # Errors
    /// If the channels differ, or the kernel is larger than the padded image.
    pub fn forward(&self, x: impl Into<Node>) -> Result<Node> {
        let (weight, bias) = self.folded()?;
        match self.kind {
            Kind::Dense(config) => ops::conv2d_fused(&[x.into()], &weight, Some(&bias), config, self.activation),
            Kind::Depthwise(stride) => ops::depthwise_conv2d(x, &weight, Some(&bias), stride, self.activation),
        }
    }

    /// Weight and bias of the one convolution: what the norm makes of the weights, without its shifts, and of 0.
    fn folded(&self) -> Result<(Tensor, Tensor)> {
        let (channels, var) = (self.scale.elem_count(), self.var.get());
        let zeros = var.zeros_like()?;
        let weights = self.weight.reshape((1, channels, (), 1))?;
        let weight = in_candle(&weights, |x| ops::batch_norm_eval(x, &zeros, &var, &self.scale, &zeros, EPS))?;
        let bias = in_candle(&zeros.reshape((1, channels, 1, 1))?, |x| {
            ops::batch_norm_eval(x, &self.mean.get(), &var, &self.scale, &self.shift, EPS)
        })?;
        Ok((weight.reshape(self.weight.shape())?, bias.reshape(channels)?))
    }
}

impl Module for ConvFrozenNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        in_candle(x, |x| self.forward(x))
    }
}
