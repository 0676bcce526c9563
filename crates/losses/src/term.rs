//! The terms by name.

use crate::{LossError, ms_ssim};
use std::fmt;
use std::str::FromStr;

/// One way to compare a prediction p with its target t. All are scalars, at least 0, and smaller is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Term {
    /// `mse`: mean of (p - t)² over batch, channels and pixels.
    Mse,
    /// `l1`: mean of |p - t| over batch, channels and pixels.
    L1,
    /// `feature_mse`: mean of (φ(p) - φ(t))², with φ the features of [`crate::AutoencoderFeatures`].
    FeatureMse,
    /// `feature_cosine`: 1 - the cosine between φ(p) and φ(t) along the channels, averaged over batch and positions.
    FeatureCosine,
    /// `ms_ssim_published`: 1 - the product over five scales that ColorMamba's published code optimises.
    ///
    /// It differs from multi-scale SSIM (Wang, Simoncelli, Bovik 2003): the value range L is guessed from the prediction
    /// at every scale (255 above 128, else 1; plus 1 below -0.5), each scale's mean m enters as (m + 1)/2, the means run
    /// over the batch before the product, and the last scale enters to the fourth power:
    /// ∏ over j < 4 of cs_j^w_j · ssim_5^w_5. Window 11, σ 1.5, valid borders; C1 = (0.01 L)², C2 = (0.03 L)².
    ///
    /// Source: arXiv 2408.08087 and its published code.
    MsSsimPublished,
}

impl Term {
    /// Every term, in the order of the names' documentation.
    pub const ALL: [Self; 5] = [Self::Mse, Self::L1, Self::FeatureMse, Self::FeatureCosine, Self::MsSsimPublished];

    /// The name in manifests and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mse => "mse",
            Self::L1 => "l1",
            Self::FeatureMse => "feature_mse",
            Self::FeatureCosine => "feature_cosine",
            Self::MsSsimPublished => "ms_ssim_published",
        }
    }

    /// Whether the term compares features, so that an objective with it needs a feature extractor.
    pub fn needs_features(self) -> bool {
        matches!(self, Self::FeatureMse | Self::FeatureCosine)
    }

    /// The smallest height and width in pixels that the term is defined for.
    pub fn smallest_side(self) -> usize {
        match self {
            Self::Mse | Self::L1 | Self::FeatureMse | Self::FeatureCosine => 1,
            Self::MsSsimPublished => ms_ssim::SMALLEST_SIDE,
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Term {
    type Err = LossError;

    fn from_str(name: &str) -> Result<Self, LossError> {
        let known = Self::ALL.into_iter().find(|term| term.name() == name);
        known.ok_or_else(|| LossError::UnknownTerm { name: name.to_string(), nearest: nearest(name) })
    }
}

/// The term that `name` was probably meant to be.
fn nearest(name: &str) -> Option<&'static str> {
    // Below this similarity a suggestion is a guess.
    const ALIKE: f64 = 0.75;
    let scored = Term::ALL.map(Term::name).into_iter().map(|known| (strsim::jaro_winkler(name, known), known));
    scored.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}
