//! A discriminator in training, and what it tells the network.

use crate::TrainingError;
use crate::gradients::{finite, number, one, sum};
use crate::network::{HeadKind, HeadShape};
use crate::trainer::ADAM;
use candle_core::{DType, Tensor};
use colormamba::Discriminator;
use colormamba_layers::Params;
use colormamba_layers::optim::{Adam, GradientAccumulator, OptimizerConfig};
use colormamba_losses::Adversarial;
use colormamba_ops::{Node, profile};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// The form of an [`Adversary`] and of its losses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdversaryConfig {
    /// Base width of the discriminator; 64 as published.
    pub width: usize,
    /// Scales of the discriminator; 1 as published.
    pub scales: usize,
    /// How scores become losses.
    pub kind: Adversarial,
    /// Weight of the gradient penalty in the discriminator's loss of [`Adversarial::WganGp`].
    pub penalty: f64,
    /// Weight of the adversarial loss in that of the network.
    pub weight: f64,
}

/// A discriminator twice over the same weights: one to train, one that passes gradients on to the image alone.
pub struct Adversary {
    pub(crate) params: Params,
    pub(crate) optimizer: Adam,
    pub(crate) config: AdversaryConfig,
    learning: Discriminator,
    fixed: Discriminator,
}

impl Adversary {
    /// Channels of the images that it sees.
    pub(crate) const CHANNELS: usize = 3;

    /// Whether an output of a network is such an image.
    pub fn sees(head: &HeadShape) -> bool {
        head.kind == HeadKind::Image { channels: Self::CHANNELS }
    }

    /// Over `params`, which it fills. Its activations have the type `activations`.
    ///
    /// # Errors
    /// If `params` holds tensors of other shapes.
    pub fn new(
        params: Params,
        config: AdversaryConfig,
        activations: DType,
        optimizer: OptimizerConfig,
    ) -> Result<Self, TrainingError> {
        let over = |scope| -> Result<Discriminator, TrainingError> {
            Ok(Discriminator::new(&scope, config.width, config.scales)?.with_activations(activations))
        };
        let (learning, fixed) = (over(params.root())?, over(params.root().frozen())?);
        Ok(Self { optimizer: Adam::new(&params, optimizer)?, params, config, learning, fixed })
    }

    /// A step of the discriminator on pairs of real and made images, a pair a batch; its mean loss before the step. `rng`:
    /// for the gradient penalty.
    pub(crate) fn step(
        &mut self,
        pairs: &[(&Tensor, &Tensor)],
        lr: f64,
        rng: &mut ChaCha8Rng,
    ) -> Result<f64, TrainingError> {
        let mut accumulator = GradientAccumulator::new(self.params.trainable(), pairs.len())?;
        let (mut value, mut gradients) = (0.0, None);
        for (real, fake) in pairs {
            let loss = self.discriminator_loss(real, fake, rng)?;
            value += finite("the discriminators' loss", number(&loss)?)?;
            gradients = accumulator.add(&loss.backward(&one()?)?)?;
        }
        if let Some(gradients) = gradients {
            self.optimizer.step(&gradients, lr)?;
        }
        profile::mark(ADAM);
        Ok(value / pairs.len() as f64)
    }

    fn discriminator_loss(&self, real: &Tensor, fake: &Tensor, rng: &mut ChaCha8Rng) -> Result<Node, TrainingError> {
        let kind = self.config.kind;
        // The real batch goes first: every forward pass moves the power iterations.
        let (of_real, of_fake) = (self.learning.forward(real)?, self.learning.forward(fake)?);
        let pairs = of_real.iter().zip(&of_fake);
        let mut parts = pairs
            .map(|(real, fake)| Ok((kind.discriminator(real, fake)?, 1.0)))
            .collect::<Result<Vec<_>, TrainingError>>()?;
        if kind == Adversarial::WganGp {
            let penalties = self.learning.gradient_penalties(&between(real, fake, rng)?)?;
            parts.extend(penalties.into_iter().map(|penalty| (penalty, self.config.penalty)));
        }
        Ok(sum(&parts)?)
    }

    /// The network's adversarial loss for one of its images, before its weight. The power iterations move.
    pub(crate) fn loss(&self, image: &Node) -> Result<Node, TrainingError> {
        self.adversarial(self.fixed.forward(image)?)
    }

    /// The same, but nothing moves.
    pub(crate) fn probe(&self, image: impl Into<Node>) -> Result<Node, TrainingError> {
        self.adversarial(self.fixed.probe(image)?)
    }

    fn adversarial(&self, scores: Vec<Node>) -> Result<Node, TrainingError> {
        let part = |scores: &Node| Ok((self.config.kind.generator(scores)?, 1.0));
        Ok(sum(&scores.iter().map(part).collect::<Result<Vec<_>, TrainingError>>()?)?)
    }
}

/// A random point between each real and made image.
fn between(real: &Tensor, fake: &Tensor, rng: &mut ChaCha8Rng) -> Result<Tensor, TrainingError> {
    let shares: Vec<f64> = (0..real.dim(0)?).map(|_| rng.random()).collect();
    let shares = Tensor::new(shares, real.device())?.to_dtype(real.dtype())?.reshape(((), 1, 1, 1))?;
    Ok((fake + (real - fake)?.broadcast_mul(&shares)?)?)
}
