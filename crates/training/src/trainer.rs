//! One training iteration, and everything that lasts from one to the next.

use crate::adversary::Adversary;
use crate::balance::Balance;
use crate::gradients::{finite, one, sum};
use crate::head::{Head, HeadLoss, Targets};
use crate::network::{Builder, FEATURES, NamedNodes, NamedTensors, Network, Pass, tensor};
use crate::report::{HeadLosses, NetworkLosses, StepReport};
use crate::state::start_from;
use crate::{GradientReport, TrainingError};
use candle_core::DType;
use candle_core::backprop::GradStore;
use colormamba_layers::Params;
use colormamba_layers::optim::{
    Adam, Ema, EmaConfig, GradientAccumulator, OptimizerConfig, ParameterGroups, clip_by_global_norm,
};
use colormamba_losses::numbers;
use colormamba_ops::{Node, profile};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// What a profile calls the optimizer.
pub(crate) const ADAM: &str = "Adam";

/// Marks the streams of random numbers that passes of the network draw from; without it they are the discriminators'.
const PASSES: u64 = 1 << 63;

pub(crate) type Result<T> = std::result::Result<T, TrainingError>;

/// Everything a [`Trainer`] is made of.
pub struct TrainerSetup {
    /// Parameters of the network; filled on construction.
    pub params: Params,
    /// What builds the network over them.
    pub network: Builder,
    /// The type of the network's activations in training.
    pub activations: DType,
    /// The outputs that are trained, each once. Outputs of the network that have no head go their own way.
    pub heads: Vec<Head>,
    /// Whether the terms' weights are learned; see [`colormamba_losses::ImageObjective::with_log_weights`].
    pub dynamic: bool,
    /// Decides on the random numbers of a step.
    pub seed: u64,
    /// Weights to start from instead of fresh ones.
    pub initial: Option<InitialWeights>,
    /// How the network, and the learned weights of terms, are updated.
    pub updates: Updates,
    /// Updates of each discriminator an iteration; 1 as published.
    pub discriminator_steps: usize,
    /// Updates of the network an iteration; 2 as published.
    pub network_steps: usize,
}

/// Weights that a network starts from.
#[derive(Clone, Debug)]
pub struct InitialWeights {
    /// By the network's names; more may be there than are taken.
    pub tensors: NamedTensors,
    /// Prefixes of the names of those that are taken; all of the network's if there is none.
    pub prefixes: Vec<String>,
}

/// How gradients become new weights. By default with Adam as published, and nothing else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Updates {
    /// The optimizer.
    pub optimizer: OptimizerConfig,
    /// Parameters of the network with a learning rate of their own, and those that stay as they are.
    pub groups: ParameterGroups,
    /// The largest global norm of the network's gradient; see [`clip_by_global_norm`].
    pub clip_norm: Option<f64>,
    /// The average of the network's weights that is evaluated in their place.
    pub ema: Option<EmaConfig>,
}

/// When an iteration happens, and what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepContext {
    /// Iterations done before.
    pub step: usize,
    /// The epoch, from 0.
    pub epoch: usize,
    /// Learning rate.
    pub lr: f64,
    /// Whether to report each term's gradient.
    pub gradients: bool,
}

/// Trains a network, and the discriminators of its heads, by the iteration that ColorMamba's authors published.
pub struct Trainer {
    pub(crate) params: Params,
    network: Box<dyn Network>,
    evaluation: Box<dyn Network>,
    pub(crate) optimizer: Adam,
    clip_norm: Option<f64>,
    pub(crate) ema: Option<Ema>,
    pub(crate) heads: Vec<Head>,
    pub(crate) balance: Option<Balance>,
    discriminator_steps: usize,
    network_steps: usize,
    seed: u64,
}

/// A batch with what the losses need of its targets, in the order of the heads.
struct Part<'a> {
    batch: &'a NamedTensors,
    targets: Vec<Targets>,
}

impl Trainer {
    /// Builds the network in its parameter set.
    ///
    /// # Errors
    /// [`TrainingError::Head`] for a head that the network does not have, [`TrainingError::Optim`] for a setting out of its
    /// range, [`TrainingError::State`] for weights to start from that do not fit; also if a parameter set holds tensors of
    /// other shapes.
    pub fn new(setup: TrainerSetup) -> Result<Self> {
        let TrainerSetup { params, network: build, activations, heads, initial, updates, seed, .. } = setup;
        let Updates { optimizer, groups, clip_norm, ema } = updates;
        let network = build(&params.root().freezing(&groups.freeze), Some(activations))?;
        check_heads(&*network, &heads)?;
        if let Some(initial) = initial {
            start_from(&params, &initial)?;
        }
        let ema = ema.map(|config| Ema::new(&params, config)).transpose()?;
        let (heads, balance) = match setup.dynamic {
            true => {
                Balance::new(heads, seed, params.device(), optimizer).map(|(heads, learned)| (heads, Some(learned)))?
            }
            false => (heads, None),
        };
        let evaluated = ema.as_ref().map_or(&params, Ema::params);
        Ok(Self {
            evaluation: build(&evaluated.root().frozen(), None)?,
            network,
            optimizer: Adam::with_groups(&params, optimizer, &groups)?,
            clip_norm,
            ema,
            params,
            heads,
            balance,
            discriminator_steps: setup.discriminator_steps,
            network_steps: setup.network_steps,
            seed,
        })
    }

