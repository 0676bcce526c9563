//! The cases of `cases.txt`, and the work each of them is.

use anyhow::{Context, Result, bail};
use colormamba_losses::Term;
use std::fmt;
use std::str::FromStr;

/// One thing to measure. Sizes in pixels, images square.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are the words of a case in `cases.txt`, explained there")]
pub enum Case {
    /// The whole generator; on 256x256 where the case names no side.
    Generator { width: usize, batch: usize, side: usize },
    /// A published training iteration on 256x256: one discriminator step, two generator steps.
    Iteration { width: usize, batch: usize },
    /// A loss term with its default options: value and gradient.
    Loss { term: Term, batch: usize, side: usize },
    /// The uniform SSIM of a pair of images in memory.
    Ssim { side: usize },
    /// Every measure of such a pair.
    Measures { side: usize },
    /// Every measure of all pairs of two folders.
    Compare { side: usize, pairs: usize },
    /// A convolution, or a transposed one.
    Conv {
        transposed: bool,
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        side: usize,
        batch: usize,
    },
    /// Depthwise 3x3 of a token map.
    Depthwise { channels: usize, side: usize },
    /// Depthwise of images, and ReLU6.
    DepthwiseImage { channels: usize, kernel: usize, stride: usize, side: usize, batch: usize },
    /// Instance norm and leaky ReLU.
    InstanceNorm { batch: usize, channels: usize, side: usize },
    /// Something over rows.
    Rows { op: RowOp, rows: usize, length: usize },
    /// Something on one image, all of it bound by memory.
    Image { op: ImageOp, channels: usize, side: usize },
    /// A linear layer.
    Linear { rows: usize, inputs: usize, outputs: usize },
    /// Attention with a bias of each key, 8 numbers a head.
    Attention { heads: usize, queries: usize, keys: usize },
    /// Selective scan of rows with 16 states.
    Scan { groups: usize, channels: usize, side: usize },
    /// Selective scan of a map in four directions with 16 states and a low-rank step size for each 32 channels.
    ScanMap { batch: usize, channels: usize, side: usize },
    /// Criss-cross attention.
    CrissCross { keys: usize, channels: usize, side: usize },
}

/// An operation over rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOp {
    /// Layer norm.
    LayerNorm,
    /// GELU.
    Gelu,
    /// SiLU.
    Silu,
    /// Softmax.
    Softmax,
}

