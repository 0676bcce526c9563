//! One training iteration, free of manifests and files.

use crate::record::{GeneratorLosses, GradientReport, Gradients, TermValue};
use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use colormamba::{Critic, GENERATOR, Generator, GeneratorConfig, Output};
use colormamba_data::Batch;
use colormamba_layers::{Adam, AdamConfig, Init, Params};
use colormamba_losses::{
    Adversarial, Evaluation, ImageObjective, Networks, Target, Term, Weight, numbers, weighted_sum,
};
use colormamba_ops::{Node, profile};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

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
    /// Scales of each; 1 as published.
    pub scales: usize,
    /// How scores become losses.
    pub kind: Adversarial,
    /// Weight of the gradient penalty in the critics' loss of [`Adversarial::WganGp`].
    pub penalty: f64,
    /// Weight of their verdict in the generator's loss.
    pub weight: f64,
}

/// Everything a [`Trainer`] is made of.
pub struct TrainerSetup {
    /// Parameters of the generator; filled on construction.
    pub params: Params,
    /// Shape of the generator.
    pub generator: GeneratorConfig,
    /// The type of the networks' activations in training.
    pub activations: DType,
    /// Without critics the loss is the image terms alone.
    pub critics: Option<CriticsSetup>,
    /// Weighted terms of the loss on the RGB image.
    pub rgb: Vec<(Term, Weight)>,
    /// Weighted terms of the loss on the HSV image.
    pub hsv: Vec<(Term, Weight)>,
    /// Whether the terms' weights are learned; see [`ImageObjective::with_log_weights`].
    pub dynamic: bool,
    /// What the feature terms look through.
    pub networks: Networks,
    /// Decides on the random numbers of a step.
    pub seed: u64,
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
    kind: Adversarial,
    penalty: f64,
}

impl Rival {
    fn new(params: Params, setup: &CriticsSetup, activations: DType, adam: AdamConfig) -> Result<Self> {
        let learning = Critic::new(&params.root(), setup.width, setup.scales)?.with_activations(activations);
        let fixed = Critic::new(&params.root().frozen(), setup.width, setup.scales)?.with_activations(activations);
        let adam = Adam::new(&params, adam)?;
        Ok(Self { learning, fixed, adam, params, kind: setup.kind, penalty: setup.penalty })
    }

    /// The critic's step, and its loss before it. `rng`: for the gradient penalty.
    fn step(&mut self, real: &Tensor, fake: &Tensor, lr: f64, rng: &mut ChaCha8Rng) -> Result<f64> {
        // The real batch goes first: every forward pass moves the power iterations.
        let (of_real, of_fake) = (self.learning.forward(real)?, self.learning.forward(fake)?);
        let pairs = of_real.iter().zip(&of_fake);
        let mut parts =
            pairs.map(|(real, fake)| Ok((self.kind.discriminator(real, fake)?, 1.0))).collect::<Result<Vec<_>>>()?;
        if self.kind == Adversarial::WganGp {
            let penalties = self.learning.gradient_penalties(&between(real, fake, rng)?)?;
            parts.extend(penalties.into_iter().map(|penalty| (penalty, self.penalty)));
        }
        let loss = sum(&parts)?;
        let value = finite("the critics' loss", number(&loss)?)?;
        self.adam.step(&loss.backward(&one()?)?, lr)?;
        profile::mark(ADAM);
        Ok(value)
    }

    /// The generator's loss for the scores of one of its images.
    fn verdict(&self, scores: Vec<Node>) -> Result<Node> {
        let parts = scores.iter().map(|scores| Ok((self.kind.generator(scores)?, 1.0))).collect::<Result<Vec<_>>>()?;
        sum(&parts)
    }
}

/// A random point between each real and made image.
fn between(real: &Tensor, fake: &Tensor, rng: &mut ChaCha8Rng) -> Result<Tensor> {
    let shares: Vec<f64> = (0..real.dim(0)?).map(|_| rng.random()).collect();
    let shares = Tensor::new(shares, real.device())?.to_dtype(real.dtype())?.reshape(((), 1, 1, 1))?;
    Ok((fake + (real - fake)?.broadcast_mul(&shares)?)?)
}

/// The generator's loss on one image.
struct Judgement {
    total: Node,
    /// The critic's part before its weight, if there is a critic.
    verdict: Option<Tensor>,
    terms: BTreeMap<String, TermValue>,
}

/// A rival with the weight of its verdict.
type Opponent<'a> = Option<(&'a Rival, f64)>;

/// The loss on an image, with the critic's verdict if there is a critic.
fn judge(
    objective: &ImageObjective,
    image: &Node,
    target: &Target,
    opponent: Opponent,
    epoch: usize,
) -> Result<Judgement> {
    let Evaluation { total, raw, weighted, log_weights } = objective.evaluate(image, target, epoch)?;
    let values = raw.into_iter().zip(weighted).enumerate().map(|(i, (raw, weighted))| TermValue {
        raw,
        weighted,
        log_weight: log_weights.as_ref().map(|log_weights| log_weights[i]),
    });
    let terms = objective.terms().map(Term::to_string).zip(values).collect();
    let Some((rival, weight)) = opponent else { return Ok(Judgement { total, verdict: None, terms }) };
    let verdict = rival.verdict(rival.fixed.forward(image)?)?;
    let value = verdict.value().clone();
    Ok(Judgement { total: sum(&[(total, 1.0), (verdict, weight)])?, verdict: Some(value), terms })
}

