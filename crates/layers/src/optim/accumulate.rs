//! Gradients of several batches as one.

use crate::ParamsError;
use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Tensor, Var, bail};
use std::collections::{BTreeMap, BTreeSet};

const BATCHES: &str = "batches";
const SUM: &str = "sum";

/// Adds up the gradients of some batches and hands on their mean, so that a step is that of a larger batch. (Where a layer
/// takes statistics of its batch, as batch norm does, these remain those of the small ones.)
pub struct GradientAccumulator {
    parameters: Vec<(String, Var)>,
    /// In the parameters' order; none for one without a gradient so far.
    sums: Vec<Option<Tensor>>,
    added: usize,
    batches: usize,
}

impl GradientAccumulator {
    /// Over `batches` batches, 1 or more, for these parameters alone.
    ///
    /// # Errors
    /// If `batches` is 0.
    pub fn new(parameters: Vec<(String, Var)>, batches: usize) -> Result<Self> {
        if batches == 0 {
            bail!("gradients are accumulated over 1 or more batches, not 0");
        }
        Ok(Self { sums: vec![None; parameters.len()], parameters, added: 0, batches })
    }

    /// Takes up a batch's gradients. With the last of the batches, the mean, in which a gradient that a batch lacks counts
    /// as zero; then the sums start anew. Over one batch the mean is its gradients themselves.
    ///
    /// # Errors
    /// If a gradient's type or shape changes.
    pub fn add(&mut self, grads: &GradStore) -> Result<Option<GradStore>> {
        for ((_, var), sum) in self.parameters.iter().zip(&mut self.sums) {
            let Some(grad) = grads.get(var) else { continue };
            *sum = Some(match sum.take() {
                Some(sum) => (sum + grad)?.detach(),
                None => grad.clone(),
            });
        }
        self.added += 1;
        if self.added < self.batches {
            return Ok(None);
        }
        self.added = 0;
        let mut means = GradStore::default();
        for ((_, var), sum) in self.parameters.iter().zip(&mut self.sums) {
            let Some(sum) = sum.take() else { continue };
            means.insert(var, if self.batches == 1 { sum } else { (sum / self.batches as f64)? });
        }
        Ok(Some(means))
    }

    /// How many batches the present sums are of: 0 if no mean is due.
    pub fn added(&self) -> usize {
        self.added
    }

    /// What a resume needs: `NAME.sum` for every parameter that has had a gradient since the last mean, and `batches`, how
    /// many the sums are of.
    ///
    /// # Errors
    /// If there is no memory for a number.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let sums = self.parameters.iter().zip(&self.sums);
        let sums = sums.filter_map(|((name, _), sum)| Some((format!("{name}.{SUM}"), sum.clone()?)));
        let mut state: BTreeMap<String, Tensor> = sums.collect();
        state.insert(BATCHES.into(), Tensor::new(self.added as i64, &Device::Cpu)?);
        Ok(state)
    }

    /// Takes up a [`GradientAccumulator::state`]; on an error nothing is changed.
    ///
    /// # Errors
    /// Names what is missing, unknown or of another shape. Also if the sums are of as many batches as this one's mean.
    pub fn load_state(&mut self, state: &BTreeMap<String, Tensor>) -> std::result::Result<(), ParamsError> {
        let batches = state.get(BATCHES).ok_or_else(|| ParamsError::Missing(vec![BATCHES.into()]))?;
        let added = super::count(batches)?;
        if added >= self.batches {
            let message = format!("sums over {added} batches for a mean over {}", self.batches);
            return Err(candle_core::Error::Msg(message).into());
        }
        let mut unknown: BTreeSet<&str> = state.keys().map(String::as_str).filter(|name| *name != BATCHES).collect();
        let mut sums = Vec::with_capacity(self.parameters.len());
        for (name, var) in &self.parameters {
            let name = format!("{name}.{SUM}");
            unknown.remove(name.as_str());
            sums.push(state.get(&name).map(|sum| super::fitting(&name, sum, var)).transpose()?);
        }
        if !unknown.is_empty() {
            return Err(ParamsError::Unknown(unknown.into_iter().map(String::from).collect()));
        }
        (self.sums, self.added) = (sums, added);
        Ok(())
    }
}
