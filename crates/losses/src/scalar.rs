//! Loss values: scalars in f64, whatever the type of the images, so that 1 minus something near 1 keeps its digits.

use candle_core::{Result, Tensor};
use colormamba_cpu::tensor;
use colormamba_cuda::applies;
use colormamba_ops::Node;

/// A scalar tensor.
pub(crate) fn scalar(value: f64) -> Tensor {
    tensor(vec![value], ())
}

/// The number in a scalar tensor of [`scalar`].
pub(crate) fn number(scalar: &Tensor) -> Result<f64> {
    scalar.to_scalar()
}

/// The numbers in f64 scalars of the same device, which are waited for no more than once.
///
/// # Errors
/// If one is no f64 scalar, and those of copying them.
pub fn numbers(scalars: &[&Tensor]) -> Result<Vec<f64>> {
    match scalars {
        [first, ..] if applies(first) => Tensor::stack(scalars, 0)?.to_vec1(),
        _ => scalars.iter().map(|scalar| number(scalar)).collect(),
    }
}

/// Σ weight · value of loss values, f64 scalars. A part of weight 0 gets no gradient at all, which saves its backward pass.
///
/// # Errors
/// If a part is no f64 scalar.
pub fn weighted_sum(parts: &[(&Node, f64)]) -> Result<Node> {
    if let Some((first, _)) = parts.first().filter(|(first, _)| applies(first.value())) {
        return weighted_sum_there(parts, first.value());
    }
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

/// [`weighted_sum`] where the parts are, of which the processor learns nothing and so need not wait.
fn weighted_sum_there(parts: &[(&Node, f64)], like: &Tensor) -> Result<Node> {
    let mut sum = like.zeros_like()?;
    for (part, weight) in parts {
        // An objective without terms is a number of the processor's.
        sum = (sum + part.value().to_device(like.device())?.affine(*weight, 0.0)?)?;
    }
    let (nodes, weights): (Vec<&Node>, Vec<f64>) = parts.iter().copied().unzip();
    Node::of_many(sum, &nodes, move |grad| {
        let share = |&weight: &f64| (weight != 0.0).then(|| grad.affine(weight, 0.0)).transpose();
        weights.iter().map(share).collect()
    })
}
