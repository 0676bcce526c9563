//! The Mamba block: selective scan, four-direction scan, agent attention, Mamba stage.
//!
//! Blocks work on token maps `(B, H, W, C)`; [`MambaStage`] takes and returns images `(B, C, H, W)`. Parameters are named as in
//! the published checkpoints.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use colormamba_layers::Params;
//! use colormamba_ops::Node;
//! use colormamba_ssm::MambaStage;
//!
//! let params = Params::new(0, DType::F32, &Device::Cpu);
//! let stage = MambaStage::new(&params.root(), 8)?;
//! let image = Tensor::rand(0f32, 1f32, (2, 8, 5, 6), &Device::Cpu)?;
//! assert_eq!(stage.forward(&Node::from(&image))?.dims(), [2, 8, 5, 6]);
//! # Ok::<(), candle_core::Error>(())
//! ```

// What the build script made of the CUDA kernels.
mod kernels {
    include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
}

mod agent;
mod cuda;
mod kernel;
mod lanes;
mod layout;
mod map;
mod rows;
mod scan;
mod ss2d;
mod stage;

pub use agent::AgentBlock;
pub use scan::{four_direction_scan, selective_scan};
pub use ss2d::Ss2d;
pub use stage::{MambaStage, Vssb};
