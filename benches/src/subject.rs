//! A case with its tensors in memory, ready to be run again and again.

use crate::case::{Case, ImageOp, RowOp};
use crate::measures;
use anyhow::Result;
use candle_core::{DType, Device, Tensor, Var};
use colormamba::{EdgeMap, Generator, GeneratorConfig};
use colormamba_features::{AutoencoderFeatures, FeatureNetwork};
use colormamba_layers::Params;
use colormamba_layers::optim::OptimizerConfig;
use colormamba_losses::{Adversarial, Extractor, ImageObjective, Networks, Term, Weight};
use colormamba_ops::{self as ops, Node};
use colormamba_ssm::{four_direction_scan, selective_scan};
use colormamba_training::{
    Adversary, AdversaryConfig, ColorMambaOptions, Head, NamedTensors, NetworkOptions, StepContext, Trainer,
    TrainerSetup, Updates,
};
use std::time::{Duration, Instant};

/// Of scans.
const STATES: usize = 16;

/// Which way through an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// An operation's forward with its graph; a model's evaluation.
    Forward,
    /// An operation's backward alone; a model's training forward and backward, or whole iteration.
    Backward,
}

/// A case with its tensors.
pub enum Subject {
    /// An operation on leaves.
    Operation {
        /// Returns the output with its graph.
        run: Box<dyn Fn() -> Result<Node>>,
        /// The gradient of the output.
        ones: Tensor,
    },
    /// Value and gradient of a loss, or measures.
    Whole {
        /// With all that is needed of the target.
        run: Box<dyn Fn() -> Result<()>>,
    },
    /// Trains and evaluates.
    Model {
        /// Without gradients.
        evaluate: Box<dyn FnMut() -> Result<()>>,
        /// With them.
        train: Box<dyn FnMut() -> Result<()>>,
    },
}

impl Subject {
    /// Makes the tensors on a device, those of activations of this type; scans of rows, losses and measures take f32.
    ///
    /// # Errors
    /// If the sizes do not fit each other.
    pub fn new(case: &Case, at: &Device, activations: DType) -> Result<Self> {
        let input = |shape: &[usize]| activation(at, shape, activations);
        Ok(match *case {
            Case::Generator { width, batch, side } => generator(at, width, (batch, side), activations)?,
            Case::Iteration { width, batch } => iteration(at, width, batch, activations)?,
            Case::Loss { ref term, batch, side } => loss(at, term, batch, side)?,
            Case::Ssim { side } => measures::ssim(side)?,
            Case::Measures { side } => measures::all(side)?,
            Case::Compare { side, pairs } => measures::folders(side, pairs)?,
            Case::Conv { transposed, inputs, outputs, kernel, stride, padding, side, batch } => {
                let cfg = ops::Conv2dConfig { stride, padding };
                let x = input(&[batch, inputs, side, side])?;
                let (from, to) = if transposed { (inputs, outputs) } else { (outputs, inputs) };
                let (w, b) = (leaf(at, &[from, to, kernel, kernel])?, leaf(at, &[outputs])?);
                operation(move || match transposed {
                    true => ops::conv_transpose2d(&x, &w, Some(&b), cfg),
                    false => ops::conv2d(&x, &w, Some(&b), cfg),
                })?
            }
            Case::Depthwise { channels, side } => {
                let (x, w, b) =
                    (input(&[1, side, side, channels])?, leaf(at, &[channels, 1, 3, 3])?, leaf(at, &[channels])?);
                operation(move || ops::depthwise_conv3x3(&x, &w, Some(&b)))?
            }
            Case::DepthwiseImage { channels, kernel, stride, side, batch } => {
                let x = input(&[batch, channels, side, side])?;
                let (w, b) = (leaf(at, &[channels, 1, kernel, kernel])?, leaf(at, &[channels])?);
                operation(move || ops::depthwise_conv2d(&x, &w, Some(&b), stride, ops::Activation::Relu6))?
            }
            Case::InstanceNorm { batch, channels, side } => {
                let x = input(&[batch, channels, side, side])?;
                operation(move || ops::instance_norm(&x, 1e-5, ops::Activation::LeakyRelu(0.2)))?
            }
            Case::Rows { op, rows, length } => {
                let (x, w, b) = (input(&[rows, length])?, leaf(at, &[length])?, leaf(at, &[length])?);
                operation(move || match op {
                    RowOp::LayerNorm => ops::layer_norm(&x, &w, &b, 1e-5),
                    RowOp::Gelu => ops::gelu(&x),
                    RowOp::Silu => ops::silu(&x),
                    RowOp::Softmax => ops::softmax(&x),
                })?
            }
            Case::Image { op, channels, side } => image(at, op, channels, side, activations)?,
            Case::Linear { rows, inputs, outputs } => {
                let (x, w, b) = (input(&[rows, inputs])?, leaf(at, &[outputs, inputs])?, leaf(at, &[outputs])?);
                operation(move || ops::linear(&x, &w, Some(&b)))?
            }
            Case::Attention { heads, queries, keys } => {
                let side = |n: usize| input(&[1, heads, 8, n]);
                let (q, k, v, bias) = (side(queries)?, side(keys)?, side(keys)?, leaf(at, &[1, heads, keys])?);
                operation(move || ops::attention(&q, &k, &v, Some(&bias)))?
            }
            Case::Scan { groups, channels, side } => scan(at, groups, channels, side)?,
            Case::ScanMap { batch, channels, side } => {
                let rank = channels.div_ceil(32);
                let x = input(&[batch, side, side, channels])?;
                let projected = input(&[batch, side, side, 4 * (rank + 2 * STATES)])?;
                let weight = leaf(at, &[4, channels, rank])?;
                let bias = filled(at, &[4, channels], |_| -4.0)?;
                let a_logs = filled(at, &[4 * channels, STATES], |i| ((i % STATES + 1) as f32).ln())?;
                let ds = leaf(at, &[4 * channels])?;
                operation(move || four_direction_scan(&x, &projected, &weight, &bias, &a_logs, &ds))?
            }
            Case::CrissCross { keys, channels, side } => {
                let (q, k) = (input(&[1, keys, side, side])?, input(&[1, keys, side, side])?);
                let v = input(&[1, channels, side, side])?;
                operation(move || ops::criss_cross(&q, &k, &v))?
            }
        })
    }

