//! Spatially-adaptive normalisation (SPADE; Park et al., arXiv 1903.07291), the residual block and the decoder built on it.

use crate::{Conv2d, ConvTranspose2d, LEAK, NORM_EPS, Scope, SpectralConv2d};
use candle_core::{Result, Tensor};
use colormamba_ops::{self as ops, Activation, Conv2dConfig, Node};

/// Channels between the label map and its scale and shift.
const HIDDEN: usize = 128;
const SAME3X3: Conv2dConfig = Conv2dConfig { stride: 1, padding: 1 };

/// Instance norm whose scale and shift, pixel by pixel, are computed from a label map, and a leaky ReLU.
struct Spade {
    shared: Conv2d,
    gamma: Conv2d,
    beta: Conv2d,
}

impl Spade {
    fn new(scope: &Scope, channels: usize, labels: usize) -> Result<Self> {
        Ok(Self {
            shared: Conv2d::same3x3(&scope.pp("mlp_shared.0"), labels, HIDDEN)?,
            gamma: Conv2d::same3x3(&scope.pp("mlp_gamma"), HIDDEN, channels)?,
            beta: Conv2d::same3x3(&scope.pp("mlp_beta"), HIDDEN, channels)?,
        })
    }

    /// `x` `(B, C, H, W)`, `seg` `(B, S, H, W)`.
    fn forward(&self, x: impl Into<Node>, seg: &Node) -> Result<Node> {
        let hidden = self.shared.forward_fused(std::slice::from_ref(seg), Activation::Relu)?;
        let scale_shift = self.scale_and_shift(hidden)?;
        ops::spade_norm(x, scale_shift, NORM_EPS, Activation::LeakyRelu(LEAK))
    }

    /// Both convolutions read the same hidden map, so they run as one: `(B, 2C, H, W)`, the scale first.
    fn scale_and_shift(&self, hidden: Node) -> Result<Node> {
        let ((gamma_w, gamma_b), (beta_w, beta_b)) = (self.gamma.parts(), self.beta.parts());
        let weight = Tensor::cat(&[gamma_w, beta_w], 0)?;
        let bias = gamma_b.zip(beta_b).map(|(gamma, beta)| Tensor::cat(&[gamma, beta], 0)).transpose()?;
        ops::conv2d(hidden, &weight, bias.as_ref(), SAME3X3)
    }
}

/// Residual block of two spectral-norm convolutions, each behind SPADE and a leaky ReLU.
pub struct SpadeBlock {
    conv_0: SpectralConv2d,
    conv_1: SpectralConv2d,
    norm_0: Spade,
    norm_1: Spade,
}

impl SpadeBlock {
    /// For images of `channels` and label maps of `labels` channels.
    ///
    /// # Errors
    /// If the tensors exist with other shapes.
    pub fn new(scope: &Scope, channels: usize, labels: usize) -> Result<Self> {
        Ok(Self {
            conv_0: SpectralConv2d::new(&scope.pp("conv_0"), channels, channels, 3, SAME3X3)?,
            conv_1: SpectralConv2d::new(&scope.pp("conv_1"), channels, channels, 3, SAME3X3)?,
            norm_0: Spade::new(&scope.pp("norm_0"), channels, labels)?,
            norm_1: Spade::new(&scope.pp("norm_1"), channels, labels)?,
        })
    }

    /// `x` `(B, channels, H, W)`, `seg` `(B, labels, H', W')`, which is resized to `x` (nearest); the result is like `x`.
    ///
    /// # Errors
    /// If channels differ.
    pub fn forward(&self, x: impl Into<Node>, seg: impl Into<Node>, train: bool) -> Result<Node> {
        let (x, seg) = (x.into(), seg.into());
        let ((_, _, h, w), (_, _, seg_h, seg_w)) = (x.dims4()?, seg.dims4()?);
        let seg = if (seg_h, seg_w) == (h, w) { seg } else { ops::resize_nearest2d(seg, h, w)? };
        let y = self.conv_0.forward(self.norm_0.forward(&x, &seg)?, train)?;
        let y = self.norm_1.forward(y, &seg)?;
        drop(seg);
        ops::add(x, self.conv_1.forward(y, train)?)
    }
}

/// Doubles the size of some maps joined; a colour feature map of the result's shape modulates it.
pub struct ColorDecoder {
    up: ConvTranspose2d,
    spade: SpadeBlock,
}

impl ColorDecoder {
    /// From `i` to `o` channels; the feature map has `o`.
    ///
    /// # Errors
    /// If the tensors exist with other shapes.
    pub fn new(scope: &Scope, i: usize, o: usize) -> Result<Self> {
        Ok(Self {
            up: ConvTranspose2d::doubling(&scope.pp("block.1"), i, o)?,
            spade: SpadeBlock::new(&scope.pp("SPADE_color"), o, o)?,
        })
    }

    /// `xs` `(B, _, H, W)` with `i` channels together, `feature` `(B, o, 2H, 2W)`; the result is like `feature`.
    ///
    /// # Errors
    /// If channels or sizes differ.
    pub fn forward(&self, xs: Vec<Node>, feature: impl Into<Node>, train: bool) -> Result<Node> {
        let xs = xs.into_iter().map(ops::relu).collect::<Result<Vec<_>>>()?;
        let y = self.up.forward_joined(&xs)?;
        drop(xs);
        ops::instance_norm(self.spade.forward(y, feature, train)?, NORM_EPS, Activation::Identity)
    }
}
