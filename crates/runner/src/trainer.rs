//! One training iteration, free of manifests and files.

use crate::record::{GeneratorLosses, TermValue};
use anyhow::{Context, Result};
use candle_core::Tensor;
use colormamba::{Critic, GENERATOR, Generator, GeneratorConfig, Output};
use colormamba_data::Batch;
use colormamba_layers::{Adam, AdamConfig, Params};
use colormamba_losses::{AutoencoderFeatures, Evaluation, ImageObjective, Target, Term, lsgan};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The two critics to be trained against.
pub struct CriticsSetup {
    /// Parameters of the critic on RGB; filled on construction.
    pub rgb: Params,
    /// Parameters of the critic on HSV; filled on construction.
    pub hsv: Params,
    /// Base width; 64 as published.
    pub width: usize,
    /// Weight of their verdict in the generator's loss.
    pub weight: f64,
}

/// Everything a [`Trainer`] is made of.
pub struct TrainerSetup {
    /// Parameters of the generator; filled on construction.
    pub params: Params,
    /// Shape of the generator.
    pub generator: GeneratorConfig,
    /// Without critics the loss is the image terms alone.
    pub critics: Option<CriticsSetup>,
    /// Weighted terms of the loss on the RGB image.
    pub rgb: Vec<(Term, f64)>,
    /// Weighted terms of the loss on the HSV image.
    pub hsv: Vec<(Term, f64)>,
    /// What the feature terms look through.
    pub features: Option<Arc<AutoencoderFeatures>>,
    /// Adam of the generator and of each critic.
    pub adam: AdamConfig,
    /// Critic updates an iteration; 1 as published.
    pub critic_steps: usize,
    /// Generator updates an iteration; 2 as published.
    pub generator_steps: usize,
}

/// A critic twice over the same weights: one to train, one that passes gradients on to the image alone.
struct Rival {
    params: Params,
    learning: Critic,
    fixed: Critic,
    adam: Adam,
}

impl Rival {
    fn new(params: Params, width: usize, adam: AdamConfig) -> Result<Self> {
        let learning = Critic::new(&params.root(), width)?;
        let fixed = Critic::new(&params.root().frozen(), width)?;
        Ok(Self { learning, fixed, adam: Adam::new(&params, adam)?, params })
    }

    /// The real batch goes first: every forward pass moves the power iterations.
    fn loss(&self, real: &Tensor, fake: &Tensor) -> Result<Tensor> {
        let real = lsgan(&self.learning.forward(real)?, 1.0)?;
        let fake = lsgan(&self.learning.forward(&fake.detach())?, 0.0)?;
        Ok((real + fake)?)
    }
}

/// An objective with its weights, to report each term's share.
struct Objective {
    image: ImageObjective,
    weights: Vec<f64>,
}

impl Objective {
    fn new(terms: Vec<(Term, f64)>, features: Option<Arc<AutoencoderFeatures>>) -> Result<Self> {
        let weights = terms.iter().map(|(_, weight)| *weight).collect();
        Ok(Self { image: ImageObjective::new(terms, features)?, weights })
    }

    fn report(&self, evaluation: &Evaluation) -> Result<BTreeMap<String, TermValue>> {
        let terms = evaluation.terms.iter().zip(&self.weights);
        let value = |((term, value), weight): (&(Term, Tensor), &f64)| {
            let raw = scalar(value)?;
            Ok((term.to_string(), TermValue { raw, weighted: weight * raw }))
        };
        terms.map(value).collect()
    }
}

struct Rivals {
    rgb: Rival,
    hsv: Rival,
    weight: f64,
}

/// The losses of one iteration.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// Sum over both critics, one value a critic step; empty without critics.
    pub d_loss: Vec<f64>,
    /// One entry a generator step.
    pub g_loss: Vec<GeneratorLosses>,
}

/// Trains a generator, and two critics if its loss asks for them, by the published iteration.
pub struct Trainer {
    params: Params,
    generator: Generator,
    evaluation: Generator,
    adam: Adam,
    rivals: Option<Rivals>,
    rgb: Objective,
    hsv: Objective,
    critic_steps: usize,
    generator_steps: usize,
}

impl Trainer {
    /// Builds the networks in their parameter sets.
    ///
    /// # Errors
    /// If a parameter set holds tensors of other shapes.
    pub fn new(setup: TrainerSetup) -> Result<Self> {
        let TrainerSetup { params, generator, critics, rgb, hsv, features, adam, critic_steps, generator_steps } =
            setup;
        let rivals = match critics {
            None => None,
            Some(CriticsSetup { rgb, hsv, width, weight }) => {
                Some(Rivals { rgb: Rival::new(rgb, width, adam)?, hsv: Rival::new(hsv, width, adam)?, weight })
            }
        };
        Ok(Self {
            generator: Generator::new(&params.root(), &generator)?,
            evaluation: Generator::new(&params.root().frozen(), &generator)?,
            adam: Adam::new(&params, adam)?,
            params,
            rivals,
            rgb: Objective::new(rgb, features.clone())?,
            hsv: Objective::new(hsv, features)?,
            critic_steps,
            generator_steps,
        })
    }

