//! What a run is trained with: its trainer, the weights that it starts from, its heads and their losses.

use crate::inputs::initial;
use crate::manifest::{AdversarialLoss, Combination, DatasetConfig, LossTerm, Manifest};
use crate::scoring::weights::trained_elsewhere;
use crate::study::provenance::HashedFile;
use crate::system::terminal::note;
use crate::training::session::Session;
use anyhow::{Context, Result};
use candle_core::DType;
use colormamba_layers::Params;
use colormamba_losses::{ImageObjective, Term, Weight};
use colormamba_training::{
    Adversary, AdversaryConfig, Head, HeadShape, Hints, InitialWeights, Trainer, TrainerSetup, TrainingError,
};
use std::collections::BTreeMap;

impl Session<'_> {
    pub(super) fn trainer(&self) -> Result<Trainer> {
        let Manifest { model, train, variants, .. } = self.manifest;
        let (architecture, seed) = (model.architecture.clone(), self.folder.seed);
        // Without a target a head has no loss: the manifest's check has made sure of that.
        let targets = model.targets();
        let heads = architecture.options().heads().into_iter().enumerate();
        let heads = heads.filter(|(_, shape)| targets.contains(&shape.name));
        let heads = heads.map(|(index, shape)| self.head(index, &shape)).collect::<Result<_>>()?;
        let trainer = Trainer::new(TrainerSetup {
            params: Params::new(seed, DType::F32, self.device),
            network: Box::new(move |scope, activations| architecture.options().build(scope, activations)),
            activations: train.precision.activations(),
            heads,
            dynamic: variants[0].loss.combination == Combination::Dynamic,
            seed,
            initial: self.initial()?,
            updates: train.updates(),
            discriminator_steps: train.critic_steps,
            network_steps: train.generator_steps,
        });
        match (&model.init, trainer) {
            (Some(init), Err(error @ TrainingError::State { .. })) => {
                Err(error).with_context(|| format!("model.init: {}", init.from.display()))
            }
            (_, trainer) => Ok(trainer?),
        }
    }

    /// The weights to start from, unless the run has some by now.
    fn initial(&self) -> Result<Option<InitialWeights>> {
        let Some(init) = &self.manifest.model.init else { return Ok(None) };
        if self.begun()? {
            return Ok(None);
        }
        initial::weights(init, self.manifest.model.architecture.options(), self.device).map(Some)
    }

    pub(super) fn teacher_files(&self) -> &[HashedFile] {
        self.teachers.as_ref().map_or(&[], |teachers| &teachers.files)
    }

    /// Says of the weights to start from, and of those to learn from, what their user must know.
    pub(super) fn tell_origin(&self) -> Result<()> {
        let taught = self.teachers.iter().flat_map(|teachers| teachers.trained_elsewhere(&*self.dataset));
        taught.for_each(|text| note(&format!("warning: {text}")));
        let Some(init) = &self.manifest.model.init else { return Ok(()) };
        let (from, (metadata, passed_over)) = (init.from.display(), initial::about(init)?);
        // Drawn scenes are like no others: a network that starts elsewhere is meant to.
        let drawn = matches!(self.manifest.data.dataset, DatasetConfig::Synthetic { .. });
        let elsewhere = trained_elsewhere(&metadata, &*self.dataset).filter(|_| !drawn);
        if let Some(text) = elsewhere {
            note(&format!("warning: model.init: {from} {text}"));
        }
        if let Some(text) = passed_over {
            note(&format!("note: model.init: {from}: {text}"));
        }
        Ok(())
    }

    /// The head that is the network's output number `index`, with what the loss says of it.
    fn head(&self, index: usize, shape: &HeadShape) -> Result<Head> {
        let (loss, train) = (&self.manifest.variants[0].loss, &self.manifest.train);
        let adversary = |loss: AdversarialLoss| {
            let AdversarialLoss { kind, weight, scales, penalty } = loss;
            let penalty = penalty.unwrap_or(0.0);
            let config = AdversaryConfig { width: train.critic_width, scales, kind, penalty, weight };
            // Tensors of all discriminators have the same names, so equal seeds would start them alike.
            let params = Params::new(self.folder.seed ^ (index as u64).wrapping_neg(), DType::F32, self.device);
            Adversary::new(params, config, train.precision.activations(), train.optimizer.config())
        };
        let objective = loss.on(shape.name).map(terms).unwrap_or_default();
        let adversarial = loss.adversarial.filter(|_| Adversary::sees(shape));
        let picture = shape.name == self.manifest.model.architecture.options().rgb();
        let distill = self.manifest.distill.as_ref().filter(|_| picture);
        let teaching = distill.map(|distill| terms(&distill.loss));
        Ok(Head {
            name: shape.name.to_string(),
            objective: ImageObjective::new(objective, self.networks.clone())?,
            adversary: adversarial.map(adversary).transpose()?,
            teacher: teaching.map(|terms| ImageObjective::new(terms, self.networks.clone())).transpose()?,
            hints: self.hints(distill.and_then(|distill| distill.features))?,
        })
    }

    /// What is learned of the teachers' feature maps, if they are learned from. A run that has ended may have lost its
    /// teachers, and needs none.
    fn hints(&self, weight: Option<f64>) -> Result<Option<Hints>> {
        let (Some(weight), Some(teachers)) = (weight, &self.teachers) else { return Ok(None) };
        let own = self.manifest.model.architecture.options().features().context("the network gives no feature map")?;
        let params = Params::new(self.folder.seed, DType::F32, self.device);
        let optimizer = self.manifest.train.optimizer.config();
        Ok(Some(Hints::new(params, own, &teachers.features(), weight, optimizer)?))
    }
}

/// The terms of a checked loss.
fn terms(terms: &BTreeMap<String, LossTerm>) -> Vec<(Term, Weight)> {
    terms.values().map(|LossTerm { term, weight }| (term.clone(), *weight)).collect()
}
