//! The PatchGAN critic.

use candle_core::Result;
use colormamba_layers::{Conv2d, CriticConv2d, LEAK, Scope};
use colormamba_ops::{Activation, Conv2dConfig, Node};

/// Base width of the published critics.
pub const PUBLISHED_NDF: usize = 64;

/// 70x70 PatchGAN (Isola et al., arXiv 1611.07004) with spectral norm in the middle three convolutions.
pub struct Critic {
    first: Conv2d,
    middle: [CriticConv2d; 3],
    last: Conv2d,
}

impl Critic {
    /// `ndf`: base width ([`PUBLISHED_NDF`] as published).
    ///
    /// # Errors
    /// If the tensors exist with other shapes.
    pub fn new(scope: &Scope, ndf: usize) -> Result<Self> {
        let config = |stride| Conv2dConfig { stride, padding: 1 };
        let middle = |k: usize, i: usize, stride| {
            let scope = scope.pp(format!("model.{k}.module"));
            CriticConv2d::new(&scope, i * ndf, 2 * i * ndf, 4, config(stride))
        };
        Ok(Self {
            first: Conv2d::halving(&scope.pp("model.0"), 3, ndf)?,
            middle: [middle(2, 1, 2)?, middle(4, 2, 2)?, middle(6, 4, 1)?],
            last: Conv2d::new(&scope.pp("model.8"), 8 * ndf, 1, 4, config(1))?,
        })
    }

    /// `(B, 3, H, W)` to one score per patch, `(B, 1, H/8 − 2, W/8 − 2)`. Its power iterations move at every call.
    ///
    /// # Errors
    /// If the image is smaller than 24 pixels on a side or has not 3 channels.
    pub fn forward(&self, x: impl Into<Node>) -> Result<Node> {
        let leaky = Activation::LeakyRelu(LEAK);
        let mut x = self.first.forward_fused(&[x.into()], leaky)?;
        for conv in &self.middle {
            x = conv.forward(x, leaky)?;
        }
        self.last.forward(x)
    }
}
