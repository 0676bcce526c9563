//! G_B, the HSV sub-network of ColorMamba (arXiv 2408.08087): two U-Net encoders, one for colour and one for edges, and a
//! decoder that joins them.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use colormamba_hsv_net::HsvNet;
//! use colormamba_layers::Params;
//!
//! let params = Params::new(0, DType::F32, &Device::Cpu);
//! let network = HsvNet::new(&params.root(), 4)?;
//! let nir = Tensor::rand(0f32, 1f32, (1, 1, 32, 32), &Device::Cpu)?;
//! let out = network.forward(&nir, &nir.pad_with_zeros(1, 2, 0)?)?;
//! assert_eq!(out.hsv.dims(), [1, 3, 32, 32]);
//! assert_eq!(out.features[3].dims(), [1, 64, 2, 2]);
//! # Ok::<(), candle_core::Error>(())
//! ```

use candle_core::{Result, Tensor};
use colormamba_layers::{Conv2d, ConvTranspose2d, LEAK, NORM_EPS, Scope};
use colormamba_ops::{self as ops, Activation, Conv2dConfig, Node};
use colormamba_ssm::MambaStage;

const LEAKY: Activation = Activation::LeakyRelu(LEAK);

/// Convolution, instance norm, leaky ReLU, twice, with a Mamba stage behind the second convolution where there is one.
struct DoubleConv {
    conv1: Conv2d,
    conv2: Conv2d,
    mamba: Option<MambaStage>,
}

impl DoubleConv {
    fn new(scope: &Scope, i: usize, o: usize, mamba: bool) -> Result<Self> {
        Ok(Self {
            conv1: Conv2d::same3x3(&scope.pp("conv1"), i, o)?,
            conv2: Conv2d::same3x3(&scope.pp("conv2"), o, o)?,
            mamba: mamba.then(|| MambaStage::new(&scope.pp("mamba"), o)).transpose()?,
        })
    }

    /// The channels of all of `xs` together are the input.
    fn forward(&self, xs: &[Node]) -> Result<Node> {
        let x = self.conv1.forward_fused(xs, Activation::Identity)?;
        let x = ops::instance_norm(x, NORM_EPS, LEAKY)?;
        let mut x = self.conv2.forward(x)?;
        if let Some(mamba) = &self.mamba {
            x = mamba.forward(&x)?;
        }
        ops::instance_norm(x, NORM_EPS, LEAKY)
    }
}

/// Five double convolutions with 2x2 max pooling between them.
struct Encoder([DoubleConv; 5]);

impl Encoder {
    fn new(scopes: [Scope; 5], channels: usize, n: usize) -> Result<Self> {
        let layer = |k: usize, i: usize| DoubleConv::new(&scopes[k], i, n << k, (1..=3).contains(&k));
        Ok(Self([layer(0, channels)?, layer(1, n)?, layer(2, 2 * n)?, layer(3, 4 * n)?, layer(4, 8 * n)?]))
    }

    /// The five maps, finest first; the channels of all of `xs` together are the input.
    fn forward(&self, xs: &[Node]) -> Result<[Node; 5]> {
        let [layer1, layer2, layer3, layer4, layer5] = &self.0;
        let x1 = layer1.forward(xs)?;
        let x2 = layer2.forward(&[ops::max_pool2d(&x1)?])?;
        let x3 = layer3.forward(&[ops::max_pool2d(&x2)?])?;
        let x4 = layer4.forward(&[ops::max_pool2d(&x3)?])?;
        let x5 = layer5.forward(&[ops::max_pool2d(&x4)?])?;
        Ok([x1, x2, x3, x4, x5])
    }
}

/// Doubles the size, then joins the encoders' maps of that size.
struct Decoder {
    up: ConvTranspose2d,
    conv: DoubleConv,
}

