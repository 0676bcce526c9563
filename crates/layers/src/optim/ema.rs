//! The exponential moving average of a network's weights.

use super::{OptimError, in_range};
use crate::{Params, ParamsError};
use candle_core::{Device, Result, Tensor};
use std::collections::BTreeMap;

const UPDATES: &str = "updates";
const AVERAGE: &str = "average.";

/// Settings of an [`Ema`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmaConfig {
    /// Share of the average that an update keeps in the end, in `[0, 1)`; 0.999 to 0.9999 are usual.
    pub decay: f64,
}

impl EmaConfig {
    /// Whether the decay is in its range.
    ///
    /// # Errors
    /// If it is not.
    pub fn check(&self) -> std::result::Result<(), OptimError> {
        in_range("decay", self.decay, (0.0..1.0).contains(&self.decay), "0 to 1, 1 excluded")
    }

    /// The decay of the update after `updates` others: `min(decay, (1 + updates) / (10 + updates))`, the warm-up of
    /// TensorFlow's `ExponentialMovingAverage`, so that the start values are soon forgotten.
    pub fn decay_at(&self, updates: u64) -> f64 {
        let updates = updates as f64;
        self.decay.min((1.0 + updates) / (10.0 + updates))
    }
}

/// The exponential moving average of the weights of a [`Params`] (Polyak & Juditsky, doi 10.1137/0330046, in the form
/// of Tarvainen & Valpola, arXiv 1703.01780): `average += (1 − decay) · (weight − average)` after each step.
///
/// Trainable parameters are averaged. Buffers (batch norm's running statistics, the vectors of spectral norm's power
/// iteration, counters) are copied as they are at the update: they are averages or iterates already.
pub struct Ema {
    config: EmaConfig,
    average: Params,
    updates: u64,
}

impl Ema {
    /// Starts at the present values of `params`, which must hold all of its tensors by now.
    ///
    /// # Errors
    /// If the decay is out of its range or there is no memory for the copy.
    pub fn new(params: &Params, config: EmaConfig) -> std::result::Result<Self, OptimError> {
        config.check()?;
        Ok(Self { config, average: params.duplicate()?, updates: 0 })
    }

    /// Moves the average towards the present values of `params`, which it was made of. Call it after each step of the
    /// optimizer.
    ///
    /// # Errors
    /// If `params` has other tensors by now.
    pub fn update(&mut self, params: &Params) -> std::result::Result<(), ParamsError> {
        let share = 1.0 - self.config.decay_at(self.updates);
        let mut next = params.tensors();
        let present = self.average.tensors();
        for (name, _) in params.trainable() {
            let (Some(weight), Some(average)) = (next.get(&name), present.get(&name)) else { continue };
            // In this form a weight that does not change is its own average, to the bit.
            let moved = (average + ((weight - average)? * share)?)?;
            next.insert(name, moved);
        }
        self.average.load(&next)?;
        self.updates += 1;
        Ok(())
    }

    /// The averaged weights with the copied buffers: a network for evaluation is built over their
    /// [`root`](Params::root), [`frozen`](crate::Scope::frozen), and sees every update; their
    /// [`tensors`](Params::tensors) are a weight set of its own.
    pub fn params(&self) -> &Params {
        &self.average
    }

    /// Updates done so far.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// What a resume needs: `average.NAME` for every tensor of the network, and `updates`. The next update overwrites these
    /// tensors.
    ///
    /// # Errors
    /// If there is no memory for a number.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let tensors = self.average.tensors().into_iter();
        let mut state: BTreeMap<_, _> = tensors.map(|(name, tensor)| (format!("{AVERAGE}{name}"), tensor)).collect();
        state.insert(UPDATES.into(), Tensor::new(self.updates as i64, &Device::Cpu)?);
        Ok(state)
    }

    /// Takes up an [`Ema::state`]; on an error nothing is changed.
    ///
    /// # Errors
    /// Names what is missing, unknown or of another shape.
    pub fn load_state(&mut self, state: &BTreeMap<String, Tensor>) -> std::result::Result<(), ParamsError> {
        let updates = state.get(UPDATES).ok_or_else(|| ParamsError::Missing(vec![UPDATES.into()]))?;
        let updates = super::count(updates)?;
        let tensors = state.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(AVERAGE)?, tensor)));
        self.average.load(&tensors.map(|(name, tensor)| (name.to_string(), tensor.clone())).collect())?;
        self.updates = updates as u64;
        Ok(())
    }
}