    /// One iteration, on a batch or on several, whose gradients are averaged before each update.
    ///
    /// # Errors
    /// [`TrainingError::NoBatch`], [`TrainingError::Missing`], [`TrainingError::Size`], [`TrainingError::Loss`] if the
    /// batches do not fit; [`TrainingError::NotFinite`] if a loss is no longer a number.
    pub fn step(&mut self, batches: &[NamedTensors], context: &StepContext) -> Result<StepReport> {
        let parts = batches.iter().map(|batch| self.part(batch)).collect::<Result<Vec<_>>>()?;
        profile::mark("losses of the targets");
        // The order is that of the published training code, and results depend on it: every pass in training moves power
        // iterations and running statistics, and every loss sees the weights that the updates before it left.
        //
        // First a pass of the network. Its images are what the discriminators learn from: detached, so that no gradient
        // of theirs goes into the network.
        let mut chance = self.chance(context.step, PASSES);
        let (images, mut pass) = self.first_pass(&parts, &mut chance)?;
        let mut report = StepReport { d_loss: Vec::new(), g_loss: Vec::new(), gradients: None };
        // Then the discriminators, each on its real images before the network's: so the network's own losses come from
        // discriminators that have just seen what it makes.
        let mut rng = self.chance(context.step, 0);
        for _ in 0..self.discriminator_steps {
            report.d_loss.extend(self.discriminator_step(&parts, &images, context.lr, &mut rng)?);
        }
        if context.gradients {
            report.gradients = self.gradients(&parts, &images, context.epoch)?;
        }
        drop(images);
        // Last the network, against frozen copies of the discriminators, which pass gradients on to its images alone. The
        // first update takes the pass from above, each further one a fresh pass with the weights as they are by then. An
        // update uses up its pass, so that no two are in memory at a time.
        for _ in 0..self.network_steps {
            report.g_loss.extend(self.network_step(&parts, pass.take(), context, &mut chance)?);
        }
        Ok(report)
    }

