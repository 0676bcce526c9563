//! Which optimizer, and with which hyperparameters.

use super::{OptimError, in_range};

/// What turns gradients into moments, for Adam and AdamW alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// Decay of the first moment, in `[0, 1)`.
    pub beta1: f64,
    /// Decay of the second moment, in `[0, 1)`.
    pub beta2: f64,
    /// Added to the root of the second moment; above 0.
    pub eps: f64,
}

impl Default for AdamConfig {
    /// As published for ColorMamba: β = (0.5, 0.999), ε = 1e-8.
    fn default() -> Self {
        Self { beta1: 0.5, beta2: 0.999, eps: 1e-8 }
    }
}

/// How gradients become updates, beside the learning rate, which each step is given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptimizerConfig {
    /// Adam (Kingma & Ba, arXiv 1412.6980), as `torch.optim.Adam` without weight decay.
    Adam {
        /// Decay of the first moment, in `[0, 1)`.
        beta1: f64,
        /// Decay of the second moment, in `[0, 1)`.
        beta2: f64,
        /// Added to the root of the second moment; above 0.
        eps: f64,
    },
    /// Adam with decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101), as `torch.optim.AdamW`: before Adam's
    /// update a parameter that [decays](super::decays) is multiplied by `1 − lr · weight_decay`.
    AdamW {
        /// Decay of the first moment, in `[0, 1)`.
        beta1: f64,
        /// Decay of the second moment, in `[0, 1)`.
        beta2: f64,
        /// Added to the root of the second moment; above 0.
        eps: f64,
        /// Share of a weight that a step takes off it, for a learning rate of 1; 0 or above.
        weight_decay: f64,
    },
}

impl Default for OptimizerConfig {
    /// As published for ColorMamba: [`AdamConfig::default`].
    fn default() -> Self {
        AdamConfig::default().into()
    }
}

impl From<AdamConfig> for OptimizerConfig {
    fn from(AdamConfig { beta1, beta2, eps }: AdamConfig) -> Self {
        Self::Adam { beta1, beta2, eps }
    }
}

impl OptimizerConfig {
    /// Whether every number is in its range.
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn check(&self) -> Result<(), OptimError> {
        let AdamConfig { beta1, beta2, eps } = self.moments();
        for (key, beta) in [("beta1", beta1), ("beta2", beta2)] {
            in_range(key, beta, (0.0..1.0).contains(&beta), "0 to 1, 1 excluded")?;
        }
        in_range("eps", eps, eps > 0.0 && eps.is_finite(), "above 0")?;
        let weight_decay = self.weight_decay();
        in_range("weight_decay", weight_decay, weight_decay >= 0.0 && weight_decay.is_finite(), "0 or above")
    }

    pub(super) fn moments(&self) -> AdamConfig {
        match *self {
            Self::Adam { beta1, beta2, eps } | Self::AdamW { beta1, beta2, eps, .. } => {
                AdamConfig { beta1, beta2, eps }
            }
        }
    }

    pub(super) fn weight_decay(&self) -> f64 {
        match *self {
            Self::Adam { .. } => 0.0,
            Self::AdamW { weight_decay, .. } => weight_decay,
        }
    }
}
