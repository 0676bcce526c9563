//! What can be wrong with a feature network or its weights.

use crate::Network;
use candle_core::Shape;
use colormamba_metrics::MetricError;
use colormamba_weights::ReadError;
use std::path::{Path, PathBuf};

/// What can be wrong with a feature network or its weights.
#[derive(Debug, thiserror::Error)]
pub enum FeatureError {
    /// The weight file is not there.
    #[error("the weights of {weights} are not at {}: {advice}", .path.display())]
    FileMissing {
        /// Which weights: the name of their description under `weights/`.
        weights: &'static str,
        /// Where they were looked for.
        path: PathBuf,
        /// Where to get them.
        advice: String,
    },
    /// The weight file is cut or something else.
    #[error(
        "{} cannot be read as weights of {weights}, it may be cut: compare its size and checksum with \
         weights/{weights}.toml",
        .path.display()
    )]
    FileUnreadable {
        /// Which weights.
        weights: &'static str,
        /// The file.
        path: PathBuf,
        /// What the reader says.
        source: Box<ReadError>,
    },
    /// A file with the name of the published one is another.
    #[error(
        "{} is cut or changed: its checksum is {got}, that of the published file is {want} (weights/{weights}.toml); fetch \
         it again, or give other weights another file name",
        .path.display()
    )]
    FileChanged {
        /// Which weights.
        weights: &'static str,
        /// The file.
        path: PathBuf,
        /// The published digest, or as much of it as is known.
        want: String,
        /// The file's digest.
        got: String,
    },
    /// The weight file lacks a tensor.
    #[error(
        "{} holds no tensor `{name}`: {found}; it is not the {weights} that weights/{weights}.toml describes",
        .path.display()
    )]
    FileTensor {
        /// Which weights.
        weights: &'static str,
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What the file holds instead.
        found: String,
    },
    /// A tensor of the weight file has another shape.
    #[error("{mismatch}: {} is not the {weights} that weights/{weights}.toml describes", .path.display())]
    FileShape {
        /// Which weights.
        weights: &'static str,
        /// The file.
        path: PathBuf,
        /// A [`FeatureError::FeatureShape`].
        mismatch: Box<FeatureError>,
    },
    /// A tensor given for a network has another shape.
    #[error("`{name}` of the {weights} has shape {got:?}, not {want:?}")]
    FeatureShape {
        /// Which weights.
        weights: &'static str,
        /// The tensor.
        name: String,
        /// The shape it must have.
        want: Shape,
        /// The shape it has.
        got: Shape,
    },
    /// A network has no feature map of this name.
    #[error("{network} has no feature map `{tap}`; it has {}", .network.taps().join(", "))]
    UnknownTap {
        /// The network.
        network: Network,
        /// The given name.
        tap: String,
    },
    /// The images do not fit the measure.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl FeatureError {
    /// That a file of weights cannot be read.
    pub(crate) fn unreadable(weights: &'static str, path: &Path, error: impl Into<ReadError>) -> Self {
        Self::FileUnreadable { weights, path: path.to_path_buf(), source: Box::new(error.into()) }
    }
}