    /// The time of a pass on the device, to its end: of a model's, run once; of an operation's, the median of those that fit in a turn of 30 ms.
    ///
    /// # Errors
    /// Those of the operation.
    pub fn time(&mut self, pass: Pass, at: &Device) -> Result<Duration> {
        match (self, pass) {
            (Self::Operation { run, .. }, Pass::Forward) => median(|| Ok(timed(at, &*run)?.0)),
            (Self::Operation { run, ones }, Pass::Backward) => median(|| {
                let out = run()?;
                Ok(timed(at, || Ok(out.backward(ones)?))?.0)
            }),
            (Self::Whole { run }, _) => median(|| Ok(timed(at, &*run)?.0)),
            (Self::Model { evaluate, .. }, Pass::Forward) => Ok(timed(at, evaluate)?.0),
            (Self::Model { train, .. }, Pass::Backward) => Ok(timed(at, train)?.0),
        }
    }
}

/// How long an operation's turn lasts at least: longer than the other side's idle threads spin and than threads take to wake.
const TURN: Duration = Duration::from_millis(30);

fn median(mut run: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || start.elapsed() < TURN {
        times.push(run()?);
    }
    times.sort();
    Ok(times[times.len() / 2])
}

fn timed<R>(at: &Device, work: impl FnOnce() -> Result<R>) -> Result<(Duration, R)> {
    at.synchronize()?;
    let start = Instant::now();
    let result = work()?;
    at.synchronize()?;
    Ok((start.elapsed(), result))
}

fn operation(run: impl Fn() -> candle_core::Result<Node> + 'static) -> Result<Subject> {
    let ones = run()?.value().ones_like()?;
    Ok(Subject::Operation { run: Box::new(move || Ok(run()?)), ones })
}

/// The gradient of the mean of squares.
fn of_mean_square(x: &Tensor) -> candle_core::Result<Tensor> {
    x * (2.0 / x.elem_count() as f64)
}

/// Values in [-1, 1] without a pattern that matters.
fn values(at: &Device, shape: &[usize]) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| ((i as f64 * 12.9898).sin() * 43758.5453).sin() as f32).collect();
    Ok(Tensor::from_vec(values, shape, at)?)
}

