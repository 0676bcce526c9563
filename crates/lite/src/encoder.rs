//! EfficientNet-Lite0 without its classifier.

use crate::chance::drop_images;
use candle_core::{Result, Tensor};
use colormamba_layers::{ConvFrozenNorm, Scope};
use colormamba_ops::{Activation, Conv2dConfig, Node, add, pad2d};
use rand_chacha::ChaCha8Rng;

/// Blocks of one width (Tan & Le, arXiv 1905.11946, table 1; the Lite form has no squeeze-and-excitation, ReLU6 for
/// SiLU, and a stem of 32 channels).
struct Stage {
    expansion: usize,
    channels: usize,
    repeats: usize,
    stride: usize,
    kernel: usize,
}

const fn stage(expansion: usize, channels: usize, repeats: usize, stride: usize, kernel: usize) -> Stage {
    Stage { expansion, channels, repeats, stride, kernel }
}

const STAGES: [Stage; 7] = [
    stage(1, 16, 1, 1, 3),
    stage(6, 24, 2, 2, 3),
    stage(6, 40, 2, 2, 5),
    stage(6, 80, 3, 2, 3),
    stage(6, 112, 3, 1, 5),
    stage(6, 192, 4, 2, 5),
    stage(6, 320, 1, 1, 3),
];

/// Channels after the first convolution.
const STEM: usize = 32;

/// Feature maps at strides 2, 4, 8, 16 and 32, of these many channels.
pub const CHANNELS: [usize; 5] = [16, 24, 40, 112, 320];

/// What the encoder makes of an image: `(B, CHANNELS[n], ⌈H / 2^(n+1)⌉, ⌈W / 2^(n+1)⌉)`.
pub type Maps = [Node; 5];

/// The convolutions of EfficientNet-Lite0, with the names of the published PyTorch file. Its batch norms keep the
/// statistics that they were trained with; their scales and shifts can be trained.
pub struct Encoder {
    stem: ConvFrozenNorm,
    blocks: Vec<Block>,
}

impl Encoder {
    /// Over tensors `_conv_stem.weight`, `_bn0.*`, `_blocks.N.*`.
    ///
    /// # Errors
    /// If they exist with other shapes.
    pub fn new(scope: &Scope) -> Result<Self> {
        let halving = Conv2dConfig { stride: 2, padding: 0 };
        let stem = ConvFrozenNorm::dense(scope, "_conv_stem", "_bn0", 3, STEM, 3, halving, Activation::Relu6)?;
        let (mut blocks, mut inputs) = (Vec::new(), STEM);
        for stage in &STAGES {
            for repeat in 0..stage.repeats {
                let stride = if repeat == 0 { stage.stride } else { 1 };
                let scope = scope.pp("_blocks").pp(blocks.len());
                blocks.push(Block::new(&scope, inputs, stage, stride)?);
                inputs = stage.channels;
            }
        }
        Ok(Self { stem, blocks })
    }

    /// The maps of a gray image `(B, 1, H, W)` in `[0, 1]`, taken as the three equal channels that ImageNet's would
    /// have. In training, blocks are left out by `chance`, see [`crate::Dropping::blocks`].
    ///
    /// # Errors
    /// For other shapes and empty images.
    pub fn forward(&self, gray: &Tensor, mut chance: Option<(&mut ChaCha8Rng, f64)>) -> Result<Maps> {
        let (_, _, height, width) = gray.dims4()?;
        // (255 v − 127) / 128, as the encoder was trained.
        let image = Tensor::cat(&[gray, gray, gray], 1)?.affine(255.0 / 128.0, -127.0 / 128.0)?;
        // TensorFlow's padding: the odd pixel goes right and below.
        let (top, left) = (height % 2, width % 2);
        let mut x = self.stem.forward(pad2d(&image, [top, 1, left, 1])?)?;
        let mut maps = Vec::with_capacity(CHANNELS.len());
        let last = self.blocks.iter().rposition(|block| block.skip).unwrap_or(0);
        for (n, block) in self.blocks.iter().enumerate() {
            if block.stride == 2 {
                maps.push(x.clone());
            }
            let chance = chance.as_mut().map(|(chance, share)| (&mut **chance, *share * n as f64 / last as f64));
            x = block.forward(x, chance)?;
        }
        maps.push(x);
        maps.try_into().map_err(|_| candle_core::Error::Msg("the encoder has another number of stages".into()))
    }
}

/// An inverted residual (Sandler et al., arXiv 1801.04381): wider, each channel for itself, narrower, and the input added
/// where it has the same shape.
struct Block {
    expand: Option<ConvFrozenNorm>,
    depthwise: ConvFrozenNorm,
    project: ConvFrozenNorm,
    stride: usize,
    skip: bool,
}

