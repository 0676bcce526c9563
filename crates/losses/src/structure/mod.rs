//! Terms that compare local structure.

pub(crate) mod published;

use crate::view::{Comparison, View};
use crate::{About, LossError};
use serde::{Deserialize, Serialize};

pub(crate) const SMALLEST_PYRAMID: usize = 176;

pub(crate) const SSIM: About = About { name: "ssim", formula: "", range: "", source: "", options: "" };
pub(crate) const D_SSIM: About = About { name: "d_ssim", formula: "", range: "", source: "", options: "" };
pub(crate) const MS_SSIM: About = About { name: "ms_ssim", formula: "", range: "", source: "", options: "" };

/// How images are blurred before they are compared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WindowOptions {
    /// Width in pixels, odd.
    pub window: usize,
    /// Standard deviation of the Gaussian in pixels.
    pub sigma: f64,
    /// What lies beyond the border.
    pub padding: Padding,
}

impl Default for WindowOptions {
    fn default() -> Self {
        Self { window: 11, sigma: 1.5, padding: Padding::Valid }
    }
}

/// What a window sees beyond the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Padding {
    /// Windows stay inside the image.
    Valid,
    /// Zeros.
    Zero,
    /// The image mirrored at its outermost pixels.
    Reflect,
}

/// Which factors of SSIM count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Their product: SSIM.
    All,
    /// l.
    Luminance,
    /// c.
    Contrast,
    /// s.
    Structure,
    /// c · s.
    ContrastStructure,
}

/// Options of `ssim`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SsimOptions {
    /// Width in pixels, odd.
    pub window: usize,
    /// Standard deviation of the Gaussian in pixels.
    pub sigma: f64,
    /// What lies beyond the border.
    pub padding: Padding,
    /// Which factors count.
    pub part: Part,
}

impl Default for SsimOptions {
    fn default() -> Self {
        Self { window: 11, sigma: 1.5, padding: Padding::Valid, part: Part::All }
    }
}

impl WindowOptions {
    pub(crate) fn check(self) -> Result<(), String> {
        Ok(())
    }
    pub(crate) fn smallest_side(self) -> usize {
        self.window
    }
}

impl SsimOptions {
    pub(crate) fn check(self) -> Result<(), String> {
        Ok(())
    }
    pub(crate) fn smallest_side(self) -> usize {
        self.window
    }
}

pub(crate) fn ssim(_: SsimOptions, _: &View) -> Result<Comparison, LossError> {
    Err(LossError::Unseen { what: "ssim".into() })
}

pub(crate) fn d_ssim(_: WindowOptions, _: &View) -> Result<Comparison, LossError> {
    Err(LossError::Unseen { what: "d_ssim".into() })
}

pub(crate) fn ms_ssim(_: &View) -> Result<Comparison, LossError> {
    Err(LossError::Unseen { what: "ms_ssim".into() })
}
