//! One output of a network with its losses.

use crate::TrainingError;
use crate::adversary::Adversary;
use crate::gradients::{one, sum};
use crate::report::{ADVERSARIAL, GradientReport, TermValue};
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
    /// The loss on an image, or on class scores, of this head, adversarial part included.
    pub(crate) fn loss(&self, image: &Node, target: &Target, epoch: usize) -> Result<HeadLoss, TrainingError> {
        let Evaluation { total, raw, weighted, log_weights } = self.objective.evaluate(image, target, epoch)?;
        let values = raw.into_iter().zip(weighted).enumerate().map(|(i, (raw, weighted))| TermValue {
            raw,
            weighted,
            log_weight: log_weights.as_ref().map(|log_weights| log_weights[i]),
        });
        let terms = self.objective.terms().map(Term::to_string).zip(values).collect();
        let Some(adversary) = &self.adversary else { return Ok(HeadLoss { total, adversarial: None, terms }) };
        let adversarial = adversary.loss(image)?;
        let value = adversarial.value().clone();
        let total = sum(&[(total, 1.0), (adversarial, adversary.config.weight)])?;
        Ok(HeadLoss { total, adversarial: Some(value), terms })
    }

    /// The gradients of the terms by an image of this head, and of its adversarial loss; nothing moves.
    pub(crate) fn gradients(
        &self,
        image: &Tensor,
        target: &Target,
        epoch: usize,
    ) -> Result<GradientReport, TrainingError> {
        let gradients = self.objective.gradients(image, target, epoch)?;
        let mut named: Vec<(String, Tensor)> = self.objective.terms().map(Term::to_string).zip(gradients).collect();
        if let Some(adversary) = &self.adversary {
            let image = Node::from(image).variable()?;
            let loss = adversary.probe(&image)?;
            let gradient = sum(&[(loss, adversary.config.weight)])?.backward(&one()?)?.remove(&image);
            named.extend(gradient.map(|gradient| (ADVERSARIAL.to_string(), gradient)));
        }
        Ok(GradientReport::of(&named)?)
    }
}
