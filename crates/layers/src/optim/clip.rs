//! Gradient clipping by global norm (Pascanu et al., arXiv 1211.5063).

use super::{OptimError, in_range};
use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Tensor, Var};

/// What PyTorch adds to the norm before it divides by it.
const EPS: f64 = 1e-6;

/// Scales the gradients of `parameters` by `max_norm / (norm + 1e-6)` if that is below 1, as
/// `torch.nn.utils.clip_grad_norm_` does, and returns their norm before: the square root of the sum of all squares.
///
/// The sums are in f64, within a gradient and then in the order of `parameters`, so equal gradients always give the same
/// bits. Gradients that need no clipping keep theirs; gradients of other tensors are neither counted nor scaled.
///
/// # Errors
/// If `max_norm` is not above 0, and if a gradient is not finite: the first such parameter is named, nothing is scaled.
pub fn clip_by_global_norm(
    grads: &mut GradStore,
    parameters: &[(String, Var)],
    max_norm: f64,
) -> std::result::Result<f64, OptimError> {
    in_range("max_norm", max_norm, max_norm > 0.0 && max_norm.is_finite(), "above 0")?;
    let with_gradient: Vec<_> = parameters.iter().filter(|(_, var)| grads.get(var).is_some()).collect();
    let squares = squared_norms(with_gradient.iter().filter_map(|(_, var)| grads.get(var)))?;
    if let Some(((name, _), _)) = with_gradient.iter().zip(&squares).find(|(_, square)| !square.is_finite()) {
        return Err(OptimError::Gradient { name: name.clone() });
    }
    let norm = squares.iter().sum::<f64>().sqrt();
    let factor = max_norm / (norm + EPS);
    if factor < 1.0 {
        for (_, var) in with_gradient {
            if let Some(grad) = grads.remove(var) {
                grads.insert(var, (grad * factor)?);
            }
        }
    }
    Ok(norm)
}

/// The sum of squares of each. They are read together: on a GPU each number read makes it wait.
fn squared_norms<'a>(grads: impl Iterator<Item = &'a Tensor>) -> Result<Vec<f64>> {
    let sums = grads.map(|grad| grad.to_dtype(DType::F64)?.sqr()?.sum_all()).collect::<Result<Vec<_>>>()?;
    if sums.is_empty() {
        return Ok(Vec::new());
    }
    Tensor::stack(&sums, 0)?.to_vec1()
}
