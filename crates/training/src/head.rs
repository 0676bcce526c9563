//! One output of a network with its losses.

use crate::TrainingError;
use crate::adversary::Adversary;
use crate::gradients::{one, sum};
use crate::hints::{self, Hints};
use crate::network::{NamedTensors, tensor};
use crate::report::{ADVERSARIAL, GradientReport, TEACHER, TermValue};
use candle_core::Tensor;
use colormamba_losses::{Evaluation, ImageObjective, Target, Term};
use colormamba_ops::Node;
use std::collections::BTreeMap;

/// One output of a network with its losses and, if its loss asks for one, its discriminator.
pub struct Head {
    /// The network's name for the output, and the batch's for its target.
    pub name: String,
    /// The terms of its loss.
    pub objective: ImageObjective,
    /// Its discriminator.
    pub adversary: Option<Adversary>,
    /// The terms of its loss against what other networks make of the same input, [`Head::taught`] in a batch (Hinton,
    /// Vinyals & Dean, arXiv 1503.02531). Their weights are never learned.
    pub teacher: Option<ImageObjective>,
    /// The loss of the network's features against those of other networks.
    pub hints: Option<Hints>,
}

/// What the losses of a head need of a batch.
pub(crate) struct Targets {
    truth: Target,
    taught: Option<Target>,
    /// Feature maps.
    hints: Vec<Tensor>,
}

/// The loss on one head in one step.
pub(crate) struct HeadLoss {
    /// What is minimised.
    pub(crate) total: Node,
    /// The adversarial part before its weight, if there is a discriminator.
    pub(crate) adversarial: Option<Tensor>,
    pub(crate) terms: BTreeMap<String, TermValue>,
}

impl Head {
    /// What a batch calls the outputs of other networks that the head of this name learns from.
    pub fn taught(name: &str) -> String {
        of_teacher(name)
    }

    /// What the losses need of a batch.
    pub(crate) fn targets(&self, batch: &NamedTensors) -> Result<Targets, TrainingError> {
        let truth = self.objective.target(tensor(batch, &self.name)?)?;
        let taught = |teacher: &ImageObjective| -> Result<Target, TrainingError> {
            Ok(teacher.target(tensor(batch, &Self::taught(&self.name))?)?)
        };
        let hints = self.hints.as_ref().map_or(Ok(Vec::new()), |hints| hints.targets(batch))?;
        Ok(Targets { truth, taught: self.teacher.as_ref().map(taught).transpose()?, hints })
    }

    /// The loss on an image, or on class scores, of this head and on the network's features, adversarial part included.
    pub(crate) fn loss(
        &self,
        image: &Node,
        features: Option<&Node>,
        targets: &Targets,
        epoch: usize,
    ) -> Result<HeadLoss, TrainingError> {
        let truth = self.objective.evaluate(image, &targets.truth, epoch)?;
        let mut terms = values(&self.objective, &truth, str::to_string);
        let mut totals = vec![(truth.total, 1.0)];
        if let (Some(teacher), Some(taught)) = (&self.teacher, &targets.taught) {
            let evaluation = teacher.evaluate(image, taught, epoch)?;
            terms.extend(values(teacher, &evaluation, of_teacher));
            totals.push((evaluation.total, 1.0));
        }
        if let Some(hints) = &self.hints {
            let features = features.ok_or_else(|| TrainingError::Head {
                head: self.name.clone(),
                message: "a network that gives no features cannot learn of those of others".to_string(),
            })?;
            let (loss, value) = hints.loss(features, &targets.hints, epoch)?;
            terms.insert(hints::name(), value);
            totals.push((loss, 1.0));
        }
        let mut value = None;
        if let Some(adversary) = &self.adversary {
            let adversarial = adversary.loss(image)?;
            value = Some(adversarial.value().clone());
            totals.push((adversarial, adversary.config.weight));
        }
        Ok(HeadLoss { total: sum(&totals)?, adversarial: value, terms })
    }

    /// The gradients of the terms by an image of this head, and of its adversarial loss; nothing moves.
    pub(crate) fn gradients(
        &self,
        image: &Tensor,
        targets: &Targets,
        epoch: usize,
    ) -> Result<GradientReport, TrainingError> {
        let of = |objective: &ImageObjective, target| objective.gradients(image, target, epoch);
        let mut named: Vec<(String, Tensor)> =
            self.objective.terms().map(Term::to_string).zip(of(&self.objective, &targets.truth)?).collect();
        if let (Some(teacher), Some(taught)) = (&self.teacher, &targets.taught) {
            named.extend(teacher.terms().map(|term| of_teacher(term.name())).zip(of(teacher, taught)?));
        }
        if let Some(adversary) = &self.adversary {
            let image = Node::from(image).variable()?;
            let loss = adversary.probe(&image)?;
            let gradient = sum(&[(loss, adversary.config.weight)])?.backward(&one()?)?.remove(&image);
            named.extend(gradient.map(|gradient| (ADVERSARIAL.to_string(), gradient)));
        }
        Ok(GradientReport::of(&named)?)
    }
}

/// A name of something of a teacher's.
fn of_teacher(name: &str) -> String {
    format!("{TEACHER}.{name}")
}

/// The values of the terms of an objective, by their names, which `named` changes.
fn values(
    objective: &ImageObjective,
    Evaluation { raw, weighted, log_weights, .. }: &Evaluation,
    named: impl Fn(&str) -> String,
) -> BTreeMap<String, TermValue> {
    let value = |(i, (raw, weighted)): (usize, (&f64, &f64))| TermValue {
        raw: *raw,
        weighted: *weighted,
        log_weight: log_weights.as_ref().map(|log_weights| log_weights[i]),
    };
    objective.terms().map(|term| named(term.name())).zip(raw.iter().zip(weighted).enumerate().map(value)).collect()
}
