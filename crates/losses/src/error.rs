//! What can be wrong with an objective or its inputs.

use crate::{Channels, Extractor, Preset, Term};
use candle_core::Shape;

/// What can be wrong with an objective or its inputs.
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
    /// No preset has this name.
    #[error("unknown preset `{name}`{}; the presets are {}", suggestion(.nearest), presets())]
    UnknownPreset {
        /// The given name.
        name: String,
        /// The name that was probably meant.
        nearest: Option<&'static str>,
    },
    /// An option of a term has a value that means nothing.
    #[error("loss term `{term}`: {message}")]
    Option {
        /// The term.
        term: &'static str,
        /// Which option, and what it may be.
        message: String,
    },
    /// A weight is negative, infinite or not a number.
    #[error("loss term `{term}` has weight {weight}; a weight is a finite number that is not negative")]
    Weight {
        /// The term.
        term: &'static str,
        /// Its weight.
        weight: f64,
    },
    /// A ramp ends before it starts.
    #[error("loss term `{term}`: its ramp starts in epoch {start} and ends in epoch {end}; it must end later")]
    Schedule {
        /// The term.
        term: &'static str,
        /// Last epoch of the first weight.
        start: usize,
        /// First epoch of the last weight.
        end: usize,
    },
    /// Learned weights that do not fit the terms.
    #[error("learned weights are one scalar for each of the {terms} terms")]
    LogWeights {
        /// How many terms there are.
        terms: usize,
    },
    /// A term occurs twice in one objective.
    #[error("loss term `{term}` is given twice")]
    Duplicate {
        /// The term.
        term: &'static str,
    },
    /// A term compares features, but its network is not there.
    #[error("loss term `{term}` looks through {extractor}, which is not given")]
    NoFeatures {
        /// The term.
        term: &'static str,
        /// The network.
        extractor: Extractor,
    },
    /// Features that a view was not made with.
    #[error("the image has not been seen through {what}")]
    Unseen {
        /// The network, and its feature map.
        what: String,
    },
    /// Neither images `(B, C, H, W)` nor class scores `(B, n)`, or nothing in them.
    #[error("an objective takes images (B, C, H, W) or class scores (B, n), got shape {got:?}")]
    Image {
        /// The given shape.
        got: Shape,
    },
    /// Class scores for a term that takes images, or images for one that takes class scores.
    #[error("loss term `{term}` takes {takes}, got shape {got:?}")]
    Form {
        /// The term.
        term: &'static str,
        /// What it takes.
        takes: &'static str,
        /// The given shape.
        got: Shape,
    },
    /// The target of class scores is not one.
    #[error("loss term `{term}` takes probabilities as the target, not below 0 and 1 in sum for each row")]
    Probabilities {
        /// The term.
        term: &'static str,
    },
    /// The images have more or fewer channels than a term takes.
    #[error("loss term `{term}` takes images of {takes}, got {got}")]
    Channels {
        /// The term.
        term: &'static str,
        /// What it takes.
        takes: Channels,
        /// Channels of the images.
        got: usize,
    },
    /// The images are too small for a term.
    #[error("loss term `{term}` needs images of at least {smallest}x{smallest} pixels, got {height}x{width}")]
    TooSmall {
        /// The term.
        term: &'static str,
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
    /// Two frames, or their features, differ in shape or are not `(B, C, H, W)` with at least one element.
    #[error("frames have one shape (B, C, H, W) with at least one element, got {frame:?} and {previous:?} before it")]
    Frames {
        /// Shape of the frame.
        frame: Shape,
        /// Shape of the frame before it.
        previous: Shape,
    },
    /// A flow that does not fit the image that it moves, `(B, 2, H, W)`.
    #[error("the flow has shape {flow:?}, which does not fit an image of shape {image:?}")]
    Flow {
        /// Shape of the image.
        image: Shape,
        /// Shape of the flow.
        flow: Shape,
    },
    /// A mask that does not fit the flow, `(B, 1, H, W)`.
    #[error("the mask of visible pixels has shape {visible:?}, which does not fit a flow of shape {flow:?}")]
    Visible {
        /// Shape of the flow.
        flow: Shape,
        /// Shape of the mask.
        visible: Shape,
    },
    /// A feature network cannot do what a term asks of it.
    #[error(transparent)]
    Features(#[from] colormamba_features::FeatureError),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

fn suggestion(nearest: &Option<&'static str>) -> String {
    nearest.map(|name| format!(", did you mean `{name}`?")).unwrap_or_default()
}

fn names() -> String {
    Term::all().iter().map(Term::name).collect::<Vec<_>>().join(", ")
}

fn presets() -> String {
    Preset::all().iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ")
}
