//! Why a photograph gets no colours.

use candle_core::Error;
use colormamba_training::{TrainingError, WeightsError};
use std::path::PathBuf;

/// A prediction that is no image.
#[derive(Debug, thiserror::Error)]
#[error("the prediction holds infinite values or values that are no numbers")]
pub struct NotFinite;

/// Why a photograph gets no colours.
#[derive(Debug, thiserror::Error)]
pub enum ColorizeError {
    /// The weights cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The header of the weights does not say how photographs are prepared.
    #[error("{path}: {message}")]
    Header {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        message: String,
    },
    /// Options that mean nothing, or not for this network.
    #[error("{0}")]
    Options(String),
    /// A photograph without pixels.
    #[error("the photograph has no pixels")]
    Empty,
    /// What the network makes is no picture.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// The network fails.
    #[error(transparent)]
    Network(#[from] TrainingError),
    /// A tensor operation fails.
    #[error(transparent)]
    Candle(#[from] Error),
}