fn leaf(at: &Device, shape: &[usize]) -> Result<Tensor> {
    Ok(Var::from_tensor(&values(at, shape)?)?.into_inner())
}

/// A leaf of values by their places.
fn filled(at: &Device, shape: &[usize], f: impl Fn(usize) -> f32) -> Result<Tensor> {
    let values: Vec<f32> = (0..shape.iter().product()).map(f).collect();
    Ok(Var::from_tensor(&Tensor::from_vec(values, shape, at)?)?.into_inner())
}

fn activation(at: &Device, shape: &[usize], dtype: DType) -> Result<Tensor> {
    Ok(Var::from_tensor(&values(at, shape)?.to_dtype(dtype)?)?.into_inner())
}

fn image(at: &Device, op: ImageOp, channels: usize, side: usize, activations: DType) -> Result<Subject> {
    let input = |shape: &[usize]| activation(at, shape, activations);
    let x = input(&[1, channels, side, side])?;
    let (other, scale, shift) = (input(&[1, channels, side, side])?, leaf(at, &[channels])?, leaf(at, &[channels])?);
    let both = input(&[1, 2 * channels, side, side])?;
    let tokens = input(&[1, side, side, channels])?;
    let (rows, other_rows) = (input(&[side * side, channels])?, input(&[side * side, channels])?);
    operation(move || match op {
        ImageOp::Relu => ops::relu(&x),
        ImageOp::LeakyRelu => ops::leaky_relu(&x, 0.2),
        ImageOp::Sigmoid => ops::sigmoid(&x),
        ImageOp::Tanh => ops::tanh(&x),
        ImageOp::SiluGate => ops::silu_gate(&x, &other),
        ImageOp::Add => ops::add(&x, &other),
        ImageOp::ScaleAdd => ops::scale_add(&rows, &scale, &other_rows),
        ImageOp::SpadeNorm => ops::spade_norm(&x, &both, 1e-5, ops::Activation::LeakyRelu(0.2)),
        ImageOp::BatchNorm => ops::batch_norm_train(&x, &scale, &shift, 1e-5).map(|(y, _)| y),
        ImageOp::TokensFromImage => ops::tokens_from_image(&x),
        ImageOp::ImageFromTokens => ops::image_from_tokens(&tokens),
        ImageOp::ReplicatePad => ops::replicate_pad2d(&x, 1),
        ImageOp::ReflectPad => ops::reflect_pad2d(&x, 1),
        ImageOp::ZeroRing => ops::zero_ring(&tokens),
        ImageOp::CropRing => ops::crop_ring(&tokens),
        ImageOp::AvgPool => ops::avg_pool2d(&x),
        ImageOp::MaxPool => ops::max_pool2d(&x),
        ImageOp::AdaptiveAvgPool => ops::adaptive_avg_pool_tokens(&tokens, 7),
        ImageOp::UpsampleBilinear => ops::upsample_bilinear2d(&x, 2),
        ImageOp::ResizeNearest => ops::resize_nearest2d(&x, 2 * side, 2 * side),
        ImageOp::ResizeBilinear => ops::resize_bilinear2d(&x, 2 * side, 2 * side),
        ImageOp::Pad => ops::pad2d(&x, [0, 1, 0, 1]),
    })
}

fn scan(at: &Device, groups: usize, channels: usize, side: usize) -> Result<Subject> {
    let (rows, length) = (groups * channels, side * side);
    let (u, delta) = (leaf(at, &[1, rows, length])?, leaf(at, &[1, rows, length])?);
    let (b, c) = (leaf(at, &[1, groups, STATES, length])?, leaf(at, &[1, groups, STATES, length])?);
    let a = filled(at, &[rows, STATES], |i| -((i % STATES + 1) as f32))?;
    let bias = filled(at, &[rows], |_| -4.0)?;
    let d = leaf(at, &[rows])?;
    operation(move || selective_scan(&u, &delta, &a, &b, &c, &d, &bias))
}

fn images(at: &Device, channels: usize, batch: usize, side: usize) -> Result<Tensor> {
    Ok(values(at, &[batch, channels, side, side])?.affine(0.5, 0.5)?)
}

