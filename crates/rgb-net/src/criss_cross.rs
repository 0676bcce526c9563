//! Criss-cross attention (Huang et al., arXiv 1811.11721) between the RGB features and the HSV image.

use candle_core::{Result, Tensor};
use colormamba_layers::{BatchNorm2d, Conv2d, Init, Scope};
use colormamba_ops::{self as ops, Activation, Node};

/// conv, ReLU, batch norm, conv, ReLU.
struct Branch {
    conv_0: Conv2d,
    norm: BatchNorm2d,
    conv_1: Conv2d,
}

impl Branch {
    fn new(scope: &Scope, i: usize, o: usize) -> Result<Self> {
        Ok(Self {
            conv_0: Conv2d::same3x3(&scope.pp("0"), i, o)?,
            norm: BatchNorm2d::new(&scope.pp("2"), o)?,
            conv_1: Conv2d::same3x3(&scope.pp("3"), o, o)?,
        })
    }

    /// The channels of all of `xs` together are the input.
    fn forward(&self, xs: &[Node], train: bool) -> Result<Node> {
        let x = self.conv_0.forward_fused(xs, Activation::Relu)?;
        self.conv_1.forward_fused(&[self.norm.forward(x, train)?], Activation::Relu)
    }
}

/// Each pixel attends to its column and its row; queries and keys come from the features, values from the HSV image.
pub struct CrissCross {
    query: Branch,
    key: Branch,
    value: Branch,
    skip: Branch,
    gamma: Tensor,
}

impl CrissCross {
    /// For features of `channels` (a multiple of 8) and images of 3.
    ///
    /// # Errors
    /// If the tensors exist with other shapes.
    pub fn new(scope: &Scope, channels: usize) -> Result<Self> {
        Ok(Self {
            query: Branch::new(&scope.pp("query_conv"), channels, channels / 8)?,
            key: Branch::new(&scope.pp("key_conv"), channels, channels / 8)?,
            value: Branch::new(&scope.pp("value_conv"), 3, channels)?,
            skip: Branch::new(&scope.pp("conv_skip"), channels + 3, channels)?,
            gamma: scope.weight("gamma", 1, Init::Constant(0.0))?,
        })
    }

    /// `x` `(B, channels, H, W)`, `y` `(B, 3, H, W)`; the result is like `x`.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward(&self, x: impl Into<Node>, y: impl Into<Node>, train: bool) -> Result<Node> {
        let inputs = [x.into(), y.into()];
        let (x, y) = inputs.split_at(1);
        let (q, k, v) = (self.query.forward(x, train)?, self.key.forward(x, train)?, self.value.forward(y, train)?);
        let attended = ops::criss_cross(q, k, v)?;
        let skip = self.skip.forward(&inputs, train)?;
        drop(inputs);
        let (_, _, _, width) = skip.dims4()?;
        let gamma = self.gamma.broadcast_as(width)?.contiguous()?;
        ops::scale_add(attended, &gamma, skip)
    }
}
