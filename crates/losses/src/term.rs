//! The terms by name, with their options.

use crate::colour::histogram::HistogramOptions;
use crate::perceptual::{LpipsOptions, StyleOptions, VggOptions};
use crate::pixel::{Charbonnier, Psnr, SmoothL1};
use crate::speckle::{EnlOptions, LogDomainOptions};
use crate::structure::{SsimOptions, WindowOptions, published};
use crate::view::{Comparison, View};
use crate::{LossError, colour, edges, nearest, perceptual, pixel, speckle, structure};
use colormamba_features::Network;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One way to compare a prediction p with its target t, both `(B, 3, H, W)`. All are scalars, at least 0, and smaller is
/// better. [`Term::about`] gives each one's formula, range and source.
///
/// Serialises as a table with one key, the term's name, whose value is the table of its options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs, reason = "`Term::about` says what each is")]
pub enum Term {
    Mse {},
    L1 {},
    SmoothL1(SmoothL1),
    Charbonnier(Charbonnier),
    Cosine {},
    Psnr(Psnr),
    Ssim(SsimOptions),
    DSsim(WindowOptions),
    MsSsim {},
    MsSsimPublished {},
    Sobel {},
    Laplacian {},
    TotalVariation {},
    FeatureMse {},
    FeatureCosine {},
    Vgg(VggOptions),
    Style(StyleOptions),
    Lpips(LpipsOptions),
    Histogram(HistogramOptions),
    Hue {},
    Ciede2000 {},
    LogDomain(LogDomainOptions),
    Enl(EnlOptions),
}

/// What a term is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The name in manifests and logs.
    pub name: &'static str,
    /// How it is computed; ⟨·⟩ is the mean over batch, channels and pixels, p the prediction and t the target.
    pub formula: &'static str,
    /// What values it takes, for images in [0, 1].
    pub range: &'static str,
    /// Paper or code that it is taken from.
    pub source: &'static str,
    /// Its options with their meaning; empty without any.
    pub options: &'static str,
}

/// A fixed network that a term looks through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Extractor {
    /// The auto-encoder of ColorMamba's published loss.
    Autoencoder,
    /// A classifier.
    #[serde(untagged)]
    Classifier(Network),
}

impl fmt::Display for Extractor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Autoencoder => f.write_str("autoencoder"),
            Self::Classifier(network) => network.fmt(f),
        }
    }
}

impl Term {
    /// Every term with the defaults of its options.
    pub fn all() -> Vec<Self> {
        vec![
            Self::Mse {},
            Self::L1 {},
            Self::SmoothL1(Default::default()),
            Self::Charbonnier(Default::default()),
            Self::Cosine {},
            Self::Psnr(Default::default()),
            Self::Ssim(Default::default()),
            Self::DSsim(Default::default()),
            Self::MsSsim {},
            Self::MsSsimPublished {},
            Self::Sobel {},
            Self::Laplacian {},
            Self::TotalVariation {},
            Self::FeatureMse {},
            Self::FeatureCosine {},
            Self::Vgg(Default::default()),
            Self::Style(Default::default()),
            Self::Lpips(Default::default()),
            Self::Histogram(Default::default()),
            Self::Hue {},
            Self::Ciede2000 {},
            Self::LogDomain(Default::default()),
            Self::Enl(Default::default()),
        ]
    }

