//! The PatchGAN discriminator, at one or several scales.

use candle_core::{DType, Result, Tensor, Var};
use colormamba_layers::{Conv2d, DiscriminatorConv2d, LEAK, Scope};
use colormamba_ops::{Activation, Conv2dConfig, Node, avg_pool2d, leaky_relu_tangent};

/// Base width of the published discriminators.
pub const PUBLISHED_NDF: usize = 64;

/// Most scales of a discriminator.
pub const MOST_SCALES: usize = 3;

/// The smallest side of an image that one scale can score, in pixels.
const SMALLEST_SIDE: usize = 24;

/// A discriminator at one scale as published, or one at each of several scales, which share no weights.
///
/// Scale k sees the image reduced k times by the mean of 2x2 pixels.
///
/// Source: one scale as ColorMamba, arXiv 2408.08087; several as pix2pixHD, Wang et al., CVPR 2018, arXiv 1711.11585 (there
/// reduced by the mean of 3x3 pixels).
pub struct Discriminator {
    scales: Vec<PatchDiscriminator>,
    activations: Option<DType>,
}

impl Discriminator {
    /// `ndf`: base width ([`PUBLISHED_NDF`] as published); `scales`: 1 to [`MOST_SCALES`]. The tensors of a single scale are
    /// named as published, those of scale k of several are under `scale{k}.`.
    ///
    /// # Errors
    /// If the tensors exist with other shapes.
    pub fn new(scope: &Scope, ndf: usize, scales: usize) -> Result<Self> {
        if scales == 1 {
            return Ok(Self { scales: vec![PatchDiscriminator::new(scope, ndf)?], activations: None });
        }
        let scales = (0..scales).map(|k| PatchDiscriminator::new(&scope.pp(format!("scale{k}")), ndf));
        Ok(Self { scales: scales.collect::<Result<_>>()?, activations: None })
    }

    /// The same with activations of this type instead of the image's, as [`crate::Generator::with_activations`]; but
    /// [`Discriminator::gradient_penalties`] have the image's.
    pub fn with_activations(self, activations: DType) -> Self {
        Self { activations: Some(activations), ..self }
    }

    /// The smallest side of an image that a discriminator of so many scales can score, in pixels.
    pub fn smallest_side(scales: usize) -> usize {
        SMALLEST_SIDE << (scales - 1)
    }

    /// `(B, 3, H, W)` to one score per patch at each scale, `(B, 1, H/8 − 2, W/8 − 2)` at the first. Its power iterations move
    /// at every call.
    ///
    /// # Errors
    /// If the image is smaller than [`Discriminator::smallest_side`] or has not 3 channels.
    pub fn forward(&self, x: impl Into<Node>) -> Result<Vec<Node>> {
        self.at_every_scale(x.into(), |discriminator, x| self.scores(&discriminator.iterated()?, x))
    }

    /// [`Discriminator::forward`] without the power iterations: nothing moves.
    ///
    /// # Errors
    /// As there.
    pub fn probe(&self, x: impl Into<Node>) -> Result<Vec<Node>> {
        self.at_every_scale(x.into(), |discriminator, x| self.scores(&discriminator.still()?, x))
    }

    /// How far the discriminator of each scale is from a slope of 1: (‖∇ₓ s‖ − 1)² averaged over the batch, with s the mean of an
    /// image's scores and x the image as that scale sees it; f64 scalars, differentiable by the discriminator's parameters. `x` `(B, 3, H, W)`. Its power iterations move.
    ///
    /// # Errors
    /// As [`Discriminator::forward`].
    ///
    /// Source: Gulrajani et al., NeurIPS 2017, arXiv 1704.00028.
    pub fn gradient_penalties(&self, x: &Tensor) -> Result<Vec<Node>> {
        self.at_every_scale(Node::from(x).detach(), |discriminator, x| {
            gradient_penalty(&discriminator.iterated()?, x.value())
        })
    }

    /// The scores of patches, of the type of the image.
    fn scores(&self, layers: &Layers, image: &Node) -> Result<Node> {
        let [rest @ .., last] = layers;
        let mut x = image.to_dtype(self.activations.unwrap_or(image.dtype()))?;
        for layer in rest {
            x = layer.forward_fused(&[x], LEAKY)?;
        }
        last.forward(x)?.to_dtype(image.dtype())
    }

    fn at_every_scale(&self, mut x: Node, f: impl Fn(&PatchDiscriminator, &Node) -> Result<Node>) -> Result<Vec<Node>> {
        let mut results = Vec::with_capacity(self.scales.len());
        for (k, discriminator) in self.scales.iter().enumerate() {
            if k > 0 {
                x = avg_pool2d(x)?;
            }
            results.push(f(discriminator, &x)?);
        }
        Ok(results)
    }
}

