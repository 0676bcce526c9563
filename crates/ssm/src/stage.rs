//! The visual state space block and the stage that holds one.

use crate::{AgentBlock, Ss2d};
use candle_core::{Module, Result, Tensor};
use colormamba_layers::{Conv2d, Init, LayerNorm, Scope};
use colormamba_ops::{self as ops, Node, in_candle};

/// Visual state space block: a scan over the map with a ring of zeros around it, local convolutions, agent attention.
///
/// Source: ColorMamba, arXiv 2408.08087 (its padding tokens are zeros in the published code, not learned).
pub struct Vssb {
    ln_1: LayerNorm,
    self_attention: Ss2d,
    skip_scale: Tensor,
    ln_2: LayerNorm,
    squeeze: Conv2d,
    expand: Conv2d,
    conv_blk: AgentBlock,
    skip_scale2: Tensor,
}

impl Vssb {
    /// For maps of `channels` channels.
    ///
    /// # Errors
    /// If `channels` is not a positive multiple of 8, or the parameters exist with other shapes.
    pub fn new(scope: &Scope, channels: usize) -> Result<Self> {
        let (conv, third) = (scope.pp("conv"), channels / 3);
        Ok(Self {
            ln_1: LayerNorm::new(&scope.pp("ln_1"), channels)?,
            self_attention: Ss2d::new(&scope.pp("self_attention"), channels)?,
            skip_scale: scope.weight("skip_scale", channels, Init::Constant(1.0))?,
            ln_2: LayerNorm::new(&scope.pp("ln_2"), channels)?,
            squeeze: Conv2d::same3x3(&conv.pp(0), channels, third)?,
            expand: Conv2d::same3x3(&conv.pp(2), third, channels)?,
            conv_blk: AgentBlock::new(&scope.pp("conv_blk"), channels)?,
            skip_scale2: scope.weight("skip_scale2", channels, Init::Constant(1.0))?,
        })
    }

    /// `(B, H, W, C)` to the same shape.
    ///
    /// # Errors
    /// If the channels differ.
    pub fn forward(&self, x: &Node) -> Result<Node> {
        let ringed = ops::zero_ring(&self.ln_1.forward(x)?)?;
        let scanned = ops::crop_ring(&self.self_attention.forward(&ringed)?)?;
        let x = ops::scale_add(x, &self.skip_scale, &scanned)?;
        let image = ops::image_from_tokens(&self.ln_2.forward(&x)?)?;
        let local = self.expand.forward(&ops::gelu(&self.squeeze.forward(&image)?)?)?;
        let attended = self.conv_blk.forward(&ops::tokens_from_image(&local)?)?;
        ops::scale_add(&x, &self.skip_scale2, &attended)
    }
}

impl Module for Vssb {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        in_candle(x, |x| self.forward(x))
    }
}

/// A [`Vssb`] with a residual, a layer norm and a 3x3 convolution.
///
/// Source: ColorMamba, arXiv 2408.08087.
pub struct MambaStage {
    block: Vssb,
    norm: LayerNorm,
    conv_after_body: Conv2d,
}

impl MambaStage {
    /// For images of `channels` channels.
    ///
    /// # Errors
    /// If `channels` is not a positive multiple of 8, or the parameters exist with other shapes.
    pub fn new(scope: &Scope, channels: usize) -> Result<Self> {
        Ok(Self {
            block: Vssb::new(&scope.pp("layers.0.residual_group.blocks.0"), channels)?,
            norm: LayerNorm::new(&scope.pp("norm"), channels)?,
            conv_after_body: Conv2d::same3x3(&scope.pp("conv_after_body"), channels, channels)?,
        })
    }

    /// `(B, C, H, W)` to the same shape, any H and W.
    ///
    /// # Errors
    /// If the channels differ.
    pub fn forward(&self, x: &Node) -> Result<Node> {
        let tokens = ops::tokens_from_image(x)?;
        let tokens = ops::add(&self.block.forward(&tokens)?, &tokens)?;
        self.conv_after_body.forward(&ops::image_from_tokens(&self.norm.forward(&tokens)?)?)
    }
}

impl Module for MambaStage {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        in_candle(x, |x| self.forward(x))
    }
}
