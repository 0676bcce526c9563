//! The Mamba block: selective scan, four-direction scan, agent attention, Mamba stage.
//!
//! Blocks work on token maps `(B, H, W, C)`; [`MambaStage`] takes and returns images `(B, C, H, W)`. Parameters are named as in
//! the published checkpoints.

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