impl RowOp {
    const ALL: [(&'static str, Self); 4] =
        [("layer_norm", Self::LayerNorm), ("gelu", Self::Gelu), ("silu", Self::Silu), ("softmax", Self::Softmax)];
}

/// An operation on one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the functions of `colormamba_ops` are")]
pub enum ImageOp {
    Relu,
    LeakyRelu,
    Sigmoid,
    Tanh,
    SiluGate,
    Add,
    ScaleAdd,
    SpadeNorm,
    BatchNorm,
    TokensFromImage,
    ImageFromTokens,
    ReplicatePad,
    ReflectPad,
    ZeroRing,
    CropRing,
    AvgPool,
    MaxPool,
    AdaptiveAvgPool,
    UpsampleBilinear,
    ResizeNearest,
    ResizeBilinear,
    Pad,
}

impl ImageOp {
    /// Name, and how many tensors of the image's size the forward and the backward pass read and write, in quarters.
    const ALL: [(&'static str, Self, u64, u64); 22] = [
        ("relu", Self::Relu, 8, 12),
        ("leaky_relu", Self::LeakyRelu, 8, 12),
        ("sigmoid", Self::Sigmoid, 8, 12),
        ("tanh", Self::Tanh, 8, 12),
        ("silu_gate", Self::SiluGate, 12, 20),
        ("add", Self::Add, 12, 4),
        ("scale_add", Self::ScaleAdd, 12, 16),
        ("spade_norm", Self::SpadeNorm, 16, 28),
        ("batch_norm", Self::BatchNorm, 8, 12),
        ("tokens_from_image", Self::TokensFromImage, 8, 8),
        ("image_from_tokens", Self::ImageFromTokens, 8, 8),
        ("replicate_pad", Self::ReplicatePad, 8, 8),
        ("reflect_pad", Self::ReflectPad, 8, 8),
        ("zero_ring", Self::ZeroRing, 8, 8),
        ("crop_ring", Self::CropRing, 8, 8),
        ("avg_pool", Self::AvgPool, 5, 5),
        ("max_pool", Self::MaxPool, 5, 5),
        ("adaptive_avg_pool", Self::AdaptiveAvgPool, 4, 4),
        ("upsample_bilinear", Self::UpsampleBilinear, 20, 20),
        ("resize_nearest", Self::ResizeNearest, 20, 20),
        ("resize_bilinear", Self::ResizeBilinear, 20, 20),
        ("pad", Self::Pad, 8, 8),
    ];

    fn entry(self) -> (&'static str, Self, u64, u64) {
        *Self::ALL.iter().find(|(_, op, ..)| *op == self).expect("every operation is listed")
    }
}

/// What a pass has to do at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Floating-point operations, where arithmetic is the limit.
    Flops(u64),
    /// Bytes read and written, where memory is.
    Bytes(u64),
}

impl Work {
    fn quarter(self) -> Self {
        match self {
            Self::Flops(n) => Self::Flops(n / 4),
            Self::Bytes(n) => Self::Bytes(n / 4),
        }
    }
}

impl FromStr for Case {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let name = words.next().context("an empty case")?;
        let term = if name == "loss" { Some(words.next().context("a loss without a term")?.parse()?) } else { None };
        let sizes = words.map(str::parse).collect::<std::result::Result<Vec<usize>, _>>();
        let sizes = sizes.with_context(|| format!("sizes of the case '{text}'"))?;
        if let (Some(term), &[batch, side]) = (term, sizes.as_slice()) {
            return Ok(Self::Loss { term, batch, side });
        }
        Ok(match (name, sizes.as_slice()) {
            ("generator", &[width, batch]) => Self::Generator { width, batch, side: 256 },
            ("generator", &[width, batch, side]) => Self::Generator { width, batch, side },
            ("iteration", &[width, batch]) => Self::Iteration { width, batch },
            ("ssim", &[side]) => Self::Ssim { side },
            ("measures", &[side]) => Self::Measures { side },
            ("compare", &[side, pairs]) => Self::Compare { side, pairs },
            ("conv" | "convt", &[inputs, outputs, kernel, stride, padding, side, batch]) => {
                Self::Conv { transposed: name == "convt", inputs, outputs, kernel, stride, padding, side, batch }
            }
            ("depthwise", &[channels, side]) => Self::Depthwise { channels, side },
            ("depthwise_image", &[channels, kernel, stride, side, batch]) => {
                Self::DepthwiseImage { channels, kernel, stride, side, batch }
            }
            ("instance_norm_lrelu", &[batch, channels, side]) => Self::InstanceNorm { batch, channels, side },
            ("linear", &[rows, inputs, outputs]) => Self::Linear { rows, inputs, outputs },
            ("attention", &[heads, queries, keys]) => Self::Attention { heads, queries, keys },
            ("scan", &[groups, channels, side]) => Self::Scan { groups, channels, side },
            ("scan_map", &[batch, channels, side]) => Self::ScanMap { batch, channels, side },
            ("criss_cross", &[keys, channels, side]) => Self::CrissCross { keys, channels, side },
            (name, &[first, second]) => {
                let row = RowOp::ALL.iter().find(|(n, _)| *n == name);
                let image = ImageOp::ALL.iter().find(|(n, ..)| *n == name);
                match (row, image) {
                    (Some(&(_, op)), _) => Self::Rows { op, rows: first, length: second },
                    (_, Some(&(_, op, ..))) => Self::Image { op, channels: first, side: second },
                    _ => bail!("no such case: {text}"),
                }
            }
            _ => bail!("no such case: {text}"),
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Generator { width, batch, side: 256 } => write!(f, "generator {width} {batch}"),
            Self::Generator { width, batch, side } => write!(f, "generator {width} {batch} {side}"),
            Self::Iteration { width, batch } => write!(f, "iteration {width} {batch}"),
            Self::Loss { term, batch, side } => write!(f, "loss {term} {batch} {side}"),
            Self::Ssim { side } => write!(f, "ssim {side}"),
            Self::Measures { side } => write!(f, "measures {side}"),
            Self::Compare { side, pairs } => write!(f, "compare {side} {pairs}"),
            Self::Conv { transposed, inputs, outputs, kernel, stride, padding, side, batch } => {
                let name = if *transposed { "convt" } else { "conv" };
                write!(f, "{name} {inputs} {outputs} {kernel} {stride} {padding} {side} {batch}")
            }
            Self::Depthwise { channels, side } => write!(f, "depthwise {channels} {side}"),
            Self::DepthwiseImage { channels, kernel, stride, side, batch } => {
                write!(f, "depthwise_image {channels} {kernel} {stride} {side} {batch}")
            }
            Self::InstanceNorm { batch, channels, side } => write!(f, "instance_norm_lrelu {batch} {channels} {side}"),
            Self::Rows { op, rows, length } => {
                let name = RowOp::ALL.iter().find(|(_, o)| o == op).map_or("", |(name, _)| name);
                write!(f, "{name} {rows} {length}")
            }
            Self::Image { op, channels, side } => write!(f, "{} {channels} {side}", op.entry().0),
            Self::Linear { rows, inputs, outputs } => write!(f, "linear {rows} {inputs} {outputs}"),
            Self::Attention { heads, queries, keys } => write!(f, "attention {heads} {queries} {keys}"),
            Self::Scan { groups, channels, side } => write!(f, "scan {groups} {channels} {side}"),
            Self::ScanMap { batch, channels, side } => write!(f, "scan_map {batch} {channels} {side}"),
            Self::CrissCross { keys, channels, side } => write!(f, "criss_cross {keys} {channels} {side}"),
        }
    }
}

/// Bytes of a f32.
const FLOAT: u64 = 4;

impl Case {
    /// What the forward pass and the backward pass of an operation do at least; nothing for whole models and
    /// measures.
    pub fn work(&self) -> Option<(Work, Work)> {
        let passes = |elements: usize, forward: u64, backward: u64| {
            let bytes = |tensors: u64| Work::Bytes(tensors * elements as u64 * FLOAT);
            Some((bytes(forward), bytes(backward)))
        };
        match *self {
            Self::Generator { .. } | Self::Iteration { .. } | Self::Loss { .. } => None,
            Self::Ssim { .. } | Self::Measures { .. } | Self::Compare { .. } => None,
            Self::Conv { transposed, inputs, outputs, kernel, stride, padding, side, batch } => {
                // Every weight meets every position of the smaller of the two images.
                let positions = if transposed { side } else { (side + 2 * padding - kernel) / stride + 1 };
                let flops = (2 * batch * inputs * outputs * (kernel * positions).pow(2)) as u64;
                Some((Work::Flops(flops), Work::Flops(2 * flops)))
            }
            // Forward: read x, write y; backward: read x and dy, write dx.
            Self::Depthwise { channels, side } => passes(channels * side * side, 2, 3),
            // Forward: read x, write y; backward: read x, y and dy, write dx.
            Self::DepthwiseImage { channels, stride, side, batch, .. } => {
                let bytes = |side: usize| (batch * channels * side * side) as u64 * FLOAT;
                let (x, y) = (bytes(side), bytes(side.div_ceil(stride)));
                Some((Work::Bytes(x + y), Work::Bytes(2 * (x + y))))
            }
            Self::InstanceNorm { batch, channels, side } => passes(batch * channels * side * side, 2, 3),
            Self::Rows { rows, length, .. } => passes(rows * length, 2, 3),
            Self::Image { op, channels, side } => {
                let (.., forward, backward) = op.entry();
                passes(channels * side * side, forward, backward)
                    .map(|(forward, backward)| (forward.quarter(), backward.quarter()))
            }
            Self::Linear { rows, inputs, outputs } => {
                let flops = (2 * rows * inputs * outputs) as u64;
                Some((Work::Flops(flops), Work::Flops(2 * flops)))
            }
            // Products of 8 numbers on both sides of the softmax, an exponential (13); as for criss-cross attention.
            Self::Attention { heads, queries, keys } => {
                let scores = (heads * queries * keys) as u64;
                Some((Work::Flops(scores * (32 + 13)), Work::Flops(scores * (3 * 32 + 13))))
            }
            // One update is e = exp(δ a), h = e h + (δ u) b, y += c h: the exponential (13) and 5 more; the gradient does it
            // again, and 16 more.
            Self::Scan { groups, channels, side } | Self::ScanMap { batch: groups, channels, side } => {
                let directions = if matches!(self, Self::ScanMap { .. }) { 4 } else { 1 };
                let updates = (directions * groups * channels * side * side * 16) as u64;
                Some((Work::Flops(18 * updates), Work::Flops(34 * updates)))
            }
            // Scores, exponential (13) and weighted sum for H + W places of every pixel; the gradient does the scores
            // again and goes through both products in both factors.
            Self::CrissCross { keys, channels, side } => {
                let scores = (2 * side * side * side) as u64;
                let products = 2 * (keys + channels) as u64;
                Some((Work::Flops(scores * (products + 13)), Work::Flops(scores * (3 * products + 13))))
            }
        }
    }
}

/// The operations that are measured without a limit, by `cargo bench` alone.
pub fn other_cases() -> Vec<Case> {
    let images = ImageOp::ALL.map(|(_, op, ..)| Case::Image { op, channels: 64, side: 128 });
    let others = [
        Case::Linear { rows: 16384, inputs: 64, outputs: 256 },
        Case::Attention { heads: 8, queries: 16384, keys: 49 },
    ];
    images.into_iter().chain(others).collect()
}

/// Every loss term, measured by `cargo bench` alone but for those of the table.
pub fn loss_cases() -> Vec<Case> {
    Term::all().into_iter().map(|term| Case::Loss { term, batch: 2, side: 256 }).collect()
}

/// Measures in memory, a pair at a time.
pub fn measure_cases() -> Vec<Case> {
    vec![Case::Ssim { side: 256 }, Case::Measures { side: 256 }]
}

/// The cases of `cases.txt`, without their limits.
pub fn cases() -> Result<Vec<Case>> {
    parse(include_str!("../cases.txt"))
}

fn parse(table: &str) -> Result<Vec<Case>> {
    let lines = table.lines().map(|line| line.split('#').next().unwrap_or("").trim());
    lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let limits = if matches!(words[0], "generator" | "iteration" | "loss") { 3 } else { 2 };
            words[..words.len() - limits].join(" ").parse()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_a_case_that_prints_as_it_is_read() {
        let cases = cases().unwrap();
        assert!(cases.len() > 15);
        let on_gpu = parse(include_str!("../cases-cuda.txt")).unwrap();
        for case in cases.into_iter().chain(on_gpu).chain(other_cases()).chain(loss_cases()).chain(measure_cases()) {
            assert_eq!(case.to_string().parse::<Case>().unwrap(), case);
        }
        assert!("conv 1 2".parse::<Case>().is_err());
        assert!("unknown 1 2".parse::<Case>().is_err());
    }

    #[test]
    fn a_convolution_counts_its_multiply_adds() {
        let case: Case = "conv 64 128 4 2 1 128 1".parse().unwrap();
        assert_eq!(case.work().unwrap().0, Work::Flops(2 * 64 * 128 * 16 * 64 * 64));
    }
}
