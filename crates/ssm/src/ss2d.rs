//! Four-direction selective scan with its projections.

use crate::four_direction_scan;
use candle_core::{Module, Result, Tensor};
use colormamba_layers::{Init, LayerNorm, Linear, Scope};
use colormamba_ops::{self as ops, Node, in_candle};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardUniform};

/// States per channel of the published model.
const STATES: usize = 16;

/// SS2D: gated four-direction selective scan over a token map, with 2C inner channels and 16 states each.
///
/// Source: Liu et al. 2024, arXiv 2401.10166; ColorMamba, arXiv 2408.08087.
pub struct Ss2d {
    /// Inner channels D.
    inner: usize,
    in_proj: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    x_proj: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    a_logs: Tensor,
    ds: Tensor,
    out_norm: LayerNorm,
    out_proj: Linear,
}

impl Ss2d {
    /// For maps of `channels` channels.
    ///
    /// # Errors
    /// If the parameters exist with other shapes.
    pub fn new(scope: &Scope, channels: usize) -> Result<Self> {
        let (inner, rank) = (2 * channels, channels.div_ceil(16));
        let conv = scope.pp("conv2d");
        let step_bound = 1.0 / (rank as f64).sqrt();
        Ok(Self {
            inner,
            in_proj: scope.pp("in_proj").weight("weight", (2 * inner, channels), Init::fan_in(channels))?,
            conv_weight: conv.weight("weight", (inner, 1, 3, 3), Init::fan_in(9))?,
            conv_bias: conv.weight("bias", inner, Init::fan_in(9))?,
            x_proj: scope.weight("x_proj_weight", (4, rank + 2 * STATES, inner), Init::fan_in(inner))?,
            dt_weight: scope.weight("dt_projs_weight", (4, inner, rank), Init::Uniform { bound: step_bound })?,
            dt_bias: scope.weight("dt_projs_bias", (4, inner), Init::With(step_biases))?,
            a_logs: scope.weight("A_logs", (4 * inner, STATES), Init::With(decay_logs))?,
            ds: scope.weight("Ds", 4 * inner, Init::Constant(1.0))?,
            out_norm: LayerNorm::new(&scope.pp("out_norm"), inner)?,
            out_proj: Linear::new(&scope.pp("out_proj"), inner, channels, false)?,
        })
    }

    /// `(B, H, W, C)` to the same shape.
    ///
    /// # Errors
    /// If the channels differ.
    pub fn forward(&self, u: &Node) -> Result<Node> {
        // The halves of the weight and not of the result: nothing large is copied.
        let half = |i: usize| ops::linear(u, &self.in_proj.narrow(0, i * self.inner, self.inner)?, None);
        let (x, z) = (half(0)?, half(1)?);
        let x = ops::silu(&ops::depthwise_conv3x3(&x, &self.conv_weight, Some(&self.conv_bias))?)?;
        // The projections act on single pixels, so those of all directions are one, before any reordering.
        let x_dbl = ops::linear(&x, &self.x_proj.flatten(0, 1)?, None)?;
        let y = four_direction_scan(&x, &x_dbl, &self.dt_weight, &self.dt_bias, &self.a_logs, &self.ds)?;
        self.out_proj.forward(&ops::silu_gate(&self.out_norm.forward(&y)?, &z)?)
    }
}

impl Module for Ss2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        in_candle(x, |x| self.forward(x))
    }
}

/// Step biases whose softplus is log-uniform in [0.001, 0.1]: softplus⁻¹(d) = d + ln(1 - e^-d).
fn step_biases(rng: &mut ChaCha8Rng, dims: &[usize]) -> Vec<f64> {
    let (low, high) = (0.001f64.ln(), 0.1f64.ln());
    let mut draw = || {
        let unit: f64 = StandardUniform.sample(rng);
        let step = (low + (high - low) * unit).exp().max(1e-4);
        step + (-(-step).exp_m1()).ln()
    };
    (0..dims.iter().product()).map(|_| draw()).collect()
}

/// ln(1), ln(2), .. along the states, for every channel.
fn decay_logs(_: &mut ChaCha8Rng, dims: &[usize]) -> Vec<f64> {
    (0..dims.iter().product()).map(|i: usize| ((i % STATES) as f64 + 1.0).ln()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn steps_start_log_uniform_between_a_thousandth_and_a_tenth() {
        let biases = step_biases(&mut ChaCha8Rng::seed_from_u64(1), &[4, 1000]);
        let steps: Vec<f64> = biases.iter().map(|b| b.exp().ln_1p()).collect();
        assert!(steps.iter().all(|s| (0.000_999..0.1001).contains(s)));
        let mean = steps.iter().map(|s| s.ln()).sum::<f64>() / 4000.0;
        assert!((mean - 0.01f64.ln()).abs() < 0.1, "{mean}");
    }
}
