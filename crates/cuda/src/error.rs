use candle_core::{DType, Error};

/// Why a kernel could not be launched.
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    /// A tensor has more elements than kernels count.
    #[error("{kernel}: a size of {size} is beyond what its CUDA kernel can take (2^32 - 1)")]
    Size {
        /// The kernel.
        kernel: &'static str,
        /// What does not fit.
        size: usize,
    },
    /// There is no kernel for this type.
    #[error("{kernel}: no CUDA kernel for {dtype:?}, only for f32, f64 and bf16")]
    DType {
        /// The kernel.
        kernel: &'static str,
        /// The type.
        dtype: DType,
    },
    /// A tensor that is not contiguous, or on another device than the kernel runs on.
    #[error("{kernel}: a tensor of shape {shape:?} is {problem}")]
    Argument {
        /// The kernel.
        kernel: &'static str,
        /// The tensor's shape.
        shape: Vec<usize>,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A kernel was launched where nothing can run it.
    #[error("{kernel}: not a tensor that CUDA kernels run on")]
    NoKernels {
        /// The kernel.
        kernel: &'static str,
    },
}

impl From<CudaError> for Error {
    fn from(error: CudaError) -> Self {
        Self::wrap(error)
    }
}

/// Whether an error, or one that it was made from, is a GPU's lack of memory.
pub fn is_out_of_memory<E: AsRef<dyn std::error::Error + Send + Sync>>(error: &E) -> bool {
    let first: &dyn std::error::Error = error.as_ref();
    // Libraries pass CUDA's error on as text.
    std::iter::successors(Some(first), |error| error.source()).any(|error| {
        let text = error.to_string();
        ["CUDA_ERROR_OUT_OF_MEMORY", "_STATUS_ALLOC_FAILED", "ALLOCATION_FAILED"].iter().any(|code| text.contains(code))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lack_of_memory_is_told_from_other_errors() {
        let boxed = |text: &str| -> Box<dyn std::error::Error + Send + Sync> { Box::new(Error::Msg(text.into())) };
        assert!(is_out_of_memory(&boxed("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")")));
        assert!(!is_out_of_memory(&boxed("DriverError(CUDA_ERROR_ILLEGAL_ADDRESS)")));
    }
}
