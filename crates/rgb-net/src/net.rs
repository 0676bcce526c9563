//! The network itself: an encoder of 4x4 convolutions with Mamba stages, a decoder that G_B's features modulate.

use crate::{CrissCross, EdgeMap};
use candle_core::{Result, Tensor};
use colormamba_layers::{ColorDecoder, Conv2d, ConvTranspose2d, LEAK, NORM_EPS, Scope, SpadeBlock};
use colormamba_ops::{self as ops, Activation, Node};
use colormamba_ssm::MambaStage;

fn instance_norm(x: Node) -> Result<Node> {
    ops::instance_norm(x, NORM_EPS, Activation::Identity)
}

/// Leaky ReLU, halving convolution, a Mamba stage where there is one, instance norm.
struct Coder {
    conv: Conv2d,
    mamba: Option<MambaStage>,
}

impl Coder {
    fn new(scope: &Scope, i: usize, o: usize, mamba: bool) -> Result<Self> {
        Ok(Self {
            conv: Conv2d::halving(&scope.pp("1"), i, o)?,
            mamba: mamba.then(|| MambaStage::new(&scope.pp("2"), o)).transpose()?,
        })
    }

    fn forward(&self, x: &Node) -> Result<Node> {
        let mut x = self.conv.forward(ops::leaky_relu(x, LEAK)?)?;
        if let Some(mamba) = &self.mamba {
            x = mamba.forward(&x)?;
        }
        instance_norm(x)
    }
}

/// The bottleneck: down and up again.
struct Innermost {
    down: Conv2d,
    up: ConvTranspose2d,
}

impl Innermost {
    fn forward(&self, x: &Node) -> Result<Node> {
        let x = self.down.forward(ops::leaky_relu(x, LEAK)?)?;
        instance_norm(self.up.forward(ops::relu(x)?)?)
    }
}

/// ReLU and a doubling convolution of some maps joined.
struct Up(ConvTranspose2d);

impl Up {
    fn forward(&self, xs: Vec<Node>) -> Result<Node> {
        self.0.forward_joined(&xs.into_iter().map(ops::relu).collect::<Result<Vec<_>>>()?)
    }
}

/// The RGB network of width `g`.
pub struct RgbNet {
    edge_map: EdgeMap,
    first: Conv2d,
    first_mamba: MambaStage,
    /// coder_2 to coder_(depth − 1).
    coders: Vec<Coder>,
    innermost: Innermost,
    /// decoder_(depth − 1) down to decoder_6: none at depth 6.
    deep: Vec<Up>,
    /// decoder_5, decoder_4, decoder_3, decoder_2.
    colour: [ColorDecoder; 4],
    last: Up,
    fusion: SpadeBlock,
    cross: CrissCross,
    fin_out: Conv2d,
}

impl RgbNet {
    /// Takes its parameters from `scope`. `depth` is the number of halvings, 6 to 8; only 8 loads published weights.
    ///
    /// # Errors
    /// If the tensors exist with other shapes.
    pub fn new(scope: &Scope, g: usize, depth: usize, edge_map: EdgeMap) -> Result<Self> {
        let width = |k: usize| g * (1 << (k - 1).min(3));
        let coder = |k: usize| Coder::new(&scope.pp(format!("coder_{k}")), width(k - 1), width(k), k <= 3);
        let deep = |k: usize| {
            let scope = scope.pp(format!("decoder_{k}.1"));
            ConvTranspose2d::doubling(&scope, 16 * g, 8 * g).map(Up)
        };
        let colour = |k: usize, i: usize, o: usize| ColorDecoder::new(&scope.pp(format!("decoder_{k}")), i * g, o * g);
        let innermost = scope.pp("innermost_8");
        Ok(Self {
            edge_map,
            first: Conv2d::halving(&scope.pp("coder_1.0"), 1, g)?,
            first_mamba: MambaStage::new(&scope.pp("coder_1.1"), g)?,
            coders: (2..depth).map(coder).collect::<Result<_>>()?,
            innermost: Innermost {
                down: Conv2d::halving(&innermost.pp("1"), 8 * g, 8 * g)?,
                up: ConvTranspose2d::doubling(&innermost.pp("3"), 8 * g, 8 * g)?,
            },
            deep: (6..depth).rev().map(deep).collect::<Result<_>>()?,
            colour: [colour(5, 16, 8)?, colour(4, 16, 4)?, colour(3, 8, 2)?, colour(2, 12, 1)?],
            last: Up(ConvTranspose2d::doubling(&scope.pp("block.1"), 14 * g, g)?),
            fusion: SpadeBlock::new(&scope.pp("fusion"), 3, 1)?,
            cross: CrissCross::new(&scope.pp("cross_block"), g)?,
            fin_out: Conv2d::same3x3(&scope.pp("fin_out.0"), g, 3)?,
        })
    }

    /// `gray` `(B, 1, H, W)` in `[0, 1]`, `hsv` `(B, 3, H, W)`, `features` G_B's f1..f4; `H` and `W` multiples of 2^depth.
    /// The result is RGB `(B, 3, H, W)` in `[0, 1]`. Activations have the type of `features`, the result that of `gray`.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward(&self, gray: &Tensor, hsv: impl Into<Node>, features: [Node; 4], train: bool) -> Result<Node> {
        let activations = features[0].dtype();
        let feature = self.feature(&gray.to_dtype(activations)?, features, train)?;
        let edges = self.edge_map.compute(gray)?.to_dtype(activations)?;
        let fused = self.fusion.forward(hsv.into().to_dtype(activations)?, &edges, train)?;
        ops::sigmoid(self.fin_out.forward(self.cross.forward(feature, fused, train)?)?.to_dtype(gray.dtype())?)
    }

    /// The feature map at full size, before HSV joins.
    fn feature(&self, gray: &Tensor, [f1, f2, f3, f4]: [Node; 4], train: bool) -> Result<Node> {
        let x = self.encode(gray)?;
        let mut y = self.innermost.forward(&x[x.len() - 1])?;
        let mut skips = x.into_iter().rev();
        // The encoder's next map, coarse to fine, and then the decoder's.
        let mut joined = |maps: Vec<Node>| skips.next().into_iter().chain(maps).collect::<Vec<_>>();
        for up in &self.deep {
            y = instance_norm(up.forward(joined(vec![y]))?)?;
        }
        let [decoder_5, decoder_4, decoder_3, decoder_2] = &self.colour;
        let enlarge = ops::upsample_bilinear2d;
        let y4 = decoder_5.forward(joined(vec![y]), f4, train)?;
        let y3 = decoder_4.forward(joined(vec![y4.clone()]), f3, train)?;
        let y2 = decoder_3.forward(joined(vec![y3.clone()]), f2, train)?;
        let y1 = decoder_2.forward(joined(vec![enlarge(y4.clone(), 4)?, y2]), f1, train)?;
        self.last.forward(joined(vec![enlarge(y4, 8)?, enlarge(y3, 4)?, y1]))
    }

    /// x_1 .. x_(depth − 1).
    fn encode(&self, gray: &Tensor) -> Result<Vec<Node>> {
        let mut maps = vec![self.first_mamba.forward(&self.first.forward(gray)?)?];
        for coder in &self.coders {
            maps.push(coder.forward(&maps[maps.len() - 1])?);
        }
        Ok(maps)
    }
}