    /// The name in manifests and logs.
    pub fn name(&self) -> &'static str {
        self.about().name
    }

    /// What it is.
    pub fn about(&self) -> &'static About {
        match self {
            Self::Mse {} => &pixel::MSE,
            Self::L1 {} => &pixel::L1,
            Self::SmoothL1(_) => &pixel::SMOOTH_L1,
            Self::Charbonnier(_) => &pixel::CHARBONNIER,
            Self::Cosine {} => &colour::cosine::ABOUT,
            Self::Psnr(_) => &pixel::PSNR,
            Self::Ssim(_) => &structure::SSIM,
            Self::DSsim(_) => &structure::D_SSIM,
            Self::MsSsim {} => &structure::MS_SSIM,
            Self::MsSsimPublished {} => &published::ABOUT,
            Self::Sobel {} => &edges::SOBEL,
            Self::Laplacian {} => &edges::LAPLACIAN,
            Self::TotalVariation {} => &edges::TOTAL_VARIATION,
            Self::FeatureMse {} => &perceptual::FEATURE_MSE,
            Self::FeatureCosine {} => &perceptual::FEATURE_COSINE,
            Self::Vgg(_) => &perceptual::VGG,
            Self::Style(_) => &perceptual::STYLE,
            Self::Lpips(_) => &perceptual::LPIPS,
            Self::Histogram(_) => &colour::histogram::ABOUT,
            Self::Hue {} => &colour::hue::ABOUT,
            Self::Ciede2000 {} => &colour::ciede2000::ABOUT,
            Self::LogDomain(_) => &speckle::LOG_DOMAIN,
            Self::Enl(_) => &speckle::ENL,
        }
    }

    /// Fails if an option has a value that means nothing.
    ///
    /// # Errors
    /// [`LossError::Option`].
    pub fn check(&self) -> Result<(), LossError> {
        let fine = match self {
            Self::SmoothL1(options) => options.check(),
            Self::Charbonnier(options) => options.check(),
            Self::Psnr(options) => options.check(),
            Self::Ssim(options) => options.check(),
            Self::DSsim(options) => options.check(),
            Self::Vgg(options) => options.check(),
            Self::Style(options) => options.check(),
            Self::Histogram(options) => options.check(),
            Self::LogDomain(options) => options.check(),
            Self::Enl(options) => options.check(),
            _ => Ok(()),
        };
        fine.map_err(|message| LossError::Option { term: self.name(), message })
    }

    /// The fixed network that it looks through, if it does.
    pub fn extractor(&self) -> Option<Extractor> {
        match self {
            Self::FeatureMse {} | Self::FeatureCosine {} => Some(Extractor::Autoencoder),
            Self::Vgg(options) => Some(Extractor::Classifier(options.network)),
            Self::Style(options) => Some(Extractor::Classifier(options.network)),
            Self::Lpips(options) => Some(Extractor::Classifier(options.network.classifier())),
            _ => None,
        }
    }

    /// The feature maps that it takes from its classifier.
    pub(crate) fn taps(&self) -> Vec<String> {
        match self {
            Self::Vgg(options) => options.taps(),
            Self::Style(options) => options.taps(),
            Self::Lpips(options) => options.taps(),
            _ => Vec::new(),
        }
    }

    /// The smallest height and width in pixels that the term is defined for.
    pub fn smallest_side(&self) -> usize {
        match self {
            Self::Ssim(options) => options.smallest_side(),
            Self::DSsim(options) => options.smallest_side(),
            Self::MsSsim {} | Self::MsSsimPublished {} => structure::SMALLEST_PYRAMID,
            Self::TotalVariation {} => 2,
            Self::Vgg(_) | Self::Style(_) | Self::Lpips(_) => perceptual::smallest_side(self),
            Self::LogDomain(options) => options.term.smallest_side(),
            Self::Enl(options) => options.window,
            _ => 1,
        }
    }

    /// The term as a function of the prediction.
    pub(crate) fn against(&self, target: &View) -> Result<Comparison, LossError> {
        match self {
            Self::Mse {} => pixel::mse(target),
            Self::L1 {} => pixel::l1(target),
            Self::SmoothL1(options) => pixel::smooth_l1(*options, target),
            Self::Charbonnier(options) => pixel::charbonnier(*options, target),
            Self::Cosine {} => colour::cosine::against(target),
            Self::Psnr(options) => pixel::psnr(*options, target),
            Self::Ssim(options) => structure::ssim(*options, target),
            Self::DSsim(options) => structure::d_ssim(*options, target),
            Self::MsSsim {} => structure::ms_ssim(target),
            Self::MsSsimPublished {} => published::against(target),
            Self::Sobel {} => edges::sobel(target),
            Self::Laplacian {} => edges::laplacian(target),
            Self::TotalVariation {} => edges::total_variation(),
            Self::FeatureMse {} => perceptual::feature_mse(target),
            Self::FeatureCosine {} => perceptual::feature_cosine(target),
            Self::Vgg(options) => perceptual::vgg(options, target),
            Self::Style(options) => perceptual::style(options, target),
            Self::Lpips(options) => perceptual::lpips(*options, target),
            Self::Histogram(options) => colour::histogram::against(*options, target),
            Self::Hue {} => colour::hue::against(target),
            Self::Ciede2000 {} => colour::ciede2000::against(target),
            Self::LogDomain(options) => speckle::log_domain(options, target),
            Self::Enl(options) => speckle::enl(*options, target),
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The term of this name with the defaults of its options.
impl FromStr for Term {
    type Err = LossError;

    fn from_str(name: &str) -> Result<Self, LossError> {
        let known = Self::all().into_iter().find(|term| term.name() == name);
        known.ok_or_else(|| LossError::UnknownTerm {
            name: name.to_string(),
            nearest: nearest(name, Self::all().iter().map(Self::name)),
        })
    }
}
