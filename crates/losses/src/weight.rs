//! Weights that change over the epochs.

use crate::LossError;
use serde::{Deserialize, Serialize};

/// How much a term counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weight {
    /// The factor when the schedule is over, or always without one.
    pub value: f64,
    /// How it comes there.
    pub schedule: Option<WeightSchedule>,
}

/// How a weight comes to its value. Epochs count from 0; within an epoch a weight does not change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum WeightSchedule {
    /// `from` until epoch `start`, the value from epoch `end` on, on a straight line between them.
    Ramp {
        /// The first weight.
        from: f64,
        /// Last epoch of the first weight.
        start: usize,
        /// First epoch of the value.
        end: usize,
    },
    /// `from` before epoch `at`, the value from then on.
    Switch {
        /// The first weight.
        from: f64,
        /// First epoch of the value.
        at: usize,
    },
}

impl From<f64> for Weight {
    fn from(value: f64) -> Self {
        Self { value, schedule: None }
    }
}

impl Weight {
    /// The factor in an epoch, counted from 0.
    pub fn at(&self, epoch: usize) -> f64 {
        match self.schedule {
            None => self.value,
            Some(WeightSchedule::Switch { from, at }) => if epoch < at { from } else { self.value },
            Some(WeightSchedule::Ramp { from, start, end }) => {
                let done = (epoch.max(start) - start) as f64 / (end - start) as f64;
                from + (self.value - from) * done.min(1.0)
            }
        }
    }

    /// Fails if a weight is negative or no number, or a ramp ends before it starts.
    ///
    /// # Errors
    /// [`LossError::Weight`], [`LossError::Schedule`].
    pub fn check(&self, term: &'static str) -> Result<(), LossError> {
        let from = match self.schedule {
            None => self.value,
            Some(WeightSchedule::Ramp { start, end, .. }) if end <= start => {
                return Err(LossError::Schedule { term, start, end });
            }
            Some(WeightSchedule::Ramp { from, .. } | WeightSchedule::Switch { from, .. }) => from,
        };
        match [self.value, from].into_iter().find(|weight| !weight.is_finite() || *weight < 0.0) {
            Some(weight) => Err(LossError::Weight { term, weight }),
            None => Ok(()),
        }
    }
}
