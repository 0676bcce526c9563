//! One reader for files of weights: safetensors and PyTorch's, those of today (zip) and those from before version 1.6.
//!
//! Content decides what a file is, never its name. Pickles are parsed and nothing in them is executed. What a header
//! claims is held against the file's length before memory is taken for it.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use colormamba_weights::WeightFile;
//! use std::collections::HashMap;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("any-name");
//! let weight = Tensor::arange(0f32, 6., &Device::Cpu)?.reshape((2, 3))?;
//! candle_core::safetensors::save(&HashMap::from([("module.conv.weight", weight)]), &path)?;
//! // The prefix is that of PyTorch's `DataParallel`.
//! let weight = WeightFile::open(&path)?.tensor("conv.weight")?.expect("it is there");
//! assert_eq!(weight.dims(), [2, 3]);
//! # Ok(())
//! # }
//! ```

mod archive;
mod bytes;
mod elements;
mod error;
mod file;
mod groups;
mod legacy;
mod pickle;
mod safe;
mod tensors;
mod views;

pub use error::ReadError;
pub use file::WeightFile;
