//! Launches the project's CUDA kernels.
//!
//! With the feature `cuda`, tensors on a CUDA device are computed by them. With the feature `emulation`, tensors on the CPU
//! are: the same sources compiled as C++, one thread of the processor for each of a block. Without either, [`applies`] is
//! false for every tensor, and all the rest is unreachable.
//!
//! An operation asks [`applies`], allocates its results as [`DeviceMemory`]s and describes a [`Launch`].
//!
//! ```
//! use candle_core::{DType, Tensor};
//! use colormamba_cuda::{Choice, applies, open};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = open("cpu".parse::<Choice>()?)?;
//! let x = Tensor::zeros(3, DType::F32, &device)?;
//! assert_eq!(applies(&x), cfg!(feature = "emulation"));
//! # Ok(())
//! # }
//! ```

// Without either feature there is nothing to launch on.
#![cfg_attr(not(any(feature = "cuda", feature = "emulation")), allow(dead_code, unused_variables, unreachable_code))]

mod device;
#[cfg(feature = "emulation")]
mod emulated;
mod error;
mod fallback;
#[cfg(feature = "cuda")]
mod gpu;
mod launch;
mod product;
#[cfg(feature = "emulation")]
mod record;

pub use device::{Choice, DeviceError, Tf32, name, open, peak_memory, tf32};
#[cfg(feature = "emulation")]
pub use emulated::Emulated;
pub use error::{CudaError, is_out_of_memory};
pub use fallback::on_host;
pub use launch::{DeviceMemory, Launch, applies, threads_for, wide};
pub use product::matmul;

/// The compiled kernels of one source file; `colormamba_cuda_build` declares them.
pub struct Kernels {
    /// The file's name without extension.
    pub name: &'static str,
    /// What nvcc made of it.
    #[cfg(feature = "cuda")]
    pub image: &'static [u8],
    /// The kernels as C++ functions.
    #[cfg(feature = "emulation")]
    pub table: unsafe extern "C" fn(*mut usize) -> *const Emulated,
}
