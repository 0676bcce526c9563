//! The term `psnr`.

use crate::definition::{Definition, Family};
use crate::mean::{self, Squared, mean_distances};
use crate::options::above_zero;
use crate::scalar::{number, scalar};
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};
use candle_core::Result as CandleResult;
use colormamba_cpu::tensor;
use colormamba_cuda::applies;
use colormamba_ops::Node;
use serde::{Deserialize, Serialize};

const ABOUT: About = About {
    name: "psnr",
    formula: "10 log10((m + ε)/ε) averaged over the batch, m the mean squared error of an image: the decibels that PSNR lacks \
              to 10 log10(1/ε)",
    range: "0 to 80 dB at ε = 1e-8",
    source: "the PSNR loss of HINet (Chen et al., CVPRW 2021, arXiv 2105.06086) plus a constant, which changes no gradient",
    options: "eps = 1e-8: ε, the mean squared error that counts as none",
};

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

impl Definition for Psnr {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn family(&self) -> Family {
        Family::Pixel
    }

    fn channels(&self) -> Channels {
        Channels::Any
    }

    fn smallest_side(&self) -> usize {
        1
    }

    fn check(&self) -> Result<(), String> {
        above_zero("eps", self.eps)
    }

    fn against(&self, target: &View) -> Result<Comparison, LossError> {
        let (target, eps) = (target.image().value().clone(), self.eps);
        Ok(Box::new(move |pred| Ok(mean_decibels(&mean_distances(pred.image(), &target, Squared)?, eps)?)))
    }
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
