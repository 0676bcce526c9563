//! The measures as values.

use crate::{Best, Definition, Image, MetricError, Pair};
use std::fmt;
use std::str::FromStr;

/// A quality measure with its protocol, of a prediction and a target in sRGB of range `[0, 1]`.
///
/// Luma is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601); CIELAB is under D65.
///
/// Each is a constant that its own file defines, and a line of [`Self::ALL`].
#[derive(Clone, Copy)]
pub struct Measure {
    pub(crate) definition: &'static Definition,
    /// Of images that are large enough and hold no NaN.
    pub(crate) value: fn(&Pair) -> f64,
}

impl Measure {
    /// Every measure.
    pub const ALL: &[Self] = &[
        Self::PSNR,
        Self::SSIM_UNIFORM7,
        Self::ANGULAR_PUBLISHED,
        Self::MAE,
        Self::RMSE,
        Self::SSIM_GAUSSIAN,
        Self::SSIM_MCFNET,
        Self::MS_SSIM,
        Self::ANGULAR_EXACT,
        Self::CIEDE2000_MEAN,
        Self::CIEDE2000_P95,
        Self::HUE,
        Self::COLOURFULNESS,
        Self::COLOURFULNESS_DIFFERENCE,
        Self::GMSD,
        Self::FSIM,
        Self::FSIMC,
        Self::VIFP,
        Self::HAARPSI,
        Self::MS_SWD,
        Self::SHARPNESS,
        Self::SPECTRAL_SLOPE,
    ];

    /// The measures of the challenge, in the order of a table's columns.
    pub const TABLE: [Self; 3] = [Self::PSNR, Self::SSIM_UNIFORM7, Self::ANGULAR_PUBLISHED];

    /// What is known of it without computing it.
    pub fn definition(self) -> &'static Definition {
        self.definition
    }

    /// Name and protocol, unambiguous, e.g. `ssim[uniform7,sample-covariance,rgb,L=1]`.
    pub fn spec(self) -> &'static str {
        self.definition.spec
    }

    /// Short name for a table's header.
    pub fn label(self) -> &'static str {
        self.definition.label
    }

    /// The unit, empty for a ratio.
    pub fn unit(self) -> &'static str {
        self.definition.unit
    }

    /// Whether the highest value is the best.
    pub fn higher_is_better(self) -> bool {
        self.definition.best == Best::Highest
    }

    /// The value for one pair of images.
    ///
    /// # Errors
    /// [`MetricError::Mismatch`] if the sizes differ, [`MetricError::TooSmall`] below [`Definition::smallest_side`].
    pub fn compute(self, pred: &Image, target: &Image) -> Result<f64, MetricError> {
        self.of(&Pair::new(pred, target)?)
    }

    /// The value for one pair; several measures of one pair share work.
    ///
    /// # Errors
    /// [`MetricError::TooSmall`] below [`Definition::smallest_side`].
    pub fn of(self, pair: &Pair) -> Result<f64, MetricError> {
        self.definition.value(pair, |pair| Ok((self.value)(pair)))
    }
}

/// Specs are unambiguous.
impl PartialEq for Measure {
    fn eq(&self, other: &Self) -> bool {
        self.spec() == other.spec()
    }
}

impl Eq for Measure {}

impl fmt::Debug for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.spec())
    }
}

impl FromStr for Measure {
    type Err = MetricError;

    /// The measure of this spec or short name.
    fn from_str(name: &str) -> Result<Self, MetricError> {
        Definition::find(name, Self::ALL.iter().copied(), |measure| measure.definition)
    }
}
