//! Batch norm with running statistics.

use crate::{Buffer, Init, NORM_EPS, Scope};
use candle_core::{ModuleT, Result, Tensor};
use colormamba_ops::{self as ops, BatchStats, Node, in_candle};

/// How much of a running statistic one training batch replaces.
const MOMENTUM: f64 = 0.1;

/// Batch norm over `(B, C, H, W)`: by the batch's statistics in training, by the running ones in evaluation.
pub struct BatchNorm2d {
    weight: Tensor,
    bias: Tensor,
    mean: Buffer,
    var: Buffer,
    batches: Buffer,
}

impl BatchNorm2d {
    /// `weight`, `bias`, `running_mean`, `running_var` are `(channels)`; `num_batches_tracked` is a counter.
    ///
    /// # Errors
    /// If the tensors exist with other shapes.
    pub fn new(scope: &Scope, channels: usize) -> Result<Self> {
        Ok(Self {
            weight: scope.weight("weight", channels, Init::Constant(1.0))?,
            bias: scope.weight("bias", channels, Init::Constant(0.0))?,
            mean: scope.buffer("running_mean", channels, Init::Constant(0.0))?,
            var: scope.buffer("running_var", channels, Init::Constant(1.0))?,
            batches: scope.counter("num_batches_tracked")?,
        })
    }

    /// `(B, C, H, W)` to the same shape; in training the running statistics move.
    ///
    /// # Errors
    /// If the channels differ.
    pub fn forward(&self, x: impl Into<Node>, train: bool) -> Result<Node> {
        if !train {
            return ops::batch_norm_eval(x, &self.mean.get(), &self.var.get(), &self.weight, &self.bias, NORM_EPS);
        }
        let (y, stats) = ops::batch_norm_train(x, &self.weight, &self.bias, NORM_EPS)?;
        self.track(&stats, y.shape().elem_count() / stats.mean.elem_count().max(1))?;
        Ok(y)
    }

    /// PyTorch keeps the unbiased variance, although it normalises by the biased one.
    fn track(&self, stats: &BatchStats, count: usize) -> Result<()> {
        let unbiased = count as f64 / (count.max(2) - 1) as f64;
        let moved = |old: &Buffer, new: &Tensor| (old.get() * (1.0 - MOMENTUM))? + (new * MOMENTUM)?;
        self.mean.set(&moved(&self.mean, &stats.mean)?)?;
        self.var.set(&moved(&self.var, &(&stats.var * unbiased)?)?)?;
        self.batches.set(&(self.batches.get() + 1.0)?)
    }
}

impl ModuleT for BatchNorm2d {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        in_candle(x, |x| self.forward(x, train))
    }
}
