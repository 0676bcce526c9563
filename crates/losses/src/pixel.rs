//! Terms that compare pixel by pixel.

use crate::mean::{self, Absolute, Distance, Kind, Squared, mean_distance, mean_distances, sign};
use crate::scalar::{number, scalar};
use crate::view::{Comparison, View};
use crate::{About, LossError};
use candle_core::Result as CandleResult;
use colormamba_cuda::applies;
use colormamba_ops::Node;
use colormamba_ops::cpu::tensor;
use serde::{Deserialize, Serialize};

pub(crate) const MSE: About = About {
    name: "mse",
    formula: "⟨(p − t)²⟩",
    range: "0 to 1",
    source: "the squared L2 norm, divided by the number of values",
    options: "",
};

pub(crate) const L1: About = About {
    name: "l1",
    formula: "⟨|p − t|⟩",
    range: "0 to 1",
    source: "the L1 norm, divided by the number of values",
    options: "",
};

pub(crate) const SMOOTH_L1: About = About {
    name: "smooth_l1",
    formula: "⟨(p − t)²/(2β) where |p − t| < β, |p − t| − β/2 elsewhere⟩",
    range: "0 to 1 − β/2 for β ≤ 1",
    source: "Girshick, Fast R-CNN, ICCV 2015, arXiv 1504.08083; Huber (1964) divided by β",
    options: "beta = 1.0: where the parabola becomes a line",
};

pub(crate) const CHARBONNIER: About = About {
    name: "charbonnier",
    formula: "⟨√((p − t)² + ε²) − ε⟩",
    range: "0 to 1",
    source: "Charbonnier et al., ICIP 1994, doi:10.1109/ICIP.1994.413553; less its value at p = t, which changes no gradient",
    options: "eps = 1e-3: ε",
};

pub(crate) const PSNR: About = About {
    name: "psnr",
    formula: "10 log10((m + ε)/ε) averaged over the batch, m the mean squared error of an image: the decibels that PSNR lacks \
              to 10 log10(1/ε)",
    range: "0 to 80 dB at ε = 1e-8",
    source: "the PSNR loss of HINet (Chen et al., CVPRW 2021, arXiv 2105.06086) plus a constant, which changes no gradient",
    options: "eps = 1e-8: ε, the mean squared error that counts as none",
};

/// Options of `smooth_l1`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmoothL1 {
    /// Where the parabola becomes a line; above 0.
    pub beta: f64,
}

impl Default for SmoothL1 {
    fn default() -> Self {
        Self { beta: 1.0 }
    }
}

impl SmoothL1 {
    pub(crate) fn check(self) -> Result<(), String> {
        above_zero("beta", self.beta)
    }
}

impl Distance for SmoothL1 {
    #[inline(always)]
    fn value(self, p: f64, t: f64) -> f64 {
        let d = (p - t).abs();
        if d < self.beta { d * d / (2.0 * self.beta) } else { d - self.beta / 2.0 }
    }
    #[inline(always)]
    fn slope(self, p: f64, t: f64) -> f64 {
        let d = p - t;
        if d.abs() < self.beta { d / self.beta } else { sign(d) }
    }
    fn kernel(self) -> (Kind, f64) {
        (Kind::SmoothL1, self.beta)
    }
}

/// Options of `charbonnier`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Charbonnier {
    /// Distances far below it count by their square; above 0.
    pub eps: f64,
}

impl Default for Charbonnier {
    fn default() -> Self {
        Self { eps: 1e-3 }
    }
}

impl Charbonnier {
    pub(crate) fn check(self) -> Result<(), String> {
        above_zero("eps", self.eps)
    }
}

impl Distance for Charbonnier {
    #[inline(always)]
    fn value(self, p: f64, t: f64) -> f64 {
        let d = p - t;
        // √(d² + ε²) − ε without the loss of digits.
        d * d / ((d * d + self.eps * self.eps).sqrt() + self.eps)
    }
    #[inline(always)]
    fn slope(self, p: f64, t: f64) -> f64 {
        let d = p - t;
        d / (d * d + self.eps * self.eps).sqrt()
    }
    fn kernel(self) -> (Kind, f64) {
        (Kind::Charbonnier, self.eps)
    }
}

/// Options of `psnr`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Psnr {
    /// The mean squared error that counts as none; above 0.
    pub eps: f64,
}

impl Default for Psnr {
    fn default() -> Self {
        Self { eps: 1e-8 }
    }
}

impl Psnr {
    pub(crate) fn check(self) -> Result<(), String> {
        above_zero("eps", self.eps)
    }
}

/// What is wrong with an option that must be above zero.
pub(crate) fn above_zero(option: &str, value: f64) -> Result<(), String> {
    if value.is_finite() && value > 0.0 { Ok(()) } else { Err(format!("{option} is {value}, it must be above 0")) }
}

pub(crate) fn mse(target: &View) -> Result<Comparison, LossError> {
    mean_of(Squared, target)
}

pub(crate) fn l1(target: &View) -> Result<Comparison, LossError> {
    mean_of(Absolute, target)
}

pub(crate) fn smooth_l1(options: SmoothL1, target: &View) -> Result<Comparison, LossError> {
    mean_of(options, target)
}

pub(crate) fn charbonnier(options: Charbonnier, target: &View) -> Result<Comparison, LossError> {
    mean_of(options, target)
}

pub(crate) fn psnr(options: Psnr, target: &View) -> Result<Comparison, LossError> {
    let target = target.image().value().clone();
    Ok(Box::new(move |pred| Ok(mean_decibels(&mean_distances(pred.image(), &target, Squared)?, options.eps)?)))
}

fn mean_of(distance: impl Distance, target: &View) -> Result<Comparison, LossError> {
    let target = target.image().value().clone();
    Ok(Box::new(move |pred| Ok(mean_distance(pred.image(), &target, distance)?)))
}

/// The mean of 10 log10((m + ε)/ε) over a vector m.
fn mean_decibels(m: &Node, eps: f64) -> CandleResult<Node> {
    if applies(m.value()) {
        let (mean, slopes) = mean::cuda::decibels(m.value(), eps)?;
        return Node::new(mean, [m], move |grad| Ok([Some(slopes.broadcast_mul(grad)?)]));
    }
    let values = m.value().to_vec1::<f64>()?;
    let count = values.len() as f64;
    let mean = values.iter().map(|m| 10.0 * (m / eps).ln_1p()).sum::<f64>() / (count * std::f64::consts::LN_10);
    Node::new(scalar(mean), [m], move |grad| {
        let scale = number(grad)? * 10.0 / (count * std::f64::consts::LN_10);
        let slopes: Vec<f64> = values.iter().map(|m| scale / (m + eps)).collect();
        let count = slopes.len();
        Ok([Some(tensor(slopes, count))])
    })
}
