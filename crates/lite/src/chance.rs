//! What a training leaves to chance.

use candle_core::{Result, Tensor};
use colormamba_ops::{Node, scale_maps};
use rand::{Rng, RngExt};

/// How much of the network a pass in training leaves out. What stays is scaled up, so that the mean stays.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dropping {
    /// The share of the bottleneck's channels (Tompson et al., arXiv 1411.4280), in `[0, 1)`.
    pub channels: f64,
    /// The share of images for which the encoder's last block with a skip is that skip alone; less for those before it,
    /// in proportion to their place (Huang et al., arXiv 1603.09382). In `[0, 1)`.
    pub blocks: f64,
}

/// `x` `(B, C, H, W)` with each channel of each image left out with probability `share`.
pub(crate) fn drop_channels(x: Node, share: f64, chance: &mut impl Rng) -> Result<Node> {
    let (batch, channels, _, _) = x.dims4()?;
    scaled(x, (batch, channels), share, chance)
}

/// `x` `(B, C, H, W)` with each image's left out with probability `share`.
pub(crate) fn drop_images(x: Node, share: f64, chance: &mut impl Rng) -> Result<Node> {
    let (batch, ..) = x.dims4()?;
    scaled(x, (batch, 1), share, chance)
}

fn scaled(x: Node, (batch, channels): (usize, usize), share: f64, chance: &mut impl Rng) -> Result<Node> {
    if share == 0.0 {
        return Ok(x);
    }
    let factor = |_| if chance.random::<f64>() < share { 0.0 } else { 1.0 / (1.0 - share) };
    let factors: Vec<f64> = (0..batch * channels).map(factor).collect();
    let factors = Tensor::from_vec(factors, (batch, channels), x.value().device())?.to_dtype(x.value().dtype())?;
    scale_maps(x, &factors)
}
