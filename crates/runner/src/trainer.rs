//! One training iteration, free of manifests and files.

use crate::record::{GeneratorLosses, TermValue};
use anyhow::{Context, Result};
use candle_core::Tensor;
use candle_core::backprop::GradStore;
use colormamba::{Critic, GENERATOR, Generator, GeneratorConfig, Output};
use colormamba_data::Batch;
use colormamba_layers::{Adam, AdamConfig, Params};
use colormamba_losses::{AutoencoderFeatures, Evaluation, ImageObjective, Target, Term, lsgan};
use colormamba_ops::{Node, backward, in_candle, profile};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a profile calls the losses and their gradients, as far as they are not operations of the graph.
const LOSSES: &str = "losses";
/// What a profile calls the optimizer.
const ADAM: &str = "Adam";

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

    /// The critic's step, and its loss before it.
    fn step(&mut self, real: &Tensor, fake: &Tensor, lr: f64) -> Result<f64> {
        // The real batch goes first: every forward pass moves the power iterations.
        let (real, fake) = (self.learning.forward(real)?, self.learning.forward(fake)?);
        let (real_scores, fake_scores) = (real.variable()?, fake.variable()?);
        let loss = (lsgan(&real_scores, 1.0)? + lsgan(&fake_scores, 0.0)?)?;
        let value = finite("the critics' loss", scalar(&loss)?)?;
        let mut grads = loss.backward()?;
        let outputs = [(real, grads.remove(&real_scores)), (fake, grads.remove(&fake_scores))];
        profile::mark(LOSSES);
        self.adam.step(&go_back(outputs)?, lr)?;
        profile::mark(ADAM);
        Ok(value)
    }

    /// The generator's loss for one of its images.
    fn verdict(&self, image: &Tensor) -> Result<Tensor> {
        let scores = in_candle(image, |x| self.fixed.forward(x))?;
        Ok(lsgan(&scores, 1.0)?)
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

    /// The loss on an image, with the critic's verdict if there is a critic.
    fn judge(&self, image: &Node, target: &Target, rival: Option<(&Rival, f64)>) -> Result<Judgement> {
        let image = image.variable()?;
        let Evaluation { mut total, terms } = self.image.evaluate(&image, target)?;
        let mut verdict = 0.0;
        if let Some((rival, weight)) = rival {
            let loss = rival.verdict(&image)?;
            verdict = scalar(&loss)?;
            total = (total + loss.affine(weight, 0.0)?)?;
        }
        let gradient = total.backward()?.remove(&image);
        let judgement = Judgement { total: scalar(&total)?, verdict, terms: self.report(&terms)?, gradient };
        profile::mark(LOSSES);
        Ok(judgement)
    }

    fn report(&self, terms: &[(Term, Tensor)]) -> Result<BTreeMap<String, TermValue>> {
        let value = |((term, value), weight): (&(Term, Tensor), &f64)| {
            let raw = scalar(value)?;
            Ok((term.to_string(), TermValue { raw, weighted: weight * raw }))
        };
        terms.iter().zip(&self.weights).map(value).collect()
    }
}

/// The generator's loss on one image.
struct Judgement {
    total: f64,
    /// The critic's part before its weight.
    verdict: f64,
    terms: BTreeMap<String, TermValue>,
    /// By the image; none if nothing depends on it.
    gradient: Option<Tensor>,
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
        profile::mark(LOSSES);
        let fake = self.generator.forward(&batch.nir, &batch.nir_hsv, true)?;
        let mut report = StepReport { d_loss: Vec::new(), g_loss: Vec::new() };
        for _ in 0..self.critic_steps {
            report.d_loss.extend(self.critic_step(batch, &fake, lr)?);
        }
        // Each step uses up its pass, so that no two are in memory at a time.
        let mut first = Some(fake);
        for _ in 0..self.generator_steps {
            let fake = match first.take() {
                Some(fake) => fake,
                None => self.generator.forward(&batch.nir, &batch.nir_hsv, true)?,
            };
            report.g_loss.push(self.generator_step(fake, &targets, lr)?);
        }
        Ok(report)
    }

    fn critic_step(&mut self, batch: &Batch, fake: &Output, lr: f64) -> Result<Option<f64>> {
        let Some(Rivals { rgb, hsv, .. }) = &mut self.rivals else { return Ok(None) };
        let on_rgb = rgb.step(&batch.rgb, fake.rgb.value(), lr)?;
        let on_hsv = hsv.step(&batch.hsv, fake.hsv.value(), lr)?;
        Ok(Some(on_rgb + on_hsv))
    }

    fn generator_step(&mut self, fake: Output, targets: &(Target, Target), lr: f64) -> Result<GeneratorLosses> {
        let rivals = self.rivals.as_ref();
        let rgb = self.rgb.judge(&fake.rgb, &targets.0, rivals.map(|r| (&r.rgb, r.weight)))?;
        let hsv = self.hsv.judge(&fake.hsv, &targets.1, rivals.map(|r| (&r.hsv, r.weight)))?;
        let adversarial = rivals.map(|r| {
            let raw = rgb.verdict + hsv.verdict;
            TermValue { raw, weighted: r.weight * raw }
        });
        let total = finite("the generator's loss", rgb.total + hsv.total)?;
        let grads = go_back([(fake.rgb, rgb.gradient), (fake.hsv, hsv.gradient)])?;
        self.adam.step(&grads, lr)?;
        profile::mark(ADAM);
        Ok(GeneratorLosses { total, adversarial, rgb: rgb.terms, hsv: hsv.terms })
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

/// The gradients of the parameters that some outputs were made from; an output without a gradient counts for nothing.
fn go_back<const N: usize>(outputs: [(Node, Option<Tensor>); N]) -> Result<GradStore> {
    let outputs = outputs.into_iter().filter_map(|(output, gradient)| Some((output, gradient?)));
    Ok(backward(outputs.collect())?)
}

fn scalar(loss: &Tensor) -> Result<f64> {
    Ok(loss.to_dtype(candle_core::DType::F64)?.to_scalar()?)
}

fn finite(what: &str, value: f64) -> Result<f64> {
    anyhow::ensure!(value.is_finite(), "{what} is {value}: lower the learning rate or the weights of the loss");
    Ok(value)
}
