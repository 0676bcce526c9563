//! Loss values: scalars in f64, whatever the type of the images, so that 1 minus something near 1 keeps its digits.

use candle_core::{Result, Tensor};
use colormamba_ops::Node;
use colormamba_ops::cpu::tensor;

/// A scalar tensor.
pub(crate) fn scalar(value: f64) -> Tensor {
    tensor(vec![value], ())
}

/// The number in a scalar tensor of [`scalar`].
pub(crate) fn number(scalar: &Tensor) -> Result<f64> {
    scalar.to_scalar()
}

/// Σ weight · value of loss values, f64 scalars. A part of weight 0 gets no gradient at all, which saves its backward pass.
///
/// # Errors
/// If a part is no f64 scalar.
pub fn weighted_sum(parts: &[(&Node, f64)]) -> Result<Node> {
    let mut sum = 0.0;
    for (part, weight) in parts {
        sum += weight * number(part.value())?;
    }
    let (nodes, weights): (Vec<&Node>, Vec<f64>) = parts.iter().copied().unzip();
    Node::of_many(scalar(sum), &nodes, move |grad| {
        let grad = number(grad)?;
        Ok(weights.iter().map(|&weight| (weight != 0.0).then(|| scalar(grad * weight))).collect())
    })
}
