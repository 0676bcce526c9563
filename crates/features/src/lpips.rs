//! LPIPS, layer by layer.

use crate::{FeatureError, FeatureNetwork, Network};
use candle_core::{DType, Device, Result, Tensor};
use colormamba_cpu::{Real, Shared, tensor, vectorize, with_slices};
use colormamba_cuda::applies;
use colormamba_metrics::{Best, Definition};
use colormamba_ops::{Node, OpError};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

const OP: &str = "lpips";
/// What keeps the length of a feature vector from 0.
const EPS: f64 = 1e-10;
/// Elements of a task, and the fewest of its positions.
const BLOCK: usize = 1 << 15;
const POSITIONS: usize = 256;

/// A classifier with learned weights of LPIPS.
///
/// The weights are those of version 0.1, "lin": Zhang, Isola, Efros, Shechtman, Wang, "The unreasonable effectiveness
/// of deep features as a perceptual metric", CVPR 2018, arXiv 1801.03924. Of the two that tolerate shifts: those of ST-LPIPS,
/// Ghildyal, Liu, "Shift-tolerant perceptual similarity metric", ECCV 2022, arXiv 2207.13686.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LpipsNetwork {
    /// VGG-16.
    Vgg,
    /// AlexNet.
    Alex,
    /// SqueezeNet 1.1.
    Squeeze,
    /// VGG-16 with blur pooling.
    #[serde(rename = "st-vgg")]
    StVgg,
    /// AlexNet with blur pooling.
    #[serde(rename = "st-alex")]
    StAlex,
}

impl LpipsNetwork {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Vgg, Self::Alex, Self::Squeeze, Self::StVgg, Self::StAlex];

    /// Its classifier.
    pub fn classifier(self) -> Network {
        match self {
            Self::Vgg => Network::Vgg16,
            Self::Alex => Network::AlexNet,
            Self::Squeeze => Network::SqueezeNet,
            Self::StVgg => Network::StVgg16,
            Self::StAlex => Network::StAlexNet,
        }
    }

    /// What is known of LPIPS, or ST-LPIPS, with this network as a measure: the layers' sum, from 0 for equal images.
    pub fn definition(self) -> &'static Definition {
        match self {
            Self::Vgg => &const { definition("lpips[vgg]", "LPIPS VGG", 16) },
            Self::Alex => &const { definition("lpips[alex]", "LPIPS Alex", 31) },
            Self::Squeeze => &const { definition("lpips[squeeze]", "LPIPS Squeeze", 17) },
            Self::StVgg => &const { definition("st-lpips[vgg]", "ST-LPIPS VGG", 18) },
            Self::StAlex => &const { definition("st-lpips[alex]", "ST-LPIPS Alex", 21) },
        }
    }

    /// The feature maps that are compared.
    pub fn taps(self) -> &'static [&'static str] {
        match self {
            Self::Vgg | Self::StVgg => &["relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"],
            Self::Alex | Self::Squeeze | Self::StAlex => self.classifier().taps(),
        }
    }

    /// The learned weights of each of these feature maps, one a channel, none negative.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub fn layers(self) -> std::result::Result<Vec<LpipsLayer>, FeatureError> {
        let file: &[u8] = match self {
            Self::Vgg => include_bytes!("../../../weights/lpips/vgg.safetensors"),
            Self::Alex => include_bytes!("../../../weights/lpips/alex.safetensors"),
            Self::Squeeze => include_bytes!("../../../weights/lpips/squeeze.safetensors"),
            Self::StVgg => include_bytes!("../../../weights/stlpips/vgg.safetensors"),
            Self::StAlex => include_bytes!("../../../weights/stlpips/alex.safetensors"),
        };
        let tensors = candle_core::safetensors::load_buffer(file, &Device::Cpu)?;
        let layer = |(index, tap): (usize, &&'static str)| {
            let name = format!("lin{index}");
            let missing = || candle_core::Error::Msg(format!("no linear weights {name}"));
            let weights = tensors.get(&name).ok_or_else(missing)?.to_dtype(DType::F64)?.to_vec1()?;
            Ok(LpipsLayer { tap, weights })
        };
        self.taps().iter().enumerate().map(layer).collect()
    }

    /// LPIPS of images `(B, 3, H, W)` in `[0, 1]`, seen through `network`, its classifier: the layers' sum, meant over the
    /// batch. From 0, for equal images; lower is better.
    ///
    /// # Errors
    /// Images of different shapes, or too small for the network.
    pub fn distance(
        self,
        network: &FeatureNetwork,
        pred: &Tensor,
        target: &Tensor,
    ) -> std::result::Result<f64, FeatureError> {
        let taps: Vec<String> = self.taps().iter().map(|tap| tap.to_string()).collect();
        let (pred, target) = (network.forward(&Node::from(pred), &taps)?, network.forward(&Node::from(target), &taps)?);
        let part = |layer: LpipsLayer| {
            let (pred, target) = (&pred[layer.tap()], &target[layer.tap()]);
            layer.against(target.value())?.mean(pred)?.value().to_scalar::<f64>()
        };
        Ok(self.layers()?.into_iter().map(part).sum::<Result<f64>>()?)
    }
}

