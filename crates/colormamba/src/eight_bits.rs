//! Weights in a byte each.

use candle_core::{DType, Result, Tensor};
use std::collections::BTreeMap;

/// What the name of a tensor's scales ends with.
const SCALE: &str = ".scale";
/// The byte of a weight of 0.
const ZERO: f64 = 128.0;
/// Steps from there to the largest weight.
const STEPS: f64 = 127.0;
/// Kernels of fewer numbers stay as they are.
const FEWEST: usize = 256;

/// The kernels of convolutions and linear layers (names that end in `weight`, of two or four dimensions) as bytes. Each
/// index of the first dimension has a step of its own, its largest weight / 127 (Krishnamoorthi, arXiv 1806.08342,
/// section 2); all else stays as it is.
///
/// # Errors
/// If a tensor cannot be read.
pub fn to_eight_bits(tensors: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    let mut all = BTreeMap::new();
    for (name, tensor) in tensors {
        let scale_name = format!("{name}{SCALE}");
        let kernel = tensor.dtype().is_float() && name.ends_with("weight") && matches!(tensor.rank(), 2 | 4);
        if !kernel || tensor.elem_count() < FEWEST || tensors.contains_key(&scale_name) {
            all.insert(name.clone(), tensor.clone());
            continue;
        }
        let rows = tensor.to_dtype(DType::F32)?.flatten_from(1)?;
        let scale = rows.abs()?.max_keepdim(1)?.affine(1.0 / STEPS, 0.0)?;
        // A channel of zeros is zero at any step.
        let step = (scale.eq(0.0)?.to_dtype(DType::F32)? + &scale)?;
        let bytes = rows.broadcast_div(&step)?.round()?.affine(1.0, ZERO)?.to_dtype(DType::U8)?;
        all.insert(name.clone(), bytes.reshape(tensor.shape())?);
        all.insert(scale_name, scale.flatten_all()?);
    }
    Ok(all)
}

/// The tensors that such bytes stand for, in f32. What is not in bytes, or has no scale for each index of its first
/// dimension, stays as it is.
///
/// # Errors
/// If a tensor cannot be read.
pub fn from_eight_bits(tensors: BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    let scale_of = |name: &str, tensor: &Tensor| {
        let scale = tensors.get(&format!("{name}{SCALE}"))?;
        let fits = tensor.rank() >= 2 && scale.dims() == &tensor.dims()[..1] && scale.dtype().is_float();
        (tensor.dtype() == DType::U8 && fits).then_some(scale)
    };
    let is_scale = |name: &str| {
        let of = name.strip_suffix(SCALE).and_then(|of| Some((of, tensors.get(of)?)));
        of.is_some_and(|(of, tensor)| scale_of(of, tensor).is_some())
    };
    let mut all = BTreeMap::new();
    for (name, tensor) in &tensors {
        if let Some(scale) = scale_of(name, tensor) {
            let rows = tensor.to_dtype(DType::F32)?.flatten_from(1)?.affine(1.0, -ZERO)?;
            all.insert(name.clone(), rows.broadcast_mul(&scale.unsqueeze(1)?)?.reshape(tensor.shape())?);
        } else if !is_scale(name) {
            all.insert(name.clone(), tensor.clone());
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn named(name: &str, tensor: Tensor) -> BTreeMap<String, Tensor> {
        [(name.to_string(), tensor)].into()
    }

    #[test]
    fn half_a_step_is_lost_at_most() -> Result<()> {
        let kernel: Vec<f32> = (0..4 * 128).map(|i| ((i * i % 977) as f32 / 488.5 - 1.0) * (i / 128) as f32).collect();
        let kernel = Tensor::from_vec(kernel, (4, 8, 4, 4), &Device::Cpu)?;
        let bytes = to_eight_bits(&named("conv.weight", kernel.clone()))?;
        assert_eq!(bytes["conv.weight"].dtype(), DType::U8);
        let scale = bytes["conv.weight.scale"].to_vec1::<f32>()?;
        assert_eq!(scale[0], 0.0, "a channel of zeros");
        let back = from_eight_bits(bytes)?;
        assert_eq!(back.keys().collect::<Vec<_>>(), ["conv.weight"]);
        let lost = (&back["conv.weight"] - &kernel)?.abs()?.flatten_from(1)?.max(1)?.to_vec1::<f32>()?;
        assert!(lost.iter().zip(&scale).all(|(lost, step)| *lost <= 0.5001 * step), "{lost:?} of {scale:?}");
        Ok(())
    }

    #[test]
    fn all_else_stays() -> Result<()> {
        for (name, tensor) in [
            ("bias", Tensor::arange(0f32, 300.0, &Device::Cpu)?),
            ("small.weight", Tensor::arange(0f32, 16.0, &Device::Cpu)?.reshape((4, 4))?),
            ("counter", Tensor::zeros((20, 20), DType::I64, &Device::Cpu)?),
            ("norm.scale", Tensor::arange(0f32, 300.0, &Device::Cpu)?),
            ("A_logs", Tensor::arange(0f32, 300.0, &Device::Cpu)?.reshape((20, 15))?),
            ("of_others.weight", Tensor::ones((20, 20), DType::U8, &Device::Cpu)?),
        ] {
            let there = from_eight_bits(to_eight_bits(&named(name, tensor.clone()))?)?;
            assert_eq!((there.len(), there[name].dtype()), (1, tensor.dtype()), "{name}");
            assert_eq!(there[name].to_string(), tensor.to_string(), "{name}");
        }
        let bytes = Tensor::ones((20, 20), DType::U8, &Device::Cpu)?;
        let scale = Tensor::ones(1, DType::F32, &Device::Cpu)?;
        let others = [("a.weight".to_string(), bytes), ("a.weight.scale".to_string(), scale)].into();
        let there = from_eight_bits(others)?;
        assert_eq!((there.len(), there["a.weight"].dtype()), (2, DType::U8), "a scale that does not fit");
        Ok(())
    }
}