fn generator(at: &Device, width: usize, (batch, side): (usize, usize), activations: DType) -> Result<Subject> {
    let config = GeneratorConfig::new(width, 8, EdgeMap::Legacy)?;
    let params = Params::new(0, DType::F32, at);
    let model = Generator::new(&params.root(), &config)?.with_activations(activations);
    let frozen = Generator::new(&params.root().frozen(), &config)?.with_activations(activations);
    let (nir, nir_hsv) = (images(at, 1, batch, side)?, images(at, 3, batch, side)?);
    let (same_nir, same_hsv) = (nir.clone(), nir_hsv.clone());
    Ok(Subject::Model {
        evaluate: Box::new(move || Ok(frozen.forward(&same_nir, &same_hsv, false).map(drop)?)),
        train: Box::new(move || {
            let out = model.forward(&nir, &nir_hsv, true)?;
            let (rgb, hsv) = (of_mean_square(out.rgb.value())?, of_mean_square(out.hsv.value())?);
            Ok(ops::backward(vec![(out.rgb, rgb), (out.hsv, hsv)]).map(drop)?)
        }),
    })
}

/// With random weights for the network that the term looks through.
fn loss(at: &Device, term: &Term, batch: usize, side: usize) -> Result<Subject> {
    let networks = match term.extractor() {
        None => Networks::default(),
        Some(Extractor::Autoencoder) => {
            Networks::default().with_autoencoder(AutoencoderFeatures::random(0, DType::F32, at)?)
        }
        Some(Extractor::Classifier(network)) => {
            Networks::default().with_classifier(FeatureNetwork::random(network, 0, DType::F32, at)?)
        }
    };
    let objective = ImageObjective::new(vec![(term.clone(), Weight::from(1.0))], networks)?;
    let target = values(at, &[batch, 3, side, side])?.affine(0.5, 0.5)?;
    let pred = Var::from_tensor(&target.affine(0.9, 0.05)?)?;
    let one = Tensor::new(1f64, at)?;
    Ok(Subject::Whole {
        run: Box::new(move || {
            let evaluation = objective.evaluate(Node::from(&pred), &objective.target(&target)?, 0)?;
            Ok(evaluation.total.backward(&one).map(drop)?)
        }),
    })
}

fn iteration(at: &Device, width: usize, batch: usize, activations: DType) -> Result<Subject> {
    let params = || Params::new(0, DType::F32, at);
    let reconstruction = [Term::Mse {}, Term::FeatureMse {}, Term::FeatureCosine {}, Term::MsSsimPublished {}];
    let scaled = |scale: f64| reconstruction.iter().map(|term| (term.clone(), Weight::from(scale))).collect();
    let networks = Networks::default().with_autoencoder(AutoencoderFeatures::random(0, DType::F32, at)?);
    let head = |name: &str, scale: f64| -> Result<Head> {
        let config = AdversaryConfig { width: 64, scales: 1, kind: Adversarial::Lsgan, penalty: 0.0, weight: 1.0 };
        let adversary = Adversary::new(params(), config, activations, OptimizerConfig::default())?;
        let objective = ImageObjective::new(scaled(scale), networks.clone())?;
        Ok(Head { name: name.to_string(), objective, adversary: Some(adversary), teacher: None, hints: None })
    };
    let options = ColorMambaOptions { width, depth: 8, edge_map: EdgeMap::Legacy };
    let mut trainer = Trainer::new(TrainerSetup {
        params: params(),
        network: Box::new(move |scope, activations| options.build(scope, activations)),
        activations,
        heads: vec![head("rgb", 2000.0)?, head("hsv", 100.0)?],
        dynamic: false,
        seed: 0,
        initial: None,
        updates: Updates::default(),
        discriminator_steps: 1,
        network_steps: 2,
    })?;
    let batch = [("nir", 1), ("nir_hsv", 3), ("rgb", 3), ("hsv", 3)]
        .map(|(name, channels)| -> Result<_> { Ok((name.to_string(), images(at, channels, batch, 256)?)) });
    let batch: NamedTensors = batch.into_iter().collect::<Result<_>>()?;
    Ok(Subject::Model {
        evaluate: Box::new(|| anyhow::bail!("an iteration has no forward pass of its own")),
        train: Box::new(move || {
            let context = StepContext { step: 0, epoch: 0, lr: 1e-4, gradients: false };
            Ok(trainer.step(std::slice::from_ref(&batch), &context).map(drop)?)
        }),
    })
}
