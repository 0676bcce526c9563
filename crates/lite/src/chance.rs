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

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// What becomes of maps of ones.
    fn ones(drop: impl Fn(Node, f64, &mut ChaCha8Rng) -> Result<Node>) -> Result<Vec<Vec<f64>>> {
        let maps = Tensor::ones((40, 50, 1, 1), DType::F64, &Device::Cpu)?;
        let mut chance = ChaCha8Rng::seed_from_u64(2);
        drop(Node::from(&maps), 0.2, &mut chance)?.value().flatten_from(1)?.to_vec2()
    }

    #[test]
    fn a_share_is_left_out_and_the_mean_stays() -> Result<()> {
        let channels = ones(drop_channels)?.concat();
        assert!(channels.iter().all(|&factor| factor == 0.0 || factor == 1.25));
        let mean = channels.iter().sum::<f64>() / channels.len() as f64;
        assert!((mean - 1.0).abs() < 0.04, "{mean}");
        let images = ones(drop_images)?;
        assert!(images.iter().all(|image| image.iter().all(|factor| *factor == image[0])));
        let left_out = images.iter().filter(|image| image[0] == 0.0).count();
        assert!((3..=14).contains(&left_out), "{left_out} of 40");
        Ok(())
    }
}
