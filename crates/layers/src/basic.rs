//! Linear, convolution and layer norm with parameters.

use crate::{Init, NORM_EPS, Scope};
use candle_core::{Module, Result, Tensor};
use colormamba_ops::{self as ops, Activation, Conv2dConfig, Node, in_candle};

/// `y = x Wᵀ + b` over the last axis: `(.., i)` to `(.., o)`.
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// `weight` is `(o, i)`, `bias` `(o)`.
    ///
    /// # Errors
    /// If the parameters exist with other shapes.
    pub fn new(scope: &Scope, i: usize, o: usize, bias: bool) -> Result<Self> {
        let weight = scope.weight("weight", (o, i), Init::fan_in(i))?;
        let bias = bias.then(|| scope.weight("bias", o, Init::fan_in(i))).transpose()?;
        Ok(Self { weight, bias })
    }

    /// Applies the layer.
    ///
    /// # Errors
    /// If the last axis is not `i` long.
    pub fn forward(&self, x: impl Into<Node>) -> Result<Node> {
        ops::linear(x, &self.weight, self.bias.as_ref())
    }
}

impl Module for Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        in_candle(x, |x| self.forward(x))
    }
}

/// Convolution, with bias unless a norm follows that has one.
#[derive(Clone)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    config: Conv2dConfig,
}

impl Conv2d {
    /// `weight` is `(o, i, kernel, kernel)`, `bias` `(o)`.
    ///
    /// # Errors
    /// If the parameters exist with other shapes.
    pub fn new(scope: &Scope, i: usize, o: usize, kernel: usize, config: Conv2dConfig) -> Result<Self> {
        let init = Init::fan_in(i * kernel * kernel);
        let bias = Some(scope.weight("bias", o, init)?);
        Ok(Self { bias, ..Self::without_bias(scope, i, o, kernel, config)? })
    }

    /// `weight` is `(o, i, kernel, kernel)`.
    ///
    /// # Errors
    /// As [`Conv2d::new`].
    pub fn without_bias(scope: &Scope, i: usize, o: usize, kernel: usize, config: Conv2dConfig) -> Result<Self> {
        let weight = scope.weight("weight", (o, i, kernel, kernel), Init::fan_in(i * kernel * kernel))?;
        Ok(Self { weight, bias: None, config })
    }

    /// 3x3, stride 1, padding 1: keeps the size.
    ///
    /// # Errors
    /// As [`Conv2d::new`].
    pub fn same3x3(scope: &Scope, i: usize, o: usize) -> Result<Self> {
        Self::new(scope, i, o, 3, Conv2dConfig { stride: 1, padding: 1 })
    }

    /// 4x4, stride 2, padding 1: halves the size.
    ///
    /// # Errors
    /// As [`Conv2d::new`].
    pub fn halving(scope: &Scope, i: usize, o: usize) -> Result<Self> {
        Self::new(scope, i, o, 4, Conv2dConfig { stride: 2, padding: 1 })
    }

    /// `(B, i, H, W)` to `(B, o, H', W')`.
    ///
    /// # Errors
    /// If the channels differ or the kernel is larger than the padded image.
    pub fn forward(&self, x: impl Into<Node>) -> Result<Node> {
        self.forward_fused(&[x.into()], Activation::Identity)
    }

    /// The channels of all of `xs` together as the input, and an activation of the result, in one operation.
    ///
    /// # Errors
    /// As [`Conv2d::forward`], and if the inputs differ in batch or size.
    pub fn forward_fused(&self, xs: &[Node], activation: Activation) -> Result<Node> {
        ops::conv2d_fused(xs, &self.weight, self.bias.as_ref(), self.config, activation)
    }

    /// A layer of given tensors, `weight` `(o, i, kernel, kernel)` and `bias` `(o)`.
    pub(crate) fn from_parts(weight: Tensor, bias: Tensor, config: Conv2dConfig) -> Self {
        Self { weight, bias: Some(bias), config }
    }

    /// The same layer with its present values as constants.
    pub fn detached(&self) -> Self {
        let bias = self.bias.as_ref().map(Tensor::detach);
        Self { weight: self.weight.detach(), bias, config: self.config }
    }

    /// The convolution without its bias: the layer's derivative along `direction` `(B, i, H, W)`.
    ///
    /// # Errors
    /// As [`Conv2d::forward`].
    pub fn tangent(&self, direction: impl Into<Node>) -> Result<Node> {
        ops::conv2d(direction, &self.weight, None, self.config)
    }

    /// Weight and bias, for layers that join several convolutions of one input.
    pub(crate) fn parts(&self) -> (&Tensor, Option<&Tensor>) {
        (&self.weight, self.bias.as_ref())
    }
}

impl Module for Conv2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        in_candle(x, |x| self.forward(x))
    }
}

/// Transposed convolution with bias.
pub struct ConvTranspose2d {
    weight: Tensor,
    bias: Tensor,
    config: Conv2dConfig,
}

impl ConvTranspose2d {
    /// `weight` is `(i, o, kernel, kernel)`, `bias` `(o)`. PyTorch takes `o · kernel²` as the fan-in here.
    ///
    /// # Errors
    /// If the parameters exist with other shapes.
    pub fn new(scope: &Scope, i: usize, o: usize, kernel: usize, config: Conv2dConfig) -> Result<Self> {
        let init = Init::fan_in(o * kernel * kernel);
        let weight = scope.weight("weight", (i, o, kernel, kernel), init.clone())?;
        Ok(Self { weight, bias: scope.weight("bias", o, init)?, config })
    }

    /// 4x4, stride 2, padding 1: doubles the size.
    ///
    /// # Errors
    /// As [`ConvTranspose2d::new`].
    pub fn doubling(scope: &Scope, i: usize, o: usize) -> Result<Self> {
        Self::new(scope, i, o, 4, Conv2dConfig { stride: 2, padding: 1 })
    }

    /// `(B, i, H, W)` to `(B, o, H', W')`.
    ///
    /// # Errors
    /// If the channels differ.
    pub fn forward(&self, x: impl Into<Node>) -> Result<Node> {
        self.forward_joined(&[x.into()])
    }

    /// The channels of all of `xs` together as the input, in one operation.
    ///
    /// # Errors
    /// As [`ConvTranspose2d::forward`], and if the inputs differ in batch or size.
    pub fn forward_joined(&self, xs: &[Node]) -> Result<Node> {
        ops::conv_transpose2d_fused(xs, &self.weight, Some(&self.bias), self.config, Activation::Identity)
    }
}

impl Module for ConvTranspose2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        in_candle(x, |x| self.forward(x))
    }
}

/// Layer norm over the last axis, with scale and shift.
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}

impl LayerNorm {
    /// `weight` and `bias` are `(channels)`.
    ///
    /// # Errors
    /// If the parameters exist with other shapes.
    pub fn new(scope: &Scope, channels: usize) -> Result<Self> {
        let weight = scope.weight("weight", channels, Init::Constant(1.0))?;
        Ok(Self { weight, bias: scope.weight("bias", channels, Init::Constant(0.0))? })
    }

    /// `(.., channels)` to the same shape.
    ///
    /// # Errors
    /// If the last axis differs.
    pub fn forward(&self, x: impl Into<Node>) -> Result<Node> {
        ops::layer_norm(x, &self.weight, &self.bias, NORM_EPS)
    }
}

impl Module for LayerNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        in_candle(x, |x| self.forward(x))
    }
}
