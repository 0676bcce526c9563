//! What can go wrong in a training.

use candle_core::Error;
use colormamba::ModelError;
use colormamba_layers::ParamsError;
use colormamba_layers::optim::OptimError;
use colormamba_losses::LossError;

/// What can go wrong in a training.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// A batch without a tensor that the network or a head needs.
    #[error("the batch has no tensor `{name}`")]
    Missing {
        /// Its name.
        name: String,
    },
    /// A head that the network does not have, or that its discriminator cannot see.
    #[error("the head `{head}`: {message}")]
    Head {
        /// Its name.
        head: String,
        /// What is wrong with it.
        message: String,
    },
    /// An image of a size that the network does not take.
    #[error("an image of {width}x{height} does not fit the model: {wanted}")]
    Size {
        /// Image width in pixels.
        width: usize,
        /// Image height in pixels.
        height: usize,
        /// What both sides must be.
        wanted: String,
    },
    /// Activations of a type that the network does not compute in.
    #[error("a network of kind `{kind}` computes in f32, not in {asked}")]
    Precision {
        /// The network's kind.
        kind: &'static str,
        /// The type asked for.
        asked: &'static str,
    },
    /// A step without a batch.
    #[error("a step needs at least one batch")]
    NoBatch,
    /// A loss that is no longer a number.
    #[error("{what} is {value}: lower the learning rate or the weights of the loss")]
    NotFinite {
        /// Which loss.
        what: String,
        /// Its value.
        value: f64,
    },
    /// A saved state that is not of this training.
    #[error("{what}")]
    State {
        /// What of it does not fit.
        what: String,
        /// Why.
        source: ParamsError,
    },
    /// A setting of the updates that means nothing, or a gradient that is no longer a number.
    #[error(transparent)]
    Optim(#[from] OptimError),
    /// The loss refuses its terms or images.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// The network cannot be built.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] Error),
}

impl TrainingError {
    /// Says of which head's discriminator a loss is.
    pub(crate) fn of_discriminator(self, head: &str) -> Self {
        match self {
            Self::NotFinite { value, .. } => {
                Self::NotFinite { what: format!("the loss of the discriminator of `{head}`"), value }
            }
            other => other,
        }
    }

    /// Says of what a saved state does not fit.
    pub(crate) fn of_state(what: String) -> impl FnOnce(ParamsError) -> Self {
        move |source| Self::State { what, source }
    }
}
