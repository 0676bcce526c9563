//! The visual state space block and the Mamba stage.

use crate::{AgentBlock, Ss2d};
use candle_core::{Result, Tensor};
use colormamba_layers::{Conv2d, Init, LayerNorm, Scope};
use colormamba_ops as ops;

/// Visual state space block: a scan with a ring of padding tokens, then local convolutions and agent attention, each added
/// to a scaled residual.
pub struct Vssb {
    ln_1: LayerNorm,
    self_attention: Ss2d,
    skip_scale: Tensor,
    ln_2: LayerNorm,
    conv_0: Conv2d,
    conv_2: Conv2d,
    conv_blk: AgentBlock,
    skip_scale2: Tensor,
}

impl Vssb {
    /// For tokens of `channels`, a multiple of 8.
    ///
    /// # Errors
    /// If the tensors exist with other shapes.
    pub fn new(scope: &Scope, channels: usize) -> Result<Self> {
        Ok(Self {
            ln_1: LayerNorm::new(&scope.pp("ln_1"), channels)?,
            self_attention: Ss2d::new(&scope.pp("self_attention"), channels)?,
            skip_scale: scope.weight("skip_scale", channels, Init::Constant(1.0))?,
            ln_2: LayerNorm::new(&scope.pp("ln_2"), channels)?,
            conv_0: Conv2d::same3x3(&scope.pp("conv.0"), channels, channels / 3)?,
            conv_2: Conv2d::same3x3(&scope.pp("conv.2"), channels / 3, channels)?,
            conv_blk: AgentBlock::new(&scope.pp("conv_blk"), channels)?,
            skip_scale2: scope.weight("skip_scale2", channels, Init::Constant(1.0))?,
        })
    }

    /// `(B, H, W, channels)` to the same shape. The ring of padding tokens is zero, as published.
    ///
    /// # Errors
    /// If the channels differ.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let ringed = ops::zero_ring(&self.ln_1.forward(x)?)?;
        let scanned = ops::crop_ring(&self.self_attention.forward(&ringed)?)?;
        let x = ops::scale_add(x, &self.skip_scale, &scanned)?;
        let image = ops::image_from_tokens(&self.ln_2.forward(&x)?)?;
        let image = self.conv_2.forward(&ops::gelu(&self.conv_0.forward(&image)?)?)?;
        let attended = self.conv_blk.forward(&ops::tokens_from_image(&image)?)?;
        ops::scale_add(&x, &self.skip_scale2, &attended)
    }
}

/// A visual state space block with a residual, a layer norm and a convolution; no residual around the whole.
pub struct MambaStage {
    block: Vssb,
    norm: LayerNorm,
    conv_after_body: Conv2d,
}

impl MambaStage {
    /// For images of `channels`, a multiple of 8.
    ///
    /// # Errors
    /// If the tensors exist with other shapes.
    pub fn new(scope: &Scope, channels: usize) -> Result<Self> {
        Ok(Self {
            block: Vssb::new(&scope.pp("layers.0.residual_group.blocks.0"), channels)?,
            norm: LayerNorm::new(&scope.pp("norm"), channels)?,
            conv_after_body: Conv2d::same3x3(&scope.pp("conv_after_body"), channels, channels)?,
        })
    }

    /// `(B, channels, H, W)` to the same shape.
    ///
    /// # Errors
    /// If the channels differ.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let tokens = ops::tokens_from_image(x)?;
        let tokens = ops::add(&self.block.forward(&tokens)?, &tokens)?;
        self.conv_after_body.forward(&ops::image_from_tokens(&self.norm.forward(&tokens)?)?)
    }
}
