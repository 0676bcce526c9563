//! From losses to gradients.

use crate::TrainingError;
use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Tensor, Var};
use colormamba_losses::weighted_sum;
use colormamba_ops::Node;

pub(crate) struct GradientAccumulator {
    parameters: Vec<(String, Var)>,
    sums: Vec<Option<Tensor>>,
    added: usize,
    batches: usize,
}

impl GradientAccumulator {
    pub(crate) fn new(parameters: Vec<(String, Var)>, batches: usize) -> Result<Self> {
        Ok(Self { sums: vec![None; parameters.len()], parameters, added: 0, batches })
    }

    pub(crate) fn add(&mut self, grads: &GradStore) -> Result<Option<GradStore>> {
        for ((_, var), sum) in self.parameters.iter().zip(&mut self.sums) {
            let Some(grad) = grads.get(var) else { continue };
            *sum = Some(match sum.take() {
                Some(sum) => (sum + grad)?.detach(),
                None => grad.clone(),
            });
        }
        self.added += 1;
        if self.added < self.batches {
            return Ok(None);
        }
        self.added = 0;
        let mut means = GradStore::default();
        for ((_, var), sum) in self.parameters.iter().zip(&mut self.sums) {
            let Some(sum) = sum.take() else { continue };
            means.insert(var, if self.batches == 1 { sum } else { (sum / self.batches as f64)? });
        }
        Ok(Some(means))
    }
}

/// The sum of losses, each times its weight.
pub(crate) fn sum(parts: &[(Node, f64)]) -> Result<Node> {
    let parts: Vec<(&Node, f64)> = parts.iter().map(|(part, weight)| (part, *weight)).collect();
    weighted_sum(&parts)
}

/// The number in a loss, an f64 scalar.
pub(crate) fn number(loss: &Node) -> Result<f64> {
    loss.value().to_scalar()
}

/// The gradient of a loss by itself.
pub(crate) fn one() -> Result<Tensor> {
    Tensor::new(1f64, &Device::Cpu)
}

pub(crate) fn finite(what: &str, value: f64) -> std::result::Result<f64, TrainingError> {
    if value.is_finite() { Ok(value) } else { Err(TrainingError::NotFinite { what: what.to_string(), value }) }
}
