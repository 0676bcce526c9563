//! Finite-difference checks of gradients.

use crate::device;
use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Tensor, Var};
use colormamba_ops::Node;

/// The gradient of `mean(x · noise)`, with noise that follows from `name`, by `x`: every element counts differently.
pub fn cotangent(name: &str, x: &Tensor) -> Result<Tensor> {
    let noise = crate::noise_tensor(name, x.shape())?.to_dtype(x.dtype())?.to_device(x.device())?;
    noise / x.elem_count() as f64
}

/// The gradients of `mean(x · noise)` by all that `x` was made from.
pub fn gradients(name: &str, x: impl Into<Node>) -> Result<GradStore> {
    let x = x.into();
    let grad = cotangent(name, x.value())?;
    x.backward(&grad)
}

/// Compares the gradients of `f` (f64 inputs → any node, times noise) with central differences, at up to
/// `SAMPLES` elements of every input, to a relative error of `tolerance` of the input's largest gradient.
///
/// Panics on a difference, and where an input gets no gradient.
pub fn assert_gradients<N: Into<Node>>(
    what: &str,
    inputs: &[Tensor],
    tolerance: f64,
    f: impl Fn(&[Tensor]) -> Result<N>,
) -> Result<()> {
    const SAMPLES: usize = 40;
    const STEP: f64 = 1e-5;
    let vars = inputs.iter().map(|x| Var::from_tensor(&x.to_dtype(DType::F64)?)).collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let grads = gradients(what, f(&tensors)?)?;
    for (index, var) in vars.iter().enumerate() {
        let grad = grads.get(var).unwrap_or_else(|| panic!("{what}: input {index} gets no gradient"));
        let grad = grad.flatten_all()?.to_vec1::<f64>()?;
        let values = var.flatten_all()?.to_vec1::<f64>()?;
        let largest = grad.iter().fold(0.0f64, |m, g| m.max(g.abs()));
        let stride = values.len().div_ceil(SAMPLES);
        for i in (0..values.len()).step_by(stride) {
            let at = |delta: f64| -> Result<f64> {
                let mut moved = values.clone();
                moved[i] += delta;
                let mut args: Vec<Tensor> = tensors.iter().map(Tensor::detach).collect();
                args[index] = Tensor::from_vec(moved, var.shape(), &device())?;
                let out = f(&args)?.into();
                out.value().mul(&cotangent(what, out.value())?)?.sum_all()?.to_scalar::<f64>()
            };
            let numeric = (at(STEP)? - at(-STEP)?) / (2.0 * STEP);
            let error = (numeric - grad[i]).abs() / largest.max(1e-12);
            assert!(
                error <= tolerance,
                "{what}: input {index} element {i}: analytic {:.6e}, numeric {numeric:.6e}, error {error:.1e}",
                grad[i]
            );
        }
    }
    Ok(())
}