/// A spec of LPIPS is as short as its name.
const fn definition(spec: &'static str, label: &'static str, smallest_side: usize) -> Definition {
    Definition { spec, name: spec, label, unit: "", best: Best::Lowest, smallest_side }
}

/// The learned weights of a feature map.
#[derive(Clone, Debug)]
pub struct LpipsLayer {
    tap: &'static str,
    weights: Vec<f64>,
}

impl LpipsLayer {
    /// The name of the feature map.
    pub fn tap(&self) -> &'static str {
        self.tap
    }

    /// The weights, one a channel.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// This layer's part of LPIPS as a distance from the feature map `target` `(B, C, H, W)`, which takes no gradient.
    ///
    /// # Errors
    /// [`OpError::Shape`] unless there are as many channels as weights.
    pub fn against(self, target: &Tensor) -> Result<LpipsDistance> {
        let target = &target.contiguous()?;
        let layout = Layout::of(target, self.weights.len())?;
        if applies(target) {
            let (unit, weights) = cuda::unit(layout, target, &self.weights)?;
            return Ok(LpipsDistance { layer: self, layout, unit, weights: Some(weights) });
        }
        let unit = with_slices!(OP, [target], T => {
            let mut unit = vec![T::ZERO; target.len()];
            let shared = Shared::new(&mut unit);
            layout.each_block(|block| {
                vectorize(
                    #[inline(always)]
                    || {
                        let inverse = block.inverse_lengths(target);
                        for at in block.channels() {
                            // SAFETY: blocks differ in positions or image.
                            let unit = unsafe { shared.slice(at.clone()) };
                            for ((u, t), s) in unit.iter_mut().zip(&target[at]).zip(&inverse) {
                                *u = *t * *s;
                            }
                        }
                    },
                );
            });
            Ok(tensor(unit, layout.shape()))
        })?;
        Ok(LpipsDistance { layer: self, layout, unit, weights: None })
    }
}

/// A layer's part of LPIPS, given the target.
#[derive(Clone)]
pub struct LpipsDistance {
    layer: LpipsLayer,
    layout: Layout,
    /// The target's feature vectors, of length 1.
    unit: Tensor,
    /// The layer's weights where kernels read them.
    weights: Option<Tensor>,
}

impl LpipsDistance {
    /// The name of the feature map.
    pub fn tap(&self) -> &'static str {
        self.layer.tap
    }

    /// ⟨Σ_c w_c (p̂_c − t̂_c)²⟩ over batch and positions for the feature map `p` of the target's shape, with x̂ = x /
    /// (‖x‖ + 1e-10) along the channels; an f64 scalar.
    ///
    /// A feature vector of zeros gets no gradient: after a ReLU none would pass.
    ///
    /// # Errors
    /// [`OpError::Shape`] if the shapes differ.
    pub fn mean(&self, p: &Node) -> Result<Node> {
        let p = p.contiguous()?;
        if p.shape() != self.unit.shape() {
            return Err(OpError::shape(OP, format!("{:?}, as the target", self.unit.shape()), p.shape()));
        }
        let layout = self.layout;
        if let Some(weights) = self.weights.clone() {
            let (pv, unit) = (p.value().clone(), self.unit.clone());
            let (mean, notes) = cuda::mean(layout, &pv, &unit, &weights)?;
            return Node::new(mean, [&p], move |grad| {
                Ok([Some(cuda::gradient(layout, [&pv, &unit, &weights, &notes, grad])?)])
            });
        }
        let count = (layout.batch * layout.positions) as f64;
        let (pv, unit, weights) = (p.value().clone(), self.unit.clone(), self.layer.weights.clone());
        let mean = total(layout, &pv, &unit, &weights)? / count;
        Node::new(tensor(vec![mean], ()), [&p], move |grad| {
            let scale = grad.to_scalar::<f64>()? / count;
            Ok([Some(gradient(layout, &pv, &unit, &weights, scale)?)])
        })
    }
}

