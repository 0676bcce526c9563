//! From losses to gradients.

use crate::TrainingError;
use candle_core::{Device, Result, Tensor};
use colormamba_losses::weighted_sum;
use colormamba_ops::Node;

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
