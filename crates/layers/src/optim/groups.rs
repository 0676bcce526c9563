//! Groups of parameters, by name: their learning rates, which of them do not move, and which decay.

use super::{OptimError, in_range};
use std::collections::BTreeMap;

/// What is different for parameters whose names begin in a certain way, such as `encoder.`.
///
/// By default all parameters are trained alike.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParameterGroups {
    /// Factor of the learning rate by prefix of the parameters' names, above 0. Of several prefixes of a name the longest
    /// counts; where there is none the factor is 1.
    pub lr_factors: BTreeMap<String, f64>,
    /// Prefixes of the names of parameters that stay as they are: they get no update, no moments and no decay, and no
    /// gradient in layers built from [`Scope::freezing`](crate::Scope::freezing).
    pub freeze: Vec<String>,
}

impl ParameterGroups {
    /// Whether every factor is in its range.
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn check(&self) -> Result<(), OptimError> {
        self.lr_factors.iter().try_for_each(|(prefix, &factor)| {
            let key = format!("lr_factors.\"{prefix}\"");
            in_range(&key, factor, factor > 0.0 && factor.is_finite(), "above 0; `freeze` is for parameters that stay")
        })
    }

    /// Whether every prefix begins at least one of `names`: one that does not is probably misspelt.
    ///
    /// # Errors
    /// Names the first that does not.
    pub fn check_names<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> Result<(), OptimError> {
        let factors = self.lr_factors.keys().map(|prefix| ("lr_factors", prefix));
        let frozen = self.freeze.iter().map(|prefix| ("freeze", prefix));
        let stray = factors.chain(frozen).find(|(_, prefix)| !names.clone().any(|name| name.starts_with(*prefix)));
        stray.map_or(Ok(()), |(key, prefix)| Err(OptimError::NoParameter { key, prefix: prefix.clone() }))
    }

    /// Factor of the learning rate of the parameter `name`.
    pub fn lr_factor(&self, name: &str) -> f64 {
        let matching = self.lr_factors.iter().filter(|(prefix, _)| name.starts_with(prefix.as_str()));
        matching.max_by_key(|(prefix, _)| prefix.len()).map_or(1.0, |(_, &factor)| factor)
    }

    /// Whether the parameter `name` stays as it is.
    pub fn is_frozen(&self, name: &str) -> bool {
        self.freeze.iter().any(|prefix| name.starts_with(prefix))
    }
}

/// Last parts of names of a selective scan's own parameters that have the shape of a weight matrix: the logarithms of its
/// decays. Its skip weights `Ds` and its step biases fall under the other rules.
const SCAN: [&str; 1] = ["A_logs"];

/// Whether weight decay applies to the parameter `name` of this shape.
///
/// It does to what multiplies features: weights of convolutions and linear layers, those within attention and selective
/// scan included. It does not to
/// - biases: the last part of the name ends in `bias`, whatever the shape (the scan's step biases and attention's position
///   biases are tables);
/// - scales and shifts of norms, skip weights and other lone factors: all of rank 0 or 1;
/// - the selective scan's decay rates (`A_logs`), which the reference code of Mamba (Gu & Dao, arXiv 2312.00752) exempts as
///   well: they are logarithms, and 0 is a rate like any other.
pub fn decays(name: &str, dims: &[usize]) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    dims.len() >= 2 && !last.ends_with("bias") && !SCAN.contains(&last)
}
