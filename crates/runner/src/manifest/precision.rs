//! How exactly a GPU computes.

use crate::system::usage::UsageError;
use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use colormamba_cuda::Tf32;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// How a network's activations are kept and its matrices multiplied; weights, sums, statistics and losses are f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// In f32.
    #[default]
    F32,
    /// On a GPU's tensor cores: of each factor the leading 10 bits after the point, sums in f32.
    Tf32,
    /// On a GPU's tensor cores: activations with 7 bits after the point, sums in f32; what stays f32, such as a perceptual
    /// network, is multiplied as with [`Self::Tf32`].
    Bf16,
}

impl Precision {
    /// All, by name.
    pub const ALL: [(&'static str, Self); 3] = [("f32", Self::F32), ("tf32", Self::Tf32), ("bf16", Self::Bf16)];

    /// Multiplies so for as long as what is returned lives.
    ///
    /// # Errors
    /// [`UsageError`] if `device` has no such units.
    pub fn set(self, device: &Device) -> Result<Tf32> {
        let fits = match self {
            Self::F32 => true,
            Self::Tf32 => device.is_cuda(),
            Self::Bf16 => colormamba_cuda::applies(&Tensor::zeros(1, DType::BF16, device)?),
        };
        ensure!(fits, UsageError(format!("precision {self} is for a GPU: add --device cuda, or compute in f32")));
        Ok(Tf32::set(self != Self::F32))
    }

    /// The type of activations.
    pub fn activations(self) -> DType {
        if self == Self::Bf16 { DType::BF16 } else { DType::F32 }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, precision)| precision == self).map_or("", |(name, _)| name);
        f.pad(name)
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(name, _)| *name == word);
        known
            .map(|(_, precision)| *precision)
            .ok_or_else(|| format!("unknown precision `{word}`, known are f32, tf32, bf16"))
    }
}
