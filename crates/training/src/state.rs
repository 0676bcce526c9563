//! What lasts from one run of the program to the next.

use crate::TrainingError;
use crate::adversary::Adversary;
use crate::balance::Balance;
use crate::head::Head;
use crate::hints::Hints;
use crate::network::NamedTensors;
use crate::trainer::{InitialWeights, Result, Trainer};
use candle_core::Tensor;
use colormamba::GENERATOR;
use colormamba_layers::optim::{Ema, OptimError};
use colormamba_layers::{Params, ParamsError};

impl Trainer {
    /// The tensors of [`Trainer::evaluation`], under `g.`.
    pub fn weights(&self) -> NamedTensors {
        prefixed(GENERATOR, self.ema.as_ref().map_or(&self.params, Ema::params).tensors())
    }

    /// Every tensor that a resume needs: weights of the network under `g.`, of the discriminator of a head NAME under
    /// `d_NAME.`, of the head's [`Hints`] under `hints_NAME.`, learned weights of terms under `loss.`, averaged weights
    /// under `ema.`, optimizers under `adam.g.` and so on.
    ///
    /// # Errors
    /// If a tensor cannot be viewed.
    pub fn state(&self) -> Result<NamedTensors> {
        let mut all = prefixed(GENERATOR, self.params.tensors());
        all.extend(prefixed(&format!("adam.{GENERATOR}"), self.optimizer.state()?));
        for (name, Adversary { params, optimizer, .. }) in self.adversaries() {
            all.extend(prefixed(&format!("{name}."), params.tensors()));
            all.extend(prefixed(&format!("adam.{name}."), optimizer.state()?));
        }
        for (name, Hints { params, optimizer, .. }) in self.hints() {
            all.extend(prefixed(&format!("{name}."), params.tensors()));
            all.extend(prefixed(&format!("adam.{name}."), optimizer.state()?));
        }
        if let Some(Balance { params, optimizer }) = &self.balance {
            all.extend(prefixed("loss.", params.tensors()));
            all.extend(prefixed("adam.loss.", optimizer.state()?));
        }
        if let Some(ema) = &self.ema {
            all.extend(prefixed("ema.", ema.state()?));
        }
        Ok(all)
    }

    /// Takes up a [`Trainer::state`].
    ///
    /// # Errors
    /// [`TrainingError::State`] names what is missing or of another shape.
    pub fn load_state(&mut self, state: &NamedTensors) -> Result<()> {
        let of = |what: &str| TrainingError::of_state(what.to_string());
        self.params.load(&under(state, GENERATOR)).map_err(of("the network"))?;
        let adam = under(state, &format!("adam.{GENERATOR}"));
        self.optimizer.load_state(&adam).map_err(of("the network's optimizer"))?;
        let parts = |name: &str| (under(state, &format!("{name}.")), under(state, &format!("adam.{name}.")));
        for Head { name, adversary, hints, .. } in &mut self.heads {
            if let Some(Adversary { params, optimizer, .. }) = adversary {
                let name = discriminator_name(name);
                let (weights, adam) = parts(&name);
                params.load(&weights).map_err(of(&format!("the discriminator {name}")))?;
                optimizer.load_state(&adam).map_err(of(&format!("the optimizer of {name}")))?;
            }
            if let Some(Hints { params, optimizer, .. }) = hints {
                let (weights, adam) = parts(&hints_name(name));
                params.load(&weights).map_err(of("the projections of features"))?;
                optimizer.load_state(&adam).map_err(of("the optimizer of the projections of features"))?;
            }
        }
        if let Some(Balance { params, optimizer }) = &mut self.balance {
            params.load(&under(state, "loss.")).map_err(of("the learned weights of the loss"))?;
            optimizer.load_state(&under(state, "adam.loss.")).map_err(of("the optimizer of the loss"))?;
        }
        if let Some(ema) = &mut self.ema {
            ema.load_state(&under(state, "ema.")).map_err(of("the averaged weights"))?;
        }
        Ok(())
    }

    fn adversaries(&self) -> impl Iterator<Item = (String, &Adversary)> {
        self.heads.iter().filter_map(|head| Some((discriminator_name(&head.name), head.adversary.as_ref()?)))
    }

    fn hints(&self) -> impl Iterator<Item = (String, &Hints)> {
        self.heads.iter().filter_map(|head| Some((hints_name(&head.name), head.hints.as_ref()?)))
    }
}

/// What the state calls the discriminator of a head.
fn discriminator_name(head: &str) -> String {
    format!("d_{head}")
}

/// What the state calls the projections of features of a head.
fn hints_name(head: &str) -> String {
    format!("hints_{head}")
}

fn prefixed(prefix: &str, tensors: NamedTensors) -> NamedTensors {
    tensors.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect()
}

/// The tensors whose names begin with `prefix`, by the rest of their names.
fn under(tensors: &NamedTensors, prefix: &str) -> NamedTensors {
    let strip = |(k, v): (&String, &Tensor)| Some((k.strip_prefix(prefix)?.to_string(), v.clone()));
    tensors.iter().filter_map(strip).collect()
}

/// Replaces the chosen tensors of `params`.
pub(crate) fn start_from(params: &Params, initial: &InitialWeights) -> Result<()> {
    let is_chosen = |name: &str| initial.prefixes.iter().any(|prefix| name.starts_with(prefix));
    let mut tensors = NamedTensors::new();
    for (name, own) in params.tensors() {
        let tensor = match initial.tensors.get(&name) {
            // A copy: a set cannot be loaded from its own memory.
            _ if !initial.prefixes.is_empty() && !is_chosen(&name) => own.copy()?,
            Some(given) => given.clone(),
            None => return Err(TrainingError::of_state(INITIAL.to_string())(ParamsError::Missing(vec![name]))),
        };
        tensors.insert(name, tensor);
    }
    if let Some(prefix) = initial.prefixes.iter().find(|prefix| !tensors.keys().any(|name| name.starts_with(*prefix))) {
        return Err(OptimError::NoParameter { key: "init", prefix: prefix.clone() }.into());
    }
    params.load(&tensors).map_err(TrainingError::of_state(INITIAL.to_string()))
}

/// What an error calls them.
const INITIAL: &str = "the weights to start from";
