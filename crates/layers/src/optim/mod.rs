//! From gradients to weights: optimizers, groups of parameters, clipping, accumulation, averages, learning rates.
//!
//! A training step may go through all of them:
//! [`GradientAccumulator::add`], [`clip_by_global_norm`], [`Schedule::factor`], [`Adam::step`], [`Ema::update`].

mod accumulate;
mod adam;
mod clip;
mod config;
mod ema;
mod groups;
mod schedule;

pub use accumulate::GradientAccumulator;
pub use adam::Adam;
pub use clip::clip_by_global_norm;
pub use config::{AdamConfig, OptimizerConfig};
pub use ema::{Ema, EmaConfig};
pub use groups::{ParameterGroups, decays};
pub use schedule::{Schedule, StepPosition};

use crate::ParamsError;
use candle_core::{DType, Tensor, Var};
use std::fmt::Display;

/// What can be wrong with an optimizer's settings, and with what it is given.
#[derive(Debug, thiserror::Error)]
pub enum OptimError {
    /// A number out of its range.
    #[error("{key} is {value}; it must be {range}")]
    Range {
        /// The setting.
        key: String,
        /// Its value.
        value: String,
        /// What it may be.
        range: &'static str,
    },
    /// A prefix without parameters.
    #[error("{key}: no parameter's name begins with `{prefix}`")]
    NoParameter {
        /// The setting.
        key: &'static str,
        /// The prefix.
        prefix: String,
    },
    /// A gradient that is infinite or not a number.
    #[error("the gradient of `{name}` is not finite: lower the learning rate or the weights of the loss")]
    Gradient {
        /// The parameter.
        name: String,
    },
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

fn in_range(key: &str, value: impl Display, is_in_range: bool, range: &'static str) -> Result<(), OptimError> {
    if is_in_range {
        return Ok(());
    }
    Err(OptimError::Range { key: key.into(), value: value.to_string(), range })
}

/// A count out of a state.
fn count(tensor: &Tensor) -> Result<usize, ParamsError> {
    Ok(tensor.to_dtype(DType::I64)?.to_scalar::<i64>()?.max(0) as usize)
}

/// A tensor out of a state as one that belongs to `var`: where that is and of its type.
fn fitting(name: &str, tensor: &Tensor, var: &Var) -> Result<Tensor, ParamsError> {
    if tensor.shape() != var.shape() {
        let (want, got) = (var.shape().clone(), tensor.shape().clone());
        return Err(ParamsError::Shape { name: name.into(), want, got });
    }
    Ok(tensor.to_device(var.device())?.to_dtype(var.dtype())?)
}
