//! The commands, free of the command line's syntax.

pub mod check;
pub mod colorize;
pub mod compare;
pub mod eval;
pub mod export;
pub mod init;
pub mod losses;
pub mod pairing;
pub mod plan;
pub mod run;
pub mod synth;
pub mod weights;

use crate::system::usage::UsageError;
use anyhow::Result;
use candle_core::Device;
use colormamba_cuda::{Choice, DeviceError};
use std::str::FromStr;

/// What to compute on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceChoice(Choice);

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self)
    }
}

impl DeviceChoice {
    /// The device.
    ///
    /// # Errors
    /// [`UsageError`] for a device that this build or machine lacks, else why the GPU cannot be used.
    pub fn open(self) -> Result<Device> {
        colormamba_cuda::open(self.0).map_err(|error| match error {
            DeviceError::NotBuilt | DeviceError::NoSuchGpu { .. } => UsageError(error.to_string()).into(),
            error => error.into(),
        })
    }
}
