//! The whole network.

use crate::chance::{Dropping, drop_channels};
use crate::encoder::{CHANNELS, ENCODER, Encoder};
use candle_core::{Result, Tensor};
use colormamba_layers::{BatchNorm2d, Conv2d, Init, Scope};
use colormamba_ops::{Activation, Conv2dConfig, Node, offset_gain, resize_bilinear2d, silu};
use rand_chacha::ChaCha8Rng;

/// Base widths that the decoder may have.
pub const WIDTHS: std::ops::RangeInclusive<usize> = 4..=256;

/// Channels at full size.
const FINE: usize = 16;

/// Colours of the result.
const COLOURS: usize = 3;

/// The darkest value that has a logit of its own; the brightest is as far from 1.
pub const DARKEST: f64 = 0.01;

/// The encoder, and a decoder that gives an offset and a gain for each colour.
pub struct Lite {
    encoder: Encoder,
    bottleneck: Conv2d,
    /// From the coarsest to the finest.
    up: Vec<Pair>,
    fine: Pair,
    out: Coefficients,
    dropping: Dropping,
}

impl Lite {
    /// A decoder of base width `width`, see [`WIDTHS`]: `width` channels at strides 2 and 4, 2, 4 and 6 times as many at
    /// strides 8, 16 and 32.
    ///
    /// # Errors
    /// If tensors exist with other shapes.
    pub fn new(scope: &Scope, width: usize) -> Result<Self> {
        let widths = [width, width, 2 * width, 4 * width, Self::features(width)];
        let up = (0..4).rev().map(|n| Pair::new(&scope.pp("up").pp(n), widths[n + 1] + CHANNELS[n], widths[n]));
        Ok(Self {
            encoder: Encoder::new(&scope.pp(ENCODER))?,
            bottleneck: Conv2d::new(&scope.pp("bottleneck"), CHANNELS[4], widths[4], 1, Conv2dConfig::default())?,
            up: up.collect::<Result<_>>()?,
            fine: Pair::new(&scope.pp("fine"), width + 1, FINE)?,
            out: Coefficients::new(&scope.pp("out"))?,
            dropping: Dropping::default(),
        })
    }

    /// The same network, of which passes in training leave parts out.
    pub fn with_dropping(self, dropping: Dropping) -> Self {
        Self { dropping, ..self }
    }

    /// Offsets and gains `(B, 6, H, W)` for a NIR image `(B, 1, H, W)` in `[0, 1]`: three offsets, then three gains. At
    /// the start they are 0 and 1, which gives the NIR image itself. With the random numbers of a training the
    /// decoder's batch norms take and move statistics, and parts are left out, see [`Dropping`].
    ///
    /// # Errors
    /// For other shapes and empty images.
    pub fn coefficients(&self, nir: &Tensor, chance: Option<&mut ChaCha8Rng>) -> Result<Node> {
        Ok(self.pass(nir, chance)?.0)
    }

    /// Coefficients, and the bottleneck.
    fn pass(&self, nir: &Tensor, mut chance: Option<&mut ChaCha8Rng>) -> Result<(Node, Node)> {
        let train = chance.is_some();
        let Dropping { channels, blocks } = self.dropping;
        let of_encoder = chance.as_deref_mut().map(|chance| (chance, blocks));
        let [finest, second, third, fourth, coarsest] = self.encoder.forward(nir, of_encoder)?;
        let bottleneck = self.bottleneck.forward(coarsest)?;
        let mut x = bottleneck.clone();
        if let Some(chance) = chance {
            x = drop_channels(x, channels, chance)?;
        }
        for (pair, map) in self.up.iter().zip([fourth, third, second, finest]) {
            x = pair.forward(&[enlarged(x, &map)?, map], train)?;
        }
        let nir = Node::from(nir);
        Ok((self.out.forward(self.fine.forward(&[enlarged(x, &nir)?, nir], train)?)?, bottleneck))
    }

    /// The picture `(B, 3, H, W)` in `[0, 1]` of a NIR image `(B, 1, H, W)` in `[0, 1]`.
    ///
    /// # Errors
    /// As [`Lite::coefficients`].
    pub fn forward(&self, nir: &Tensor, chance: Option<&mut ChaCha8Rng>) -> Result<Node> {
        Ok(self.with_features(nir, chance)?.0)
    }

    /// The picture as of [`Self::forward`], and the bottleneck `(B, C, ⌈H / 32⌉, ⌈W / 32⌉)` before its dropout, of C =
    /// [`Self::features`] channels.
    ///
    /// # Errors
    /// As [`Lite::coefficients`].
    pub fn with_features(&self, nir: &Tensor, chance: Option<&mut ChaCha8Rng>) -> Result<(Node, Node)> {
        let (coefficients, bottleneck) = self.pass(nir, chance)?;
        Ok((offset_gain(nir, coefficients, DARKEST)?, bottleneck))
    }

    /// Channels of the bottleneck of a decoder of base width `width`.
    pub fn features(width: usize) -> usize {
        6 * width
    }
}

/// `x` at the size of `like`.
fn enlarged(x: Node, like: &Node) -> Result<Node> {
    let (_, _, height, width) = like.dims4()?;
    resize_bilinear2d(x, height, width)
}

/// Two convolutions 3x3, each with batch norm and SiLU.
struct Pair([(Conv2d, BatchNorm2d); 2]);

impl Pair {
    fn new(scope: &Scope, inputs: usize, outputs: usize) -> Result<Self> {
        let same = Conv2dConfig { stride: 1, padding: 1 };
        let layer = |n: usize, i: usize| {
            let scope = scope.pp(n);
            let conv = Conv2d::without_bias(&scope.pp("conv"), i, outputs, 3, same)?;
            Ok::<_, candle_core::Error>((conv, BatchNorm2d::new(&scope.pp("norm"), outputs)?))
        };
        Ok(Self([layer(0, inputs)?, layer(1, outputs)?]))
    }

    fn forward(&self, xs: &[Node], train: bool) -> Result<Node> {
        let [(first, first_norm), (second, second_norm)] = &self.0;
        let x = silu(first_norm.forward(first.forward_fused(xs, Activation::Identity)?, train)?)?;
        silu(second_norm.forward(second.forward(x)?, train)?)
    }
}

/// A convolution 1x1 that gives offsets of 0 and gains of 1 at the start.
struct Coefficients(Conv2d);

impl Coefficients {
    fn new(scope: &Scope) -> Result<Self> {
        scope.weight("weight", (2 * COLOURS, FINE, 1, 1), Init::Constant(0.0))?;
        let bias = |_: &mut _, dims: &[usize]| (0..dims[0]).map(|n| f64::from(n >= COLOURS)).collect();
        scope.weight("bias", 2 * COLOURS, Init::With(bias))?;
        // The layer takes the tensors that are there.
        Ok(Self(Conv2d::new(scope, FINE, 2 * COLOURS, 1, Conv2dConfig::default())?))
    }

    fn forward(&self, x: Node) -> Result<Node> {
        self.0.forward(x)
    }
}