/// What G_B hands on.
pub struct HsvOutput {
    /// `(B, 3, H, W)` in `[-1, 1]`.
    pub hsv: Node,
    /// The colour encoder's maps f1..f4: `(B, 2n, H/2, W/2)` to `(B, 16n, H/16, W/16)`.
    pub features: [Node; 4],
}

/// The HSV sub-network; `n` is half of ColorMamba's width.
pub struct HsvNet {
    colour: Encoder,
    edge: Encoder,
    decoders: Vec<Decoder>,
    last: Conv2d,
}

impl HsvNet {
    /// Takes its parameters from `scope`. The edge encoder's layers 2 to 5 start as copies of the colour encoder's.
    ///
    /// # Errors
    /// If the tensors exist with other shapes.
    pub fn new(scope: &Scope, n: usize) -> Result<Self> {
        let layer = |k: usize| format!("layer{k}_conv");
        let colour = [1, 2, 3, 4, 5].map(|k| scope.pp(layer(k)));
        let edge = [1, 2, 3, 4, 5].map(|k| {
            let name = format!("{}_edge", layer(k));
            let like = if k == 1 { name.clone() } else { layer(k) };
            scope.pp_as(&name, &like)
        });
        let decoder = |k: usize| -> Result<Decoder> {
            let o = (32 * n) >> k;
            let config = Conv2dConfig { stride: 2, padding: 0 };
            let up = ConvTranspose2d::new(&scope.pp(format!("deconv{k}.conv1")), 2 * o, o, 2, config)?;
            Ok(Decoder { up, conv: DoubleConv::new(&scope.pp(layer(k + 5)), 2 * o, o, false)? })
        };
        Ok(Self {
            colour: Encoder::new(colour, 5, n)?,
            edge: Encoder::new(edge, 1, n)?,
            decoders: (1..=4).map(decoder).collect::<Result<_>>()?,
            last: Conv2d::same3x3(&scope.pp("layer10_conv"), 2 * n, 3)?,
        })
    }

    /// `gray` `(B, 1, H, W)` in `[0, 1]`, `nir_hsv` `(B, 3, H, W)`; `H` and `W` multiples of 16. Activations have the type of
    /// `nir_hsv`, the image that of `gray`.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward(&self, gray: &Tensor, nir_hsv: &Tensor) -> Result<HsvOutput> {
        let activations = nir_hsv.dtype();
        // Differences of neighbours would be of little else than rounding in bf16.
        let edge = laplacian(gray)?.to_dtype(activations)?;
        let colour = [Node::from(gray).to_dtype(activations)?, edge.clone(), nir_hsv.into()];
        let [c1, c2, c3, c4, c5] = self.colour.forward(&colour)?;
        let [e1, e2, e3, e4, e5] = self.edge.forward(&[edge])?;
        let features = [&c2, &c3, &c4, &c5].map(Node::clone);
        let mut maps = vec![c5, e5];
        for (decoder, (colour, edges)) in self.decoders.iter().zip([(c4, e4), (c3, e3), (c2, e2), (c1, e1)]) {
            let up = ops::instance_norm(decoder.up.forward_joined(&maps)?, NORM_EPS, LEAKY)?;
            maps = vec![decoder.conv.forward(&[up, colour, edges])?];
        }
        let hsv = ops::tanh(self.last.forward_fused(&maps, Activation::Identity)?.to_dtype(gray.dtype())?)?;
        Ok(HsvOutput { hsv, features })
    }
}

/// The 3x3 Laplacian with all eight neighbours, zero padded.
fn laplacian(gray: &Tensor) -> Result<Node> {
    let kernel = Tensor::new(&[[-1f32, -1., -1.], [-1., 8., -1.], [-1., -1., -1.]], gray.device())?;
    let kernel = kernel.to_dtype(gray.dtype())?.reshape((1, 1, 3, 3))?;
    ops::conv2d(gray, &kernel, None, Conv2dConfig { stride: 1, padding: 1 })
}