    /// The random numbers of a step, of the discriminators' or of the network's own.
    fn chance(&self, step: usize, of: u64) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(step as u64 | of);
        rng
    }

    fn part<'a>(&self, batch: &'a NamedTensors) -> Result<Part<'a>> {
        Ok(Part { batch, targets: self.heads.iter().map(|head| head.targets(batch)).collect::<Result<_>>()? })
    }

    /// The images of every batch, and the pass itself if there is but one: those of several would fill the memory.
    fn first_pass(&self, parts: &[Part], chance: &mut ChaCha8Rng) -> Result<(Vec<NamedTensors>, Option<NamedNodes>)> {
        let (mut images, mut kept) = (Vec::with_capacity(parts.len()), None);
        for part in parts {
            let pass = self.network.forward(part.batch, Pass::Training(&mut *chance))?;
            images.push(pass.iter().map(|(head, image)| (head.clone(), image.value().clone())).collect());
            kept = (parts.len() == 1).then_some(pass);
        }
        if images.is_empty() { Err(TrainingError::NoBatch) } else { Ok((images, kept)) }
    }

    /// A step of every discriminator, and the sum of their losses before it; none without discriminators.
    fn discriminator_step(
        &mut self,
        parts: &[Part],
        images: &[NamedTensors],
        lr: f64,
        rng: &mut ChaCha8Rng,
    ) -> Result<Option<f64>> {
        let mut total = None;
        for Head { name, adversary, .. } in &mut self.heads {
            let Some(adversary) = adversary else { continue };
            let pairs =
                parts.iter().zip(images).map(|(part, fake)| Ok((tensor(part.batch, name)?, tensor(fake, name)?)));
            let loss = adversary.step(&pairs.collect::<Result<Vec<_>>>()?, lr, rng);
            let loss = loss.map_err(|error| error.of_discriminator(name))?;
            total = Some(total.unwrap_or(0.0) + loss);
        }
        Ok(total)
    }

    /// By head, the gradients of the losses on the first of the batches.
    fn gradients(
        &self,
        parts: &[Part],
        images: &[NamedTensors],
        epoch: usize,
    ) -> Result<Option<BTreeMap<String, GradientReport>>> {
        let (Some(part), Some(images)) = (parts.first(), images.first()) else { return Ok(None) };
        let of = |(head, targets): (&Head, &Targets)| {
            Ok((head.name.clone(), head.gradients(tensor(images, &head.name)?, targets, epoch)?))
        };
        self.heads.iter().zip(&part.targets).map(of).collect::<Result<_>>().map(Some)
    }

    /// A step of the network on fresh passes, or on `first`; its losses before it.
    fn network_step(
        &mut self,
        parts: &[Part],
        mut first: Option<NamedNodes>,
        context: &StepContext,
        chance: &mut ChaCha8Rng,
    ) -> Result<Option<NetworkLosses>> {
        let hints = self.heads.iter().filter_map(|head| Some(&head.hints.as_ref()?.params));
        let learned = self.balance.iter().map(|balance| &balance.params).chain(hints).flat_map(Params::trainable);
        let parameters = self.optimizer.parameters().into_iter().chain(learned).collect();
        let mut accumulator = GradientAccumulator::new(parameters, parts.len())?;
        let (mut losses, mut gradients) = (Vec::with_capacity(parts.len()), None);
        for part in parts {
            let pass = match first.take() {
                Some(pass) => pass,
                None => self.network.forward(part.batch, Pass::Training(&mut *chance))?,
            };
            let (total, of_heads) = self.losses(pass, part, context.epoch)?;
            gradients = accumulator.add(&total.backward(&one()?)?)?;
            losses.push(of_heads);
        }
        if let Some(gradients) = gradients {
            self.update(gradients, context.lr)?;
        }
        profile::mark(ADAM);
        Ok(NetworkLosses::mean(losses))
    }

    fn update(&mut self, mut gradients: GradStore, lr: f64) -> Result<()> {
        if let Some(norm) = self.clip_norm {
            clip_by_global_norm(&mut gradients, &self.optimizer.parameters(), norm)?;
        }
        self.optimizer.step(&gradients, lr)?;
        if let Some(balance) = &mut self.balance {
            balance.optimizer.step(&gradients, lr)?;
        }
        for hints in self.heads.iter_mut().filter_map(|head| head.hints.as_mut()) {
            hints.optimizer.step(&gradients, lr)?;
        }
        if let Some(ema) = &mut self.ema {
            ema.update(&self.params).map_err(TrainingError::of_state("the averaged weights".to_string()))?;
        }
        Ok(())
    }

    /// What is minimised for a pass, and its parts. The pass is used up: nothing else holds its graph, which so goes step
    /// by step as gradients pass through it.
    fn losses(&self, mut pass: NamedNodes, part: &Part, epoch: usize) -> Result<(Node, NetworkLosses)> {
        let mut of_heads = Vec::with_capacity(self.heads.len());
        let features = pass.remove(FEATURES);
        for (head, targets) in self.heads.iter().zip(&part.targets) {
            let image = pass.remove(&head.name).ok_or_else(|| TrainingError::Missing { name: head.name.clone() })?;
            of_heads.push(head.loss(&image, features.as_ref(), targets, epoch)?);
        }
        drop((pass, features));
        let (totals, of_heads): (Vec<_>, Vec<_>) = of_heads
            .into_iter()
            .map(|HeadLoss { total, adversarial, terms }| ((total, 1.0), (adversarial, terms)))
            .unzip();
        let total = sum(&totals)?;
        // Read together: each read from a GPU waits for all before it.
        let adversarial = of_heads.iter().filter_map(|(adversarial, _)| adversarial.as_ref());
        let mut values = numbers(&adversarial.chain([total.value()]).collect::<Vec<_>>())?;
        let value = values.pop().unwrap_or(f64::NAN);
        let mut values = values.into_iter();
        let heads = self.heads.iter().zip(of_heads).map(|(head, (adversarial, terms))| {
            (head.name.clone(), HeadLosses { terms, adversarial: adversarial.and_then(|_| values.next()) })
        });
        let losses = NetworkLosses { total: value, heads: heads.collect() };
        finite(&losses.blamed(), value)?;
        Ok((total, losses))
    }

    /// The network without training effects, on the present weights, or on their average if there is one.
    pub fn evaluation(&self) -> &dyn Network {
        &*self.evaluation
    }
}

fn check_heads(network: &dyn Network, heads: &[Head]) -> Result<()> {
    let outputs = network.heads();
    for (index, Head { name, adversary, .. }) in heads.iter().enumerate() {
        let fail = |message: String| Err(TrainingError::Head { head: name.clone(), message });
        let Some(output) = outputs.iter().find(|output| output.name == name) else {
            let known: Vec<&str> = outputs.iter().map(|output| output.name).collect();
            return fail(format!("the network has no such output, it has {}", known.join(", ")));
        };
        if heads[..index].iter().any(|earlier| earlier.name == *name) {
            return fail("it is given twice".to_string());
        }
        if adversary.is_some() && !Adversary::sees(output) {
            return fail(format!(
                "discriminators see images of {} channels, it is {}",
                Adversary::CHANNELS,
                output.kind
            ));
        }
    }
    Ok(())
}
