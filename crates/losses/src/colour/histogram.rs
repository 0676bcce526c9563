//! Soft histograms.

use crate::view::{Comparison, View};
use crate::{About, LossError};
use serde::{Deserialize, Serialize};

pub(crate) const ABOUT: About = About { name: "histogram", formula: "", range: "", source: "", options: "" };

/// In which colour space channels are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Space {
    /// As the image is.
    Rgb,
    /// Hue, saturation, value.
    Hsv,
    /// CIELAB.
    Lab,
}

/// How two histograms are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistogramDistance {
    /// Mean absolute difference of the cumulative histograms.
    CdfL1,
    /// Kullback-Leibler divergence.
    Kl,
    /// χ².
    Chi2,
    /// Wasserstein distance.
    Wasserstein,
}

/// Options of `histogram`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistogramOptions {
    /// The colour space.
    pub space: Space,
    /// Bins a channel, at least 2.
    pub bins: usize,
    /// The distance.
    pub distance: HistogramDistance,
}

impl Default for HistogramOptions {
    fn default() -> Self {
        Self { space: Space::Rgb, bins: 256, distance: HistogramDistance::CdfL1 }
    }
}

impl HistogramOptions {
    pub(crate) fn check(self) -> Result<(), String> {
        Ok(())
    }
}

pub(crate) fn against(_: HistogramOptions, _: &View) -> Result<Comparison, LossError> {
    Err(LossError::Unseen { what: "histogram".into() })
}