impl Block {
    fn new(scope: &Scope, inputs: usize, stage: &Stage, stride: usize) -> Result<Self> {
        let (wide, point) = (inputs * stage.expansion, Conv2dConfig::default());
        let dense = |conv, norm, i, o, activation| ConvFrozenNorm::dense(scope, conv, norm, i, o, 1, point, activation);
        Ok(Self {
            expand: (stage.expansion > 1)
                .then(|| dense("_expand_conv", "_bn0", inputs, wide, Activation::Relu6))
                .transpose()?,
            depthwise: ConvFrozenNorm::depthwise(
                scope,
                "_depthwise_conv",
                "_bn1",
                wide,
                stage.kernel,
                stride,
                Activation::Relu6,
            )?,
            project: dense("_project_conv", "_bn2", wide, stage.channels, Activation::Identity)?,
            stride,
            skip: stride == 1 && inputs == stage.channels,
        })
    }

    fn forward(&self, x: Node, chance: Option<(&mut ChaCha8Rng, f64)>) -> Result<Node> {
        let wide = self.expand.as_ref().map_or_else(|| Ok(x.clone()), |expand| expand.forward(x.clone()))?;
        let y = self.project.forward(self.depthwise.forward(wide)?)?;
        match (self.skip, chance) {
            (false, _) => Ok(y),
            (true, None) => add(x, y),
            (true, Some((chance, share))) => add(x, drop_images(y, share, chance)?),
        }
    }
}

/// What this crate's network calls a tensor of a published EfficientNet-Lite0: of the PyTorch package
/// `efficientnet_lite_pytorch` (`_blocks.1._expand_conv.weight`) or of timm's `tf_efficientnet_lite0`
/// (`blocks.1.0.conv_pw.weight`). `None` for every other name.
pub fn own_name(published: &str) -> Option<String> {
    let ours = |name: &str| ["_conv_stem.", "_bn0.", "_blocks."].iter().any(|start| name.starts_with(start));
    let name = if ours(published) { published.to_string() } else { of_timm(published)? };
    Some(format!("{ENCODER}.{name}"))
}

/// The scope of the encoder in the whole network.
pub(crate) const ENCODER: &str = "encoder";

fn of_timm(name: &str) -> Option<String> {
    let (layer, rest) = name.split_once('.')?;
    match layer {
        "conv_stem" => Some(format!("_conv_stem.{rest}")),
        "bn1" => Some(format!("_bn0.{rest}")),
        "blocks" => {
            let mut parts = rest.splitn(4, '.');
            let (stage, repeat) = (parts.next()?.parse::<usize>().ok()?, parts.next()?.parse::<usize>().ok()?);
            let before: usize = STAGES.get(..stage)?.iter().map(|stage| stage.repeats).sum();
            let expands = STAGES.get(stage)?.expansion > 1;
            let layer = layer_of_timm(parts.next()?, expands)?;
            Some(format!("_blocks.{}.{layer}.{}", before + repeat, parts.next()?))
        }
        _ => None,
    }
}

fn layer_of_timm(layer: &str, expands: bool) -> Option<&'static str> {
    Some(match (layer, expands) {
        ("conv_dw", _) => "_depthwise_conv",
        ("conv_pw", true) => "_expand_conv",
        ("conv_pwl", true) | ("conv_pw", false) => "_project_conv",
        ("bn1", true) => "_bn0",
        ("bn2", true) | ("bn1", false) => "_bn1",
        ("bn3", true) | ("bn2", false) => "_bn2",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_names() {
        let pairs = [
            ("_conv_stem.weight", "_conv_stem.weight"),
            ("_blocks.3._bn1.running_var", "_blocks.3._bn1.running_var"),
            ("conv_stem.weight", "_conv_stem.weight"),
            ("bn1.bias", "_bn0.bias"),
            ("blocks.0.0.conv_dw.weight", "_blocks.0._depthwise_conv.weight"),
            ("blocks.0.0.conv_pw.weight", "_blocks.0._project_conv.weight"),
            ("blocks.0.0.bn2.weight", "_blocks.0._bn2.weight"),
            ("blocks.1.0.conv_pw.weight", "_blocks.1._expand_conv.weight"),
            ("blocks.2.1.bn1.running_mean", "_blocks.4._bn0.running_mean"),
            ("blocks.6.0.conv_pwl.weight", "_blocks.15._project_conv.weight"),
        ];
        for (published, ours) in pairs {
            assert_eq!(own_name(published), Some(format!("encoder.{ours}")));
        }
        for other in ["_fc.weight", "_conv_head.weight", "_bn1.weight", "classifier.bias", "blocks.7.0.bn1.bias", "bn1"]
        {
            assert_eq!(own_name(other), None, "{other}");
        }
    }
}