/// The gradients of the terms on an image, and of the critic's verdict; nothing moves.
fn compare(
    objective: &ImageObjective,
    image: &Node,
    target: &Target,
    opponent: Opponent,
    epoch: usize,
) -> Result<GradientReport> {
    let gradients = objective.gradients(image.value(), target, epoch)?;
    let mut named: Vec<(String, Tensor)> = objective.terms().map(Term::to_string).zip(gradients).collect();
    if let Some((rival, weight)) = opponent {
        let image = image.variable()?;
        let verdict = rival.verdict(rival.fixed.probe(&image)?)?;
        let gradient = sum(&[(verdict, weight)])?.backward(&one()?)?.remove(&image);
        named.extend(gradient.map(|gradient| (ADVERSARIAL.to_string(), gradient)));
    }
    Ok(GradientReport::of(&named)?)
}

/// What a report calls the critic's verdict among the terms.
const ADVERSARIAL: &str = "adversarial";

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
    /// Of the first generator step, if asked for.
    pub gradients: Option<Gradients>,
}

/// When a step happens, and what is asked of it.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Steps done before.
    pub step: usize,
    /// The epoch, from 0.
    pub epoch: usize,
    /// Learning rate.
    pub lr: f64,
    /// Whether to report each term's gradient.
    pub gradients: bool,
}

/// Learned log-weights of the terms.
struct Balance {
    params: Params,
    adam: Adam,
}

impl Balance {
    /// One for each term, with 0 to start from.
    fn of(params: &Params, image: &str, terms: &[(Term, Weight)]) -> Result<Vec<Tensor>> {
        let scope = params.root().pp(image);
        terms.iter().map(|(term, _)| Ok(scope.weight(term.name(), 1, Init::Constant(0.0))?)).collect()
    }
}

/// Trains a generator, and two critics if its loss asks for them, by the published iteration.
pub struct Trainer {
    params: Params,
    generator: Generator,
    evaluation: Generator,
    adam: Adam,
    rivals: Option<Rivals>,
    rgb: ImageObjective,
    hsv: ImageObjective,
    balance: Option<Balance>,
    critic_steps: usize,
    generator_steps: usize,
    seed: u64,
}

impl Trainer {
    /// Builds the networks in their parameter sets.
    ///
    /// # Errors
    /// If a parameter set holds tensors of other shapes.
    pub fn new(setup: TrainerSetup) -> Result<Self> {
        let TrainerSetup { params, generator, activations, critics, networks, adam, seed, .. } = setup;
        let rivals = match critics {
            None => None,
            Some(setup) => {
                let (rgb, hsv) = (setup.rgb.clone(), setup.hsv.clone());
                let (rgb, hsv) =
                    (Rival::new(rgb, &setup, activations, adam)?, Rival::new(hsv, &setup, activations, adam)?);
                Some(Rivals { rgb, hsv, weight: setup.weight })
            }
        };
        let balance = setup.dynamic.then(|| Params::new(seed, DType::F32, params.device()));
        let objective = |image: &str, terms: Vec<(Term, Weight)>| -> Result<ImageObjective> {
            let log_weights = balance.as_ref().map(|params| Balance::of(params, image, &terms)).transpose()?;
            let objective = ImageObjective::new(terms, networks.clone())?;
            Ok(match log_weights {
                Some(log_weights) => objective.with_log_weights(log_weights)?,
                None => objective,
            })
        };
        let (rgb, hsv) = (objective("rgb", setup.rgb)?, objective("hsv", setup.hsv)?);
        let balance = match balance {
            Some(params) => Some(Balance { adam: Adam::new(&params, adam)?, params }),
            None => None,
        };
        Ok(Self {
            generator: Generator::new(&params.root(), &generator)?.with_activations(activations),
            evaluation: Generator::new(&params.root().frozen(), &generator)?,
            adam: Adam::new(&params, adam)?,
            params,
            rivals,
            rgb,
            hsv,
            balance,
            critic_steps: setup.critic_steps,
            generator_steps: setup.generator_steps,
            seed,
        })
    }

