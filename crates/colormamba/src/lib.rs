//! ColorMamba (Zhai, Jin, Yang, Kang, arXiv 2408.08087): NIR-to-RGB colorization.
//!
//! The [`Generator`] is G_B, the HSV sub-network, feeding G_A, the RGB network. In training a [`Discriminator`] scores each of its two
//! outputs. [`checkpoint`] reads and writes weights, the published ones included; a [`Colorizer`] applies them.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use colormamba::{Colorizer, EdgeMap, GENERATOR, Generator, GeneratorConfig, checkpoint};
//! use colormamba_layers::Params;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("weights.safetensors");
//! // A small generator as it starts, saved as a run saves it.
//! let params = Params::new(0, DType::F32, &Device::Cpu);
//! Generator::new(&params.root(), &GeneratorConfig::new(8, 6, EdgeMap::Spatial)?)?;
//! let tensors = params.tensors().into_iter().map(|(name, tensor)| (format!("{GENERATOR}{name}"), tensor)).collect();
//! checkpoint::save(&path, &tensors, &[("edge_map".to_string(), "spatial".to_string())].into())?;
//!
//! let colorizer = Colorizer::load(&path, &Device::Cpu)?;
//! let nir = Tensor::rand(0f32, 1f32, (1, 1, 64, 64), &Device::Cpu)?;
//! let nir_hsv = nir.pad_with_zeros(1, 2, 0)?;
//! assert_eq!(colorizer.colorize(&nir, &nir_hsv)?.rgb.dims(), [1, 3, 64, 64]);
//! # Ok(())
//! # }
//! ```

pub mod checkpoint;
mod colorizer;
mod discriminator;
mod generator;

pub use colorizer::{ColorizeError, Colorizer, GENERATOR};
pub use colormamba_rgb_net::{EdgeMap, UnknownEdgeMap};
pub use discriminator::{Discriminator, MOST_SCALES, PUBLISHED_NDF};
pub use generator::{Generator, GeneratorConfig, ModelError, Output};
