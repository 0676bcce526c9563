//! SS2D: projections, a depthwise convolution and the four-direction scan (Liu et al., arXiv 2401.10166).

use crate::four_direction_scan;
use candle_core::{Result, Tensor};
use colormamba_layers::{Init, LayerNorm, Linear, Scope};
use colormamba_ops as ops;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Uniform};

/// N, the size of the state of each channel.
const STATES: usize = 16;

/// Four-direction selective scan over a token map, gated.
pub struct Ss2d {
    in_proj: Linear,
    conv_weight: Tensor,
    conv_bias: Tensor,
    x_proj_weight: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    a_logs: Tensor,
    ds: Tensor,
    out_norm: LayerNorm,
    out_proj: Linear,
    inner: usize,
}

impl Ss2d {
    /// For tokens of `channels`; inside, D = 2 · channels.
    ///
    /// # Errors
    /// If the tensors exist with other shapes.
    pub fn new(scope: &Scope, channels: usize) -> Result<Self> {
        let (inner, rank) = (2 * channels, channels.div_ceil(16));
        let conv = scope.pp("conv2d");
        let dt_bound = 1.0 / (rank as f64).sqrt();
        Ok(Self {
            in_proj: Linear::new(&scope.pp("in_proj"), channels, 2 * inner, false)?,
            conv_weight: conv.weight("weight", (inner, 1, 3, 3), Init::fan_in(9))?,
            conv_bias: conv.weight("bias", inner, Init::fan_in(9))?,
            x_proj_weight: scope.weight("x_proj_weight", (4, rank + 2 * STATES, inner), Init::fan_in(inner))?,
            dt_weight: scope.weight("dt_projs_weight", (4, inner, rank), Init::Uniform { bound: dt_bound })?,
            dt_bias: scope.weight("dt_projs_bias", (4, inner), Init::With(step_size_biases))?,
            a_logs: scope.weight("A_logs", (4 * inner, STATES), Init::With(log_state_index))?,
            ds: scope.weight("Ds", 4 * inner, Init::Constant(1.0))?,
            out_norm: LayerNorm::new(&scope.pp("out_norm"), inner)?,
            out_proj: Linear::new(&scope.pp("out_proj"), inner, channels, false)?,
            inner,
        })
    }

    /// `(B, H, W, channels)` to the same shape.
    ///
    /// # Errors
    /// If the channels differ.
    pub fn forward(&self, u: &Tensor) -> Result<Tensor> {
        let xz = self.in_proj.forward(u)?;
        let x = xz.narrow(3, 0, self.inner)?;
        let z = xz.narrow(3, self.inner, self.inner)?;
        let x = ops::silu(&ops::depthwise_conv3x3(&x, &self.conv_weight, Some(&self.conv_bias))?)?;
        // The projections act on each pixel by itself, so one of all four directions in map order serves the four orders.
        let x_dbl = ops::linear(&x, &self.x_proj_weight.flatten(0, 1)?, None)?;
        let y = four_direction_scan(&x, &x_dbl, &self.dt_weight, &self.dt_bias, &self.a_logs, &self.ds)?;
        self.out_proj.forward(&ops::silu_gate(&self.out_norm.forward(&y)?, &z)?)
    }
}

/// Inverse softplus of step sizes that are log-uniform in `[0.001, 0.1]`, at least 1e-4.
fn step_size_biases(rng: &mut ChaCha8Rng, dims: &[usize]) -> Vec<f64> {
    let n = dims.iter().product();
    let (low, high) = (0.001f64.ln(), 0.1f64.ln());
    // The range is fixed and valid, so the distribution always exists.
    let uniform = Uniform::new(low, high).unwrap_or_else(|_| unreachable!("low < high"));
    let inverse_softplus = |dt: f64| dt + (-(-dt).exp_m1()).ln();
    (0..n).map(|_| inverse_softplus(uniform.sample(rng).exp().max(1e-4))).collect()
}

/// ln(1), ln(2), .. ln(N) in every row.
fn log_state_index(_: &mut ChaCha8Rng, dims: &[usize]) -> Vec<f64> {
    let n = dims.iter().product();
    (0..n).map(|i| ((i % STATES + 1) as f64).ln()).collect()
}
