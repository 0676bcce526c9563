//! How exactly a GPU computes.

use crate::system::usage::UsageError;
use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use colormamba_cuda::Tf32;
use serde::Serialize;
use strum::{Display, EnumString, VariantArray, VariantNames};

/// How a network's activations are kept and its matrices multiplied; weights, sums, statistics and losses are f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Display, EnumString, VariantArray, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase", parse_err_ty = String, parse_err_fn = unknown)]
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
    /// All.
    pub const ALL: &[Self] = <Self as VariantArray>::VARIANTS;

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

fn unknown(word: &str) -> String {
    format!("unknown precision `{word}`, known are {}", <Precision as VariantNames>::VARIANTS.join(", "))
}