    /// One iteration: a forward pass; the critics' steps on its detached result; the generator's steps, the first on that
    /// same pass and each further one on a fresh pass.
    ///
    /// # Errors
    /// If a shape does not fit, and if a loss is no longer finite.
    pub fn step(&mut self, batch: &Batch, moment: Moment) -> Result<StepReport> {
        let targets = (self.rgb.target(&batch.rgb)?, self.hsv.target(&batch.hsv)?);
        profile::mark("losses of the targets");
        let fake = self.generator.forward(&batch.nir, &batch.nir_hsv, true)?;
        let mut report = StepReport { d_loss: Vec::new(), g_loss: Vec::new(), gradients: None };
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(moment.step as u64);
        for _ in 0..self.critic_steps {
            report.d_loss.extend(self.critic_step(batch, &fake, moment.lr, &mut rng)?);
        }
        if moment.gradients {
            report.gradients = Some(self.compare(&fake, &targets, moment.epoch)?);
        }
        // Each step uses up its pass, so that no two are in memory at a time.
        let mut first = Some(fake);
        for _ in 0..self.generator_steps {
            let fake = match first.take() {
                Some(fake) => fake,
                None => self.generator.forward(&batch.nir, &batch.nir_hsv, true)?,
            };
            report.g_loss.push(self.generator_step(fake, &targets, moment)?);
        }
        Ok(report)
    }

    fn critic_step(&mut self, batch: &Batch, fake: &Output, lr: f64, rng: &mut ChaCha8Rng) -> Result<Option<f64>> {
        let Some(Rivals { rgb, hsv, .. }) = &mut self.rivals else { return Ok(None) };
        let on_rgb = rgb.step(&batch.rgb, fake.rgb.value(), lr, rng)?;
        let on_hsv = hsv.step(&batch.hsv, fake.hsv.value(), lr, rng)?;
        Ok(Some(on_rgb + on_hsv))
    }

    fn opponents(&self) -> (Opponent<'_>, Opponent<'_>) {
        let rivals = self.rivals.as_ref();
        (rivals.map(|r| (&r.rgb, r.weight)), rivals.map(|r| (&r.hsv, r.weight)))
    }

    fn compare(&self, fake: &Output, targets: &(Target, Target), epoch: usize) -> Result<Gradients> {
        let (on_rgb, on_hsv) = self.opponents();
        Ok(Gradients {
            rgb: compare(&self.rgb, &fake.rgb, &targets.0, on_rgb, epoch)?,
            hsv: compare(&self.hsv, &fake.hsv, &targets.1, on_hsv, epoch)?,
        })
    }

    fn generator_step(&mut self, fake: Output, targets: &(Target, Target), moment: Moment) -> Result<GeneratorLosses> {
        let (on_rgb, on_hsv) = self.opponents();
        let rgb = judge(&self.rgb, &fake.rgb, &targets.0, on_rgb, moment.epoch)?;
        let hsv = judge(&self.hsv, &fake.hsv, &targets.1, on_hsv, moment.epoch)?;
        let total = sum(&[(rgb.total, 1.0), (hsv.total, 1.0)])?;
        // Nothing else holds the graph, so that it goes step by step as it is passed through.
        drop(fake);
        let verdicts = [&rgb.verdict, &hsv.verdict].into_iter().flatten();
        let values = numbers(&verdicts.chain([total.value()]).collect::<Vec<_>>())?;
        let (verdicts, value) = values.split_at(values.len() - 1);
        let value = finite("the generator's loss", value[0])?;
        let adversarial = self.rivals.as_ref().map(|r| {
            let raw = verdicts.iter().sum();
            TermValue { raw, weighted: r.weight * raw, log_weight: None }
        });
        let grads = total.backward(&one()?)?;
        self.adam.step(&grads, moment.lr)?;
        if let Some(balance) = &mut self.balance {
            balance.adam.step(&grads, moment.lr)?;
        }
        profile::mark(ADAM);
        Ok(GeneratorLosses { total: value, adversarial, rgb: rgb.terms, hsv: hsv.terms })
    }

    /// The generator without training effects, on the present weights.
    pub fn evaluation(&self) -> &Generator {
        &self.evaluation
    }

    /// The generator's tensors, by name.
    pub fn generator_tensors(&self) -> BTreeMap<String, Tensor> {
        prefixed(GENERATOR, self.params.tensors())
    }

    /// Every tensor that a resume needs: weights under `g.`, `d_rgb.`, `d_hsv.`, learned weights of terms under `loss.`,
    /// optimizers under `adam.g.` and so on.
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
        if let Some(Balance { params, adam }) = &self.balance {
            all.extend(prefixed("loss.", params.tensors()));
            all.extend(prefixed("adam.loss.", adam.state()?));
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
        if let Some(Balance { params, adam }) = &mut self.balance {
            params.load(&under("loss.")).context("the learned weights of the loss")?;
            adam.load_state(&under("adam.loss.")).context("the optimizer of the loss")?;
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

fn sum(parts: &[(Node, f64)]) -> Result<Node> {
    let parts: Vec<(&Node, f64)> = parts.iter().map(|(part, weight)| (part, *weight)).collect();
    Ok(weighted_sum(&parts)?)
}

fn number(loss: &Node) -> Result<f64> {
    Ok(loss.value().to_scalar()?)
}

/// The gradient of a loss by itself.
fn one() -> Result<Tensor> {
    Ok(Tensor::new(1f64, &Device::Cpu)?)
}

fn finite(what: &str, value: f64) -> Result<f64> {
    anyhow::ensure!(value.is_finite(), "{what} is {value}: lower the learning rate or the weights of the loss");
    Ok(value)
}
