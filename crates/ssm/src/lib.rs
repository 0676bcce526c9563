//! The Mamba block: selective scan, four-direction scan, agent attention, Mamba stage.

mod kernel;
mod lanes;
mod plan;
mod scan;

pub use scan::{four_direction_scan, selective_scan};
