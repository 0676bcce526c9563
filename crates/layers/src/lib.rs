//! Parameters by name (seeded, ordered), the layers built on them, and what trains them ([`optim`]).
//!
//! Layers take their parameters from a [`Scope`], with the names and start values that PyTorch gives the same layer.
//! Images are `(B, C, H, W)`.

// What the build script made of the CUDA kernels.
mod kernels {
    include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
}

mod basic;
mod batch_norm;
pub mod optim;
mod params;
mod spade;
mod spectral;

pub use basic::{Conv2d, ConvTranspose2d, LayerNorm, Linear};
pub use batch_norm::BatchNorm2d;
pub use optim::{Adam, AdamConfig};
pub use params::{Buffer, Init, Params, ParamsError, Scope};
pub use spade::{ColorDecoder, SpadeBlock};
pub use spectral::{DiscriminatorConv2d, SpectralConv2d};

/// Slope of the leaky ReLUs of all of ColorMamba's networks.
pub const LEAK: f64 = 0.2;

/// What PyTorch adds to a variance in instance, layer and batch norm.
pub const NORM_EPS: f64 = 1e-5;
