//! What can be wrong with the weights of a feature network.

use candle_core::Shape;
use std::path::PathBuf;

/// What can be wrong with the weights of a feature network.
#[derive(Debug, thiserror::Error)]
pub enum FeatureError {
    /// The weight file of the feature extractor is not there.
    #[error(
        "the auto-encoder of the feature terms is not at {}: it is not ours to ship; weights/autoencoder.toml says where \
         to get it, and it belongs at weights/autoencoder.pth (random features need no file)",
        .path.display()
    )]
    FileMissing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The weight file is truncated or something else.
    #[error(
        "{} cannot be read as auto-encoder weights, it may be truncated: compare its size and checksum with \
         weights/autoencoder.toml",
        .path.display()
    )]
    FileUnreadable {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        source: candle_core::Error,
    },
    /// The weight file lacks a tensor.
    #[error("{} holds no tensor `{name}`: it is not the auto-encoder that weights/autoencoder.toml describes", .path.display())]
    FileTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor of the feature extractor has another shape.
    #[error("`{name}` of the auto-encoder has shape {got:?}, not {want:?}")]
    FeatureShape {
        /// The tensor.
        name: String,
        /// The shape it must have.
        want: Shape,
        /// The shape it has.
        got: Shape,
    },
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