/// 70x70 PatchGAN (Isola et al., arXiv 1611.07004) with spectral norm in the middle three convolutions.
struct PatchDiscriminator {
    first: Conv2d,
    middle: [DiscriminatorConv2d; 3],
    last: Conv2d,
}

impl PatchDiscriminator {
    fn new(scope: &Scope, ndf: usize) -> Result<Self> {
        let config = |stride| Conv2dConfig { stride, padding: 1 };
        let middle = |k: usize, i: usize, stride| {
            let scope = scope.pp(format!("model.{k}.module"));
            DiscriminatorConv2d::new(&scope, i * ndf, 2 * i * ndf, 4, config(stride))
        };
        Ok(Self {
            first: Conv2d::halving(&scope.pp("model.0"), 3, ndf)?,
            middle: [middle(2, 1, 2)?, middle(4, 2, 2)?, middle(6, 4, 1)?],
            last: Conv2d::new(&scope.pp("model.8"), 8 * ndf, 1, 4, config(1))?,
        })
    }

    /// The layers with their weights after one more power iteration.
    fn iterated(&self) -> Result<Layers> {
        let [a, b, c] = &self.middle;
        Ok([self.first.clone(), a.iterated()?, b.iterated()?, c.iterated()?, self.last.clone()])
    }

    /// The layers as they are.
    fn still(&self) -> Result<Layers> {
        let [a, b, c] = &self.middle;
        Ok([self.first.clone(), a.still()?, b.still()?, c.still()?, self.last.clone()])
    }
}

/// All but the last are followed by a leaky ReLU.
type Layers = [Conv2d; 5];

const LEAKY: Activation = Activation::LeakyRelu(LEAK);

/// A gradient of a gradient, without a graph of the backward pass: with v the derivative of the penalty by g = ∇ₓ s, the
/// penalty's gradient by the parameters is that of v·g with v held, and v·g is the derivative of s along v, which a forward
/// pass of tangents computes. It is exact, as leaky ReLUs are straight almost everywhere.
fn gradient_penalty(layers: &Layers, x: &Tensor) -> Result<Node> {
    let (gradient, activations) = input_gradient(layers, x)?;
    let (penalty, direction) = unit_norm_penalty(&gradient)?;
    let [rest @ .., last] = layers;
    let mut tangent = Node::from(&direction);
    for (layer, activation) in rest.iter().zip(&activations) {
        tangent = leaky_relu_tangent(layer.tangent(tangent)?, activation, LEAK)?;
    }
    let along = last.tangent(tangent)?;
    let patches = along.shape().clone();
    let share = 1.0 / (patches.elem_count() / patches.dims()[0]) as f64;
    let value = Tensor::new(penalty, x.device())?;
    let (dtype, device) = (x.dtype(), x.device().clone());
    Node::new(value, [&along], move |grad| {
        let scale = grad.to_scalar::<f64>()? * share;
        Ok([Some(Tensor::full(scale, patches, &device)?.to_dtype(dtype)?)])
    })
}

/// The gradient of each image's mean score by the image, and the activations on the way; the weights take none.
fn input_gradient(layers: &Layers, x: &Tensor) -> Result<(Tensor, Vec<Tensor>)> {
    let image = Var::from_tensor(x)?;
    let [rest @ .., last] = layers;
    let mut y = Node::from(&image);
    let mut activations = Vec::with_capacity(rest.len());
    for layer in rest {
        y = layer.detached().forward_fused(&[y], LEAKY)?;
        activations.push(y.value().clone());
    }
    let scores = last.detached().forward(y)?;
    let patches = scores.shape().elem_count() / scores.dims()[0];
    let share = (scores.value().ones_like()? / patches as f64)?;
    let gradient = scores.backward(&share)?.remove(&image);
    Ok((gradient.map_or_else(|| x.zeros_like(), Ok)?, activations))
}

/// The mean over the batch of (‖g‖ − 1)², and its derivative by g `(B, ..)`; that is 0 where g is.
fn unit_norm_penalty(g: &Tensor) -> Result<(f64, Tensor)> {
    let batch = g.dim(0)?;
    let mut penalty = 0.0;
    let mut directions = Vec::with_capacity(batch);
    for i in 0..batch {
        let g = g.get(i)?;
        let norm = g.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt();
        penalty += (norm - 1.0).powi(2) / batch as f64;
        let scale = if norm > 0.0 { 2.0 * (norm - 1.0) / (norm * batch as f64) } else { 0.0 };
        directions.push((g * scale)?);
    }
    Ok((penalty, Tensor::stack(&directions, 0)?))
}
