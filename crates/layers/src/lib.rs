//! Parameters by name (seeded, ordered), the layers built on them, and what trains them ([`optim`]).
//!
//! Layers take their parameters from a [`Scope`], with the names and start values that PyTorch gives the same layer.
//! Images are `(B, C, H, W)`.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use colormamba_layers::{Adam, AdamConfig, Conv2d, Params};
//!
//! let params = Params::new(0, DType::F64, &Device::Cpu);
//! let conv = Conv2d::same3x3(&params.root().pp("first"), 1, 2)?;
//! assert!(params.tensors().keys().eq(["first.bias", "first.weight"]));
//!
//! // One step of Adam down the sum of all outputs.
//! let mut adam = Adam::new(&params, AdamConfig::default())?;
//! let image = Tensor::ones((1, 1, 4, 4), DType::F64, &Device::Cpu)?;
//! let sum = || conv.forward(&image)?.value().sum_all()?.to_scalar::<f64>();
//! let before = sum()?;
//! let y = conv.forward(&image)?;
//! let slope = y.value().ones_like()?;
//! adam.step(&y.backward(&slope)?, 0.01)?;
//! assert!(sum()? < before);
//! # Ok::<(), candle_core::Error>(())
//! ```
//!
//! # With candle-nn
//! [`Params::var_builder`] makes the parameters of a model that is written with candle-nn. Layers of one input are
//! [`candle_core::Module`]s (`ModuleT` where training differs from evaluation), so that candle's graph passes through them:
//! call `x.apply(&layer)`, as `layer.forward(x)` is the method that gives a [`colormamba_ops::Node`].

// What the build script made of the CUDA kernels.
mod kernels {
    include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
}

mod basic;
mod batch_norm;
mod frozen_norm;
pub mod optim;
mod params;
mod spade;
mod spectral;

pub use basic::{Conv2d, ConvTranspose2d, LayerNorm, Linear};
pub use batch_norm::BatchNorm2d;
pub use frozen_norm::ConvFrozenNorm;
pub use optim::{Adam, AdamConfig};
pub use params::{Buffer, Init, Params, ParamsError, Scope};
pub use spade::{ColorDecoder, SpadeBlock};
pub use spectral::{DiscriminatorConv2d, SpectralConv2d};

/// Slope of the leaky ReLUs of all of ColorMamba's networks.
pub const LEAK: f64 = 0.2;

/// What PyTorch adds to a variance in instance, layer and batch norm.
pub const NORM_EPS: f64 = 1e-5;
