//! Products of matrices.

use candle_core::{DType, Result, Tensor};

/// Candle's product of matrices: on a GPU cuBLAS's, with sums in f32 for bf16. Candle multiplies no bf16 on the processor,
/// so that emulated ones go through f32.
///
/// # Errors
/// If the shapes do not fit or the types differ.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !a.device().is_cpu() || a.dtype() != DType::BF16 {
        return a.matmul(b);
    }
    a.to_dtype(DType::F32)?.matmul(&b.to_dtype(DType::F32)?)?.to_dtype(DType::BF16)
}
