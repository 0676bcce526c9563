//! The course of the learning rate.

use super::{OptimError, in_range};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// Where in a run a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepPosition {
    /// Steps done before, in the whole run.
    pub step: usize,
    /// The epoch, from 0.
    pub epoch: usize,
    /// Steps of the whole run.
    pub total_steps: usize,
}

/// How the learning rate falls: each kind gives a factor of the base learning rate, in `[0, ..)`.
///
/// Each begins with a linear warm-up if `warmup_steps` is above 0: the factor is multiplied by
/// `(step + 1) / warmup_steps` until that is 1 (Goyal et al., arXiv 1706.02677). Steps are those of the optimizer.
///
/// A new kind is a variant here with its arms in [`Schedule::factor`] and [`Schedule::check`]; `kind` in a manifest is the
/// variant's name in small letters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Schedule {
    /// The same throughout.
    Constant {
        /// Steps of the warm-up.
        #[serde(default, skip_serializing_if = "is_zero")]
        warmup_steps: usize,
    },
    /// Multiplied by `factor` every `every` epochs, as PyTorch's `StepLR`.
    Step {
        /// Epochs between two changes, 1 or more.
        every: usize,
        /// The factor, above 0.
        factor: f64,
        /// Steps of the warm-up.
        #[serde(default, skip_serializing_if = "is_zero")]
        warmup_steps: usize,
    },
    /// Half a period of the cosine (Loshchilov & Hutter, arXiv 1608.03983, without restarts), from 1 after the warm-up to
    /// `min_factor` at the end of the run, step by step: `min + (1 − min) · (1 + cos(π · t / T)) / 2`, as PyTorch's
    /// `CosineAnnealingLR`. A run that is made longer later has had another course until then.
    Cosine {
        /// The factor at the end, 0 to 1.
        #[serde(default)]
        min_factor: f64,
        /// Steps of the warm-up.
        #[serde(default, skip_serializing_if = "is_zero")]
        warmup_steps: usize,
    },
}

impl Default for Schedule {
    /// Constant, without warm-up.
    fn default() -> Self {
        Self::Constant { warmup_steps: 0 }
    }
}

impl Schedule {
    /// Whether every number is in its range.
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn check(&self) -> Result<(), OptimError> {
        match *self {
            Self::Constant { .. } => Ok(()),
            Self::Step { every, factor, .. } => {
                in_range("every", every, every > 0, "1 or more")?;
                in_range("factor", factor, factor > 0.0 && factor.is_finite(), "above 0")
            }
            Self::Cosine { min_factor, .. } => {
                in_range("min_factor", min_factor, (0.0..=1.0).contains(&min_factor), "0 to 1")
            }
        }
    }

    /// The factor of the base learning rate in a step. It depends on nothing but `position`.
    pub fn factor(&self, position: StepPosition) -> f64 {
        let StepPosition { step, epoch, total_steps } = position;
        match *self {
            Self::Constant { warmup_steps } => warmup(step, warmup_steps),
            Self::Step { every, factor, warmup_steps } => {
                let changes = epoch.checked_div(every).unwrap_or(0);
                factor.powi(changes as i32) * warmup(step, warmup_steps)
            }
            Self::Cosine { min_factor, warmup_steps } => {
                let (done, all) = (step.saturating_sub(warmup_steps), total_steps.saturating_sub(warmup_steps));
                let share = (done as f64 / all.max(1) as f64).min(1.0);
                (min_factor + (1.0 - min_factor) * (1.0 + (PI * share).cos()) / 2.0) * warmup(step, warmup_steps)
            }
        }
    }
}

/// 1 after the warm-up, so that nothing changes without one.
fn warmup(step: usize, steps: usize) -> f64 {
    if step < steps { (step + 1) as f64 / steps as f64 } else { 1.0 }
}

fn is_zero(steps: &usize) -> bool {
    *steps == 0
}