/// The sum over batch and positions.
fn total(layout: Layout, p: &Tensor, unit: &Tensor, weights: &[f64]) -> Result<f64> {
    with_slices!(OP, [p, unit], T => {
        let weights: Vec<T> = weights.iter().map(|w| T::of(*w)).collect();
        let sums = layout.each_block(|block| {
            vectorize(
                #[inline(always)]
                || {
                    let inverse = block.inverse_lengths(p);
                    let mut sums = vec![T::ZERO; inverse.len()];
                    for (at, w) in block.channels().zip(&weights) {
                        for (((sum, p), u), s) in sums.iter_mut().zip(&p[at.clone()]).zip(&unit[at]).zip(&inverse) {
                            let d = *p * *s - *u;
                            *sum += *w * d * d;
                        }
                    }
                    sums.iter().map(|sum| sum.wide()).sum::<f64>()
                },
            )
        });
        Ok(sums.iter().sum())
    })
}

/// `scale` times the gradient of [`total`] by `p`.
///
/// With n = ‖p‖, s = 1 / (n + ε), d = s p − t̂ and q = Σ w d p it is 2 (s w d − s² q/n p).
fn gradient(layout: Layout, p: &Tensor, unit: &Tensor, weights: &[f64], scale: f64) -> Result<Tensor> {
    with_slices!(OP, [p, unit], T => {
        let weights: Vec<T> = weights.iter().map(|w| T::of(*w)).collect();
        let mut dp = vec![T::ZERO; p.len()];
        let shared = Shared::new(&mut dp);
        let twice = T::of(2.0 * scale);
        layout.each_block(|block| {
            vectorize(
                #[inline(always)]
                || {
                    let mut inverse = block.inverse_lengths(p);
                    let mut shares = vec![T::ZERO; inverse.len()];
                    for (at, w) in block.channels().zip(&weights) {
                        for (((q, p), u), s) in shares.iter_mut().zip(&p[at.clone()]).zip(&unit[at]).zip(&inverse) {
                            *q += *w * (*p * *s - *u) * *p;
                        }
                    }
                    let eps = T::of(EPS);
                    for (q, s) in shares.iter_mut().zip(&mut inverse) {
                        let length = T::ONE / *s - eps;
                        // A factor of 0 leaves a vector of zeros without gradient.
                        (*q, *s) = if length > eps { (*q * *s * *s / length, *s) } else { (T::ZERO, T::ZERO) };
                    }
                    for (at, w) in block.channels().zip(&weights) {
                        // SAFETY: blocks differ in positions or image.
                        let dp = unsafe { shared.slice(at.clone()) };
                        let inputs = p[at.clone()].iter().zip(&unit[at]);
                        for (((dp, (p, u)), s), q) in dp.iter_mut().zip(inputs).zip(&inverse).zip(&shares) {
                            *dp = twice * (*s * *w * (*p * *s - *u) - *q * *p);
                        }
                    }
                },
            );
        });
        Ok(tensor(dp, layout.shape()))
    })
}

/// A feature map `(batch, channels, positions)`.
#[derive(Clone, Copy)]
struct Layout {
    batch: usize,
    channels: usize,
    /// Height and width.
    size: (usize, usize),
    positions: usize,
}

impl Layout {
    fn of(x: &Tensor, channels: usize) -> Result<Self> {
        match *x.dims() {
            [batch, c, h, w] if c == channels && batch * h * w > 0 => {
                Ok(Self { batch, channels, size: (h, w), positions: h * w })
            }
            _ => Err(OpError::shape(OP, format!("(B, {channels}, H, W), not empty"), x.shape())),
        }
    }

    fn shape(self) -> (usize, usize, usize, usize) {
        (self.batch, self.channels, self.size.0, self.size.1)
    }

    /// What `f` makes of each block of positions, in their order. How they are cut does not depend on the number of
    /// threads.
    fn each_block<R: Send>(self, f: impl Fn(Block) -> R + Sync) -> Vec<R> {
        let length = (BLOCK / self.channels).max(POSITIONS);
        let blocks = self.positions.div_ceil(length);
        let block = |i: usize| {
            let (image, first) = (i / blocks, i % blocks * length);
            f(Block { layout: self, image, first, length: length.min(self.positions - first) })
        };
        (0..self.batch * blocks).into_par_iter().map(block).collect()
    }
}

