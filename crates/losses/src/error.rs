//! What can be wrong with an objective, its inputs or its weight file.

use crate::Term;
use candle_core::Shape;
use std::path::PathBuf;

/// What can be wrong with an objective, its inputs or its weight file.
#[derive(Debug, thiserror::Error)]
pub enum LossError {
    /// No term has this name.
    #[error("unknown loss term `{name}`{}; the terms are {}", suggestion(.nearest), names())]
    UnknownTerm {
        /// The given name.
        name: String,
        /// The name that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A weight is negative, infinite or not a number.
    #[error("loss term `{term}` has weight {weight}; a weight is a finite number that is not negative")]
    Weight {
        /// The term.
        term: Term,
        /// Its weight.
        weight: f64,
    },
    /// A term occurs twice in one objective.
    #[error("loss term `{term}` is given twice")]
    Duplicate {
        /// The term.
        term: Term,
    },
    /// A term compares features, but there is no feature extractor.
    #[error("loss term `{term}` compares features, but no feature extractor is given")]
    NoFeatures {
        /// The term.
        term: Term,
    },
    /// The images are not `(B, 3, H, W)` with at least one pixel.
    #[error("an objective takes images (B, 3, H, W), got shape {got:?}")]
    Image {
        /// The given shape.
        got: Shape,
    },
    /// The images are too small for a term.
    #[error("loss term `{term}` needs images of at least {smallest}x{smallest} pixels, got {height}x{width}")]
    TooSmall {
        /// The term.
        term: Term,
        /// The smallest height and width.
        smallest: usize,
        /// Height of the images.
        height: usize,
        /// Width of the images.
        width: usize,
    },
    /// Prediction and target differ in shape.
    #[error("the prediction has shape {pred:?}, the target {target:?}")]
    Mismatch {
        /// Shape of the prediction.
        pred: Shape,
        /// Shape of the target.
        target: Shape,
    },
    /// The target was prepared by an objective without this term.
    #[error("the target was not prepared for loss term `{term}`")]
    Unprepared {
        /// The term.
        term: Term,
    },
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

fn suggestion(nearest: &Option<&'static str>) -> String {
    nearest.map(|name| format!(", did you mean `{name}`?")).unwrap_or_default()
}

fn names() -> String {
    Term::ALL.map(Term::name).join(", ")
}
