//! The commands, free of the command line's syntax.

pub mod check;
pub mod colorize;
pub mod compare;
pub mod eval;
pub mod losses;
pub mod run;
pub mod synth;
pub mod weights;

use crate::usage::Usage;
use anyhow::Result;
use candle_core::Device;

/// What to compute on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DeviceChoice {
    /// The fastest that this build has.
    Auto,
    /// The processor.
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
}

impl DeviceChoice {
    /// The device.
    ///
    /// # Errors
    /// [`Usage`] for a device that this build lacks.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Auto | Self::Cpu => Ok(Device::Cpu),
            Self::Cuda => Err(Usage("this build has no CUDA: use --device cpu".into()).into()),
        }
    }
}