/// Neighbouring positions of an image.
#[derive(Clone, Copy)]
struct Block {
    layout: Layout,
    image: usize,
    first: usize,
    length: usize,
}

impl Block {
    /// Where each channel's elements lie.
    #[inline(always)]
    fn channels(self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let Layout { channels, positions, .. } = self.layout;
        (0..channels).map(move |channel| {
            let start = (self.image * channels + channel) * positions + self.first;
            start..start + self.length
        })
    }

    /// 1 / (‖x‖ + ε) at each position.
    #[inline(always)]
    fn inverse_lengths<T: Real>(self, x: &[T]) -> Vec<T> {
        let mut sums = vec![T::ZERO; self.length];
        for at in self.channels() {
            for (sum, x) in sums.iter_mut().zip(&x[at]) {
                *sum += *x * *x;
            }
        }
        for sum in &mut sums {
            *sum = T::ONE / (sum.sqrt() + T::of(EPS));
        }
        sums
    }
}

mod cuda {
    use super::{EPS, Layout};
    use crate::kernels::FEATURES;
    use candle_core::{DType, Result, Tensor};
    use colormamba_cuda::{DeviceMemory, Launch, threads_for};

    const THREADS: u32 = 256;
    /// Positions of a block.
    const POSITIONS: usize = 32;
    /// Elements for each thread of the gradient.
    const EACH: usize = 4;

    fn by_position<'a>(kernel: &'static str, layout: Layout, x: &Tensor) -> Launch<'a> {
        let threads = threads_for(POSITIONS * layout.channels).min(THREADS);
        let blocks = layout.positions.div_ceil(POSITIONS);
        Launch::new(&FEATURES, kernel, x).blocks([blocks, layout.batch, 1], threads)
    }

    /// Feature vectors of length 1, and the weights where these are.
    pub(super) fn unit(layout: Layout, x: &Tensor, weights: &[f64]) -> Result<(Tensor, Tensor)> {
        let mut unit = DeviceMemory::like(x)?;
        let launch = by_position("lpips_unit", layout, x).input(x).output(&mut unit);
        launch.sizes([layout.channels, layout.positions]).number(EPS).run()?;
        let dtype = if x.dtype() == DType::BF16 { DType::F32 } else { x.dtype() };
        Ok((unit.tensor(layout.shape())?, Tensor::new(weights, x.device())?.to_dtype(dtype)?))
    }

    /// The mean, and what the gradient needs.
    pub(super) fn mean(layout: Layout, p: &Tensor, unit: &Tensor, weights: &Tensor) -> Result<(Tensor, Tensor)> {
        let Layout { batch, channels, positions, .. } = layout;
        let (parts, count) = (batch * positions.div_ceil(POSITIONS), batch * positions);
        let (mut partial, mut notes) =
            (DeviceMemory::new(p, DType::F64, parts)?, DeviceMemory::statistics(p, 2 * count)?);
        let launch = by_position("lpips", layout, p).input(p).input(unit).input(weights);
        launch.output(&mut partial).output(&mut notes).sizes([channels, positions]).number(EPS).run()?;
        let (partial, mut mean) = (partial.tensor(parts)?, DeviceMemory::new(p, DType::F64, 1)?);
        let launch = Launch::new(&FEATURES, "add_up", p).blocks([1; 3], threads_for(parts).min(THREADS));
        launch.input(&partial).output(&mut mean).size(parts).number(count as f64).run()?;
        Ok((mean.tensor(())?, notes.tensor(2 * count)?))
    }

    /// Of prediction, target, weights, notes and the gradient by the mean.
    pub(super) fn gradient(layout: Layout, inputs: [&Tensor; 5]) -> Result<Tensor> {
        let ([p, ..], Layout { batch, channels, positions, .. }) = (inputs, layout);
        let (n, mut dp) = (p.elem_count(), DeviceMemory::like(p)?);
        let launch = Launch::new(&FEATURES, "lpips_gradient", p).over(n.div_ceil(EACH), THREADS);
        let launch = inputs.into_iter().fold(launch, Launch::input).output(&mut dp);
        launch.sizes([n, channels, positions]).number(1.0 / (batch * positions) as f64).run()?;
        dp.tensor(p.shape())
    }
}