    /// One iteration: a forward pass; the critics' steps on its detached result; the generator's steps, the first on that
    /// same pass and each further one on a fresh pass.
    ///
    /// # Errors
    /// If a shape does not fit, and if a loss is no longer finite.
    pub fn step(&mut self, batch: &Batch, lr: f64) -> Result<StepReport> {
        let targets = (self.rgb.image.target(&batch.rgb)?, self.hsv.image.target(&batch.hsv)?);
        let mut fake = self.generator.forward(&batch.nir, &batch.nir_hsv, true)?;
        let mut report = StepReport { d_loss: Vec::new(), g_loss: Vec::new() };
        for _ in 0..self.critic_steps {
            report.d_loss.extend(self.critic_step(batch, &fake, lr)?);
        }
        for again in 0..self.generator_steps {
            if again > 0 {
                fake = self.generator.forward(&batch.nir, &batch.nir_hsv, true)?;
            }
            report.g_loss.push(self.generator_step(&fake, &targets, lr)?);
        }
        Ok(report)
    }

    fn critic_step(&mut self, batch: &Batch, fake: &Output, lr: f64) -> Result<Option<f64>> {
        let Some(Rivals { rgb, hsv, .. }) = &mut self.rivals else { return Ok(None) };
        let loss = (rgb.loss(&batch.rgb, &fake.rgb)? + hsv.loss(&batch.hsv, &fake.hsv)?)?;
        let value = finite("the critics' loss", &loss)?;
        let grads = loss.backward()?;
        rgb.adam.step(&grads, lr)?;
        hsv.adam.step(&grads, lr)?;
        Ok(Some(value))
    }

    fn generator_step(&mut self, fake: &Output, targets: &(Target, Target), lr: f64) -> Result<GeneratorLosses> {
        let rgb = self.rgb.image.evaluate(&fake.rgb, &targets.0)?;
        let hsv = self.hsv.image.evaluate(&fake.hsv, &targets.1)?;
        let mut total = (&rgb.total + &hsv.total)?;
        let mut adversarial = None;
        if let Some(Rivals { rgb, hsv, weight }) = &self.rivals {
            let verdict = lsgan(&hsv.fixed.forward(&fake.hsv)?, 1.0)?;
            let verdict = (verdict + lsgan(&rgb.fixed.forward(&fake.rgb)?, 1.0)?)?;
            let raw = scalar(&verdict)?;
            adversarial = Some(TermValue { raw, weighted: weight * raw });
            total = (total + verdict.affine(*weight, 0.0)?)?;
        }
        let value = finite("the generator's loss", &total)?;
        let grads = total.backward()?;
        self.adam.step(&grads, lr)?;
        let (rgb, hsv) = (self.rgb.report(&rgb)?, self.hsv.report(&hsv)?);
        Ok(GeneratorLosses { total: value, adversarial, rgb, hsv })
    }

    /// The generator without training effects, on the present weights.
    pub fn evaluation(&self) -> &Generator {
        &self.evaluation
    }

    /// The generator's tensors, by name.
    pub fn generator_tensors(&self) -> BTreeMap<String, Tensor> {
        prefixed(GENERATOR, self.params.tensors())
    }

    /// Every tensor that a resume needs: weights under `g.`, `d_rgb.`, `d_hsv.`, optimizers under `adam.g.` and so on.
    ///
    /// # Errors
    /// If a tensor cannot be viewed.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut all = self.generator_tensors();
        all.extend(prefixed(&format!("adam.{GENERATOR}"), self.adam.state()?));
        for (name, rival) in self.rivals() {
            all.extend(prefixed(&format!("{name}."), rival.params.tensors()));
            all.extend(prefixed(&format!("adam.{name}."), rival.adam.state()?));
        }
        Ok(all)
    }

    /// Takes up a [`Trainer::state`].
    ///
    /// # Errors
    /// Names what is missing or of another shape.
    pub fn load_state(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let under = |prefix: &str| -> BTreeMap<String, Tensor> {
            let strip = |(k, v): (&String, &Tensor)| Some((k.strip_prefix(prefix)?.to_string(), v.clone()));
            state.iter().filter_map(strip).collect()
        };
        self.params.load(&under(GENERATOR)).context("the generator")?;
        self.adam.load_state(&under(&format!("adam.{GENERATOR}"))).context("the generator's optimizer")?;
        if let Some(Rivals { rgb, hsv, .. }) = &mut self.rivals {
            for (name, rival) in [("d_rgb", rgb), ("d_hsv", hsv)] {
                rival.params.load(&under(&format!("{name}."))).with_context(|| format!("the critic {name}"))?;
                let adam = under(&format!("adam.{name}."));
                rival.adam.load_state(&adam).with_context(|| format!("the optimizer of {name}"))?;
            }
        }
        Ok(())
    }

    fn rivals(&self) -> Vec<(&'static str, &Rival)> {
        self.rivals.iter().flat_map(|r| [("d_rgb", &r.rgb), ("d_hsv", &r.hsv)]).collect()
    }
}

fn prefixed(prefix: &str, tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    tensors.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect()
}

fn scalar(loss: &Tensor) -> Result<f64> {
    Ok(loss.to_dtype(candle_core::DType::F64)?.to_scalar()?)
}

fn finite(what: &str, loss: &Tensor) -> Result<f64> {
    let value = scalar(loss)?;
    anyhow::ensure!(value.is_finite(), "{what} is {value}: lower the learning rate or the weights of the loss");
    Ok(value)
}
