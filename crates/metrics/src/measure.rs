//! The measures as values: name, protocol, direction.

use crate::{AngularForm, Image, MetricError, angular_error, psnr, ssim_uniform7};

/// A quality measure with its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// [`psnr`].
    Psnr,
    /// [`ssim_uniform7`].
    SsimUniform7,
    /// [`angular_error`] in its published form.
    AngularPublished,
}

impl Measure {
    /// Every measure, in the order of a table's columns.
    pub const ALL: [Self; 3] = [Self::Psnr, Self::SsimUniform7, Self::AngularPublished];

    /// Name and protocol, unambiguous, e.g. `ssim[uniform7,sample-covariance,rgb,L=1]`.
    pub fn spec(self) -> String {
        let spec = match self {
            Self::Psnr => "psnr[rgb,L=1]",
            Self::SsimUniform7 => "ssim[uniform7,sample-covariance,rgb,L=1]",
            Self::AngularPublished => "ae[published,deg]",
        };
        spec.to_string()
    }

    /// Short name for a table's header.
    pub fn label(self) -> &'static str {
        match self {
            Self::Psnr => "PSNR",
            Self::SsimUniform7 => "SSIM",
            Self::AngularPublished => "AE",
        }
    }

    /// The unit, empty for a ratio.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Psnr => "dB",
            Self::SsimUniform7 => "",
            Self::AngularPublished => "°",
        }
    }

    /// Whether a larger value means a better prediction.
    pub fn higher_is_better(self) -> bool {
        match self {
            Self::Psnr | Self::SsimUniform7 => true,
            Self::AngularPublished => false,
        }
    }

    /// The value for one pair of images.
    ///
    /// # Errors
    /// [`MetricError`] if the sizes differ or are too small for the measure.
    pub fn compute(self, pred: &Image, target: &Image) -> Result<f64, MetricError> {
        match self {
            Self::Psnr => psnr(pred, target),
            Self::SsimUniform7 => ssim_uniform7(pred, target),
            Self::AngularPublished => angular_error(pred, target, AngularForm::Published),
        }
    }
}
