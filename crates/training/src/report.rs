//! What a step tells.

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a report calls the adversarial loss among the terms.
pub const ADVERSARIAL: &str = "adversarial";

/// What a report calls the terms against other networks' outputs, before a dot and the term's name.
pub const TEACHER: &str = "teacher";

/// The losses of one iteration.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// The discriminators' losses, added up, one value for each of their steps; empty without discriminators.
    pub d_loss: Vec<f64>,
    /// The network's losses, one entry for each of its steps.
    pub g_loss: Vec<NetworkLosses>,
    /// By head, the gradients of the losses in the network's first step, if asked for.
    pub gradients: Option<BTreeMap<String, GradientReport>>,
}

/// The losses of one step of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkLosses {
    /// What was minimised.
    pub total: f64,
    /// By head, what it adds to the total.
    pub heads: BTreeMap<String, HeadLosses>,
}

/// The losses on one head.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadLosses {
    /// Its terms, by name.
    pub terms: BTreeMap<String, TermValue>,
    /// The adversarial loss before its weight, if there is a discriminator.
    pub adversarial: Option<f64>,
}

/// One term of a loss: its value and its share in the sum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TermValue {
    /// The term itself.
    pub raw: f64,
    /// What it adds to the total: multiplied by its weight w, or e⁻ˢ w times it plus s with a learned log-weight s.
    pub weighted: f64,
    /// s, if it is learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_weight: Option<f64>,
}

/// The gradients of the terms on one image by that image, each with its weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GradientReport {
    /// The Euclidean norm of each: which terms dominate.
    pub norms: BTreeMap<String, f64>,
    /// The cosine between each and those after it: 1 if two pull alike, -1 if they fight; 0 for a gradient that is 0.
    pub cosines: BTreeMap<String, BTreeMap<String, f64>>,
}

impl NetworkLosses {
    /// What to call the loss if it is not finite: with the first of its terms that is not, if not all are.
    pub(crate) fn blamed(&self) -> String {
        let terms = self.heads.iter().flat_map(|(head, losses)| {
            let terms = losses.terms.iter().map(|(name, value)| (name.as_str(), value.weighted));
            let adversarial = losses.adversarial.map(|value| (ADVERSARIAL, value));
            terms.chain(adversarial).map(move |(name, value)| (format!("{head}.{name}"), value))
        });
        let terms: Vec<(String, f64)> = terms.collect();
        match terms.iter().find(|(_, value)| !value.is_finite()) {
            Some((_, value)) if terms.len() > 1 && terms.iter().all(|(_, value)| !value.is_finite()) => {
                format!("every term of the network's loss is {value}, so its images are not finite; the loss")
            }
            Some((name, value)) => format!("the term `{name}` of the network's loss is {value}; the loss"),
            None => "the network's loss".to_string(),
        }
    }

    /// The mean over the batches of a step. The log-weights are those of the first: they are equal in all.
    pub(crate) fn mean(batches: Vec<Self>) -> Option<Self> {
        let share = 1.0 / batches.len() as f64;
        let mut batches = batches.into_iter();
        let mut mean = batches.next()?;
        for other in batches {
            mean.total += other.total;
            for (head, of_head) in &mut mean.heads {
                let Some(theirs) = other.heads.get(head) else { continue };
                of_head.add(theirs);
            }
        }
        mean.total *= share;
        mean.heads.values_mut().for_each(|head| head.scale(share));
        Some(mean)
    }
}

impl HeadLosses {
    fn add(&mut self, other: &Self) {
        for (name, value) in &mut self.terms {
            let Some(theirs) = other.terms.get(name) else { continue };
            value.raw += theirs.raw;
            value.weighted += theirs.weighted;
        }
        self.adversarial = self.adversarial.zip(other.adversarial).map(|(a, b)| a + b);
    }

    fn scale(&mut self, factor: f64) {
        for value in self.terms.values_mut() {
            value.raw *= factor;
            value.weighted *= factor;
        }
        self.adversarial = self.adversarial.map(|value| value * factor);
    }
}

impl GradientReport {
    /// Of named gradients of one shape.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn of(gradients: &[(String, Tensor)]) -> candle_core::Result<Self> {
        let wide = |(name, gradient): &(String, Tensor)| Ok((name.clone(), gradient.to_dtype(DType::F64)?));
        let gradients = gradients.iter().map(wide).collect::<candle_core::Result<Vec<(String, Tensor)>>>()?;
        let product = |a: &Tensor, b: &Tensor| (a * b)?.sum_all()?.to_scalar::<f64>();
        let mut report = Self { norms: BTreeMap::new(), cosines: BTreeMap::new() };
        for (name, gradient) in &gradients {
            report.norms.insert(name.clone(), product(gradient, gradient)?.sqrt());
        }
        for (i, (name, gradient)) in gradients.iter().enumerate() {
            for (other, another) in &gradients[i + 1..] {
                let norms = report.norms[name] * report.norms[other];
                let cosine = if norms > 0.0 { product(gradient, another)? / norms } else { 0.0 };
                report.cosines.entry(name.clone()).or_default().insert(other.clone(), cosine);
            }
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(values: [f64; 3]) -> NetworkLosses {
        let term = |value| TermValue { raw: value, weighted: value, log_weight: None };
        let [l1, mse, adversarial] = values;
        let terms = [("l1".to_string(), term(l1)), ("mse".to_string(), term(mse))].into();
        let heads = [("rgb".to_string(), HeadLosses { terms, adversarial: Some(adversarial) })].into();
        NetworkLosses { total: f64::NAN, heads }
    }

    #[test]
    fn the_first_term_that_is_no_number_is_blamed() {
        let blamed = |values| losses(values).blamed();
        assert_eq!(blamed([1.0, f64::INFINITY, f64::NAN]), "the term `rgb.mse` of the network's loss is inf; the loss");
        let adversarial = "the term `rgb.adversarial` of the network's loss is NaN; the loss";
        assert_eq!(blamed([1.0, 2.0, f64::NAN]), adversarial);
        let all = "every term of the network's loss is NaN, so its images are not finite; the loss";
        assert_eq!(blamed([f64::NAN; 3]), all);
        assert_eq!(blamed([1.0; 3]), "the network's loss");
    }
}
