//! ColorMamba (Zhai, Jin, Yang, Kang, arXiv 2408.08087): NIR-to-RGB colorization.
//!
//! The [`Generator`] is G_B, the HSV sub-network, feeding G_A, the RGB network. In training a [`Discriminator`] scores each of its two
//! outputs. [`checkpoint`] reads and writes weights, the published ones included.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use colormamba::{EdgeMap, Generator, GeneratorConfig};
//! use colormamba_layers::Params;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A small generator as it starts.
//! let params = Params::new(0, DType::F32, &Device::Cpu);
//! let generator = Generator::new(&params.root(), &GeneratorConfig::new(8, 6, EdgeMap::Spatial)?)?;
//! let nir = Tensor::rand(0f32, 1f32, (1, 1, 64, 64), &Device::Cpu)?;
//! let nir_hsv = nir.pad_with_zeros(1, 2, 0)?;
//! assert_eq!(generator.forward(&nir, &nir_hsv, false)?.rgb.dims(), [1, 3, 64, 64]);
//! # Ok(())
//! # }
//! ```

pub mod checkpoint;
mod discriminator;
pub mod eight_bits;
mod generator;

pub use colormamba_rgb_net::{EdgeMap, UnknownEdgeMap};
pub use discriminator::{Discriminator, MOST_SCALES, PUBLISHED_NDF};
pub use generator::{Generator, GeneratorConfig, ModelError, Output};

/// Prefix of the generator's tensors in our checkpoints, which hold the discriminators and optimizers too.
pub const GENERATOR: &str = "g.";
