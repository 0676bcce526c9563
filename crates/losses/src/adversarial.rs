//! Losses of a discriminator and of the generator that it is trained against.

use crate::About;
use crate::mean::{Distance, Kind, mean_distance};
use crate::scalar::weighted_sum;
use candle_core::Result;
use colormamba_ops::Node;
use serde::{Deserialize, Serialize};

/// How a discriminator's scores become losses. The discriminator drives the scores of real images up and those of made ones
/// down, the generator drives the latter up. All are means over batch and patches; [`Adversarial::about`] gives each one's
/// formula and source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adversarial {
    /// Least squares.
    Lsgan,
    /// The first one, not saturating.
    Vanilla,
    /// Hinges at a margin of 1.
    Hinge,
    /// Wasserstein distance with a gradient penalty.
    WganGp,
}

/// Options that every adversarial loss has.
macro_rules! common_options {
    () => {
        "weight: weight of the discriminators' part in the generator's loss, above 0; scales = 1: image scales that each \
         discriminator scores, 1 to 3"
    };
}

const LSGAN: About = About {
    name: "lsgan",
    formula: "discriminator ⟨(s(real) − 1)²⟩ + ⟨s(fake)²⟩, generator ⟨(s(fake) − 1)²⟩; s the scores of patches",
    range: "0 upwards",
    source: "Mao et al., Least squares generative adversarial networks, ICCV 2017, arXiv 1611.04076, there with a factor of ½",
    options: common_options!(),
};

const VANILLA: About = About {
    name: "vanilla",
    formula: "discriminator ⟨ln(1 + e^−s(real))⟩ + ⟨ln(1 + e^s(fake))⟩, generator ⟨ln(1 + e^−s(fake))⟩, which does not saturate; s \
              the scores of patches",
    range: "0 upwards",
    source: "Goodfellow et al., Generative adversarial nets, NeurIPS 2014, arXiv 1406.2661",
    options: common_options!(),
};

const HINGE: About = About {
    name: "hinge",
    formula: "discriminator ⟨max(0, 1 − s(real))⟩ + ⟨max(0, 1 + s(fake))⟩, generator −⟨s(fake)⟩; s the scores of patches",
    range: "discriminator 0 upwards, generator any number",
    source: "Lim, Ye, Geometric GAN, arXiv 1705.02894; Miyato et al., ICLR 2018, arXiv 1802.05957",
    options: common_options!(),
};

const WGAN_GP: About = About {
    name: "wgan_gp",
    formula: "discriminator ⟨s(fake)⟩ − ⟨s(real)⟩ + λ (‖∇ₓ s(x)‖ − 1)² averaged over the batch, x on the line between a real and \
              a made image; generator −⟨s(fake)⟩; s the scores of patches, in the penalty their mean",
    range: "any number",
    source: "Gulrajani et al., Improved training of Wasserstein GANs, NeurIPS 2017, arXiv 1704.00028",
    options: concat!(common_options!(), "; penalty = 10.0: λ, above 0"),
};

impl Adversarial {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Lsgan, Self::Vanilla, Self::Hinge, Self::WganGp];

    /// What it is; s are a discriminator's scores of patches.
    pub fn about(self) -> &'static About {
        match self {
            Self::Lsgan => &LSGAN,
            Self::Vanilla => &VANILLA,
            Self::Hinge => &HINGE,
            Self::WganGp => &WGAN_GP,
        }
    }

    /// The discriminator's loss for its scores of real and of made images, any shapes, without a gradient penalty; an f64
    /// scalar.
    ///
    /// # Errors
    /// Those of the tensor operations.
    pub fn discriminator(self, real: &Node, fake: &Node) -> Result<Node> {
        let (real, fake) = match self {
            Self::Lsgan => (mean_of(real, SquaredFrom(1.0))?, mean_of(fake, SquaredFrom(0.0))?),
            Self::Vanilla => (mean_of(real, Softplus(-1.0))?, mean_of(fake, Softplus(1.0))?),
            Self::Hinge => (mean_of(real, Hinge(-1.0))?, mean_of(fake, Hinge(1.0))?),
            Self::WganGp => (mean_of(real, Times(-1.0))?, mean_of(fake, Times(1.0))?),
        };
        weighted_sum(&[(&real, 1.0), (&fake, 1.0)])
    }

    /// The generator's loss for the discriminator's scores of its images, any shape; an f64 scalar.
    ///
    /// # Errors
    /// Those of the tensor operations.
    pub fn generator(self, fake: &Node) -> Result<Node> {
        match self {
            Self::Lsgan => mean_of(fake, SquaredFrom(1.0)),
            Self::Vanilla => mean_of(fake, Softplus(-1.0)),
            Self::Hinge | Self::WganGp => mean_of(fake, Times(-1.0)),
        }
    }
}

/// The mean of a function of the scores: a distance that does not look at its target.
fn mean_of(scores: &Node, function: impl Distance) -> Result<Node> {
    let scores = scores.contiguous()?;
    mean_distance(&scores, scores.value(), function)
}

/// (s − target)².
#[derive(Clone, Copy)]
struct SquaredFrom(f64);

impl Distance for SquaredFrom {
    #[inline(always)]
    fn value(self, s: f64, _: f64) -> f64 {
        (s - self.0) * (s - self.0)
    }
    #[inline(always)]
    fn slope(self, s: f64, _: f64) -> f64 {
        2.0 * (s - self.0)
    }
    fn kernel(self) -> (Kind, f64) {
        (Kind::SquaredFrom, self.0)
    }
}

/// ln(1 + e^(sign · s)).
#[derive(Clone, Copy)]
struct Softplus(f64);

impl Distance for Softplus {
    #[inline(always)]
    fn value(self, s: f64, _: f64) -> f64 {
        let x = self.0 * s;
        x.max(0.0) + (-x.abs()).exp().ln_1p()
    }
    #[inline(always)]
    fn slope(self, s: f64, _: f64) -> f64 {
        self.0 / (1.0 + (-self.0 * s).exp())
    }
    fn kernel(self) -> (Kind, f64) {
        (Kind::Softplus, self.0)
    }
}

/// max(0, 1 + sign · s).
#[derive(Clone, Copy)]
struct Hinge(f64);

impl Distance for Hinge {
    #[inline(always)]
    fn value(self, s: f64, _: f64) -> f64 {
        let margin = 1.0 + self.0 * s;
        // Written so that a NaN stays one.
        if margin < 0.0 { 0.0 } else { margin }
    }
    #[inline(always)]
    fn slope(self, s: f64, _: f64) -> f64 {
        if 1.0 + self.0 * s > 0.0 { self.0 } else { 0.0 }
    }
    fn kernel(self) -> (Kind, f64) {
        (Kind::Hinge, self.0)
    }
}

/// factor · s.
#[derive(Clone, Copy)]
struct Times(f64);

impl Distance for Times {
    #[inline(always)]
    fn value(self, s: f64, _: f64) -> f64 {
        self.0 * s
    }
    #[inline(always)]
    fn slope(self, _: f64, _: f64) -> f64 {
        self.0
    }
    fn kernel(self) -> (Kind, f64) {
        (Kind::Times, self.0)
    }
}
