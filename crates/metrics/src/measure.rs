//! The measures as values.

use crate::definition::Recipe;
use crate::{
    Best, Definition, Image, MetricError, Pair, angular, ciede2000, colourfulness, difference, fsim, gmsd, haarpsi,
    hue, sharpness, spectrum, ssim, swd, vif,
};
use std::str::FromStr;

/// A quality measure with its protocol, of a prediction and a target in sRGB of range `[0, 1]`.
///
/// Luma is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601); CIELAB is under D65.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Peak signal-to-noise ratio for a peak of 1: −10 log10 of the mean squared difference over pixels and channels.
    ///
    /// In dB, higher is better, `+∞` for equal images, 0 for black against white. Symmetric.
    Psnr,
    /// Structural similarity under a uniform 7x7 window with sample covariance, K1 = 0.01, K2 = 0.03 and range 1: the mean
    /// over all windows inside the image, per channel, then over channels. This is scikit-image's default, which
    /// ColorMamba reports.
    ///
    /// In `[-1, 1]`, higher is better, 1 for equal images. Symmetric. From 7x7 pixels.
    ///
    /// Source: Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 13 (2004), doi:10.1109/TIP.2003.819861, equation 13 (there with a
    /// Gaussian window).
    SsimUniform7,
    /// Angle between the RGB vectors of prediction and target, `acos(a·b / (|a||b| + 1e-6))`, averaged over pixels: the form
    /// of published tables. The offset makes equal dark pixels differ by 0.1° to 2°, and counts a black pixel as 90°.
    ///
    /// In degrees, `[0, 90]`, lower is better. It compares colour regardless of brightness. Symmetric.
    ///
    /// Source: IEEE VCIP 2020 grand challenge on NIR image colorization.
    AngularPublished,
    /// Mean absolute difference over pixels and channels.
    ///
    /// In `[0, 1]`, lower is better. Symmetric.
    Mae,
    /// Root of the mean squared difference over pixels and channels.
    ///
    /// In `[0, 1]`, lower is better. Symmetric.
    Rmse,
    /// Structural similarity under a Gaussian 11x11 window of σ = 1.5, K1 = 0.01, K2 = 0.03 and range 1: the mean over all
    /// windows inside the image, per channel, then over channels.
    ///
    /// In `[-1, 1]`, higher is better, 1 for equal images. Symmetric. From 11x11 pixels.
    ///
    /// Source: Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 13 (2004), doi:10.1109/TIP.2003.819861, equation 13.
    SsimGaussian,
    /// [`Self::SsimUniform7`] with the prediction's greatest value less its least as the range, as published for MCFNet. A
    /// range below 1/255 counts as 1/255.
    ///
    /// In `[-1, 1]`, higher is better, 1 for equal images. Not symmetric. From 7x7 pixels.
    SsimMcfnet,
    /// Multi-scale structural similarity: contrast and structure of five scales and luminance of the coarsest, each to its
    /// power, under the window of [`Self::SsimGaussian`]; a scale is the one before averaged over 2x2 pixels. Per channel,
    /// then the mean; a negative mean counts as 0.
    ///
    /// In `[0, 1]`, higher is better, 1 for equal images. Symmetric. From 176x176 pixels.
    ///
    /// Source: Wang, Simoncelli, Bovik, Asilomar 2003, doi:10.1109/ACSSC.2003.1292216.
    MsSsim,
    /// Angle between the RGB vectors, `atan2(|a×b|, a·b)`, averaged over pixels: accurate for small angles too. A pixel where
    /// either colour is black has no angle and counts as 0.
    ///
    /// In degrees, `[0, 90]`, lower is better. Symmetric.
    AngularExact,
    /// Colour difference [`ciede2000`](crate::ciede2000), averaged over pixels.
    ///
    /// In `[0, 120]` or so, lower is better; 1 is about what an eye can tell apart. Symmetric.
    ///
    /// Source: Sharma, Wu, Dalal, Color Research & Application 30 (2005), doi:10.1002/col.20070.
    Ciede2000Mean,
    /// Colour difference that 95 % of the pixels stay below, with linear interpolation between pixels. Else as
    /// [`Self::Ciede2000Mean`].
    Ciede2000P95,
    /// Angle between the hues in CIELAB, averaged over pixels with the target's chroma as weight. Against a grey prediction
    /// (chroma below 0.1) a pixel counts as 90°, the mean angle to a hue by chance; grey pixels of the target have no hue
    /// to miss and do not count; a wholly grey target gives 0.
    ///
    /// In degrees, `[0, 180]`, lower is better. Not symmetric.
    ///
    /// Source: hue angle of CIE 15:2018, doi:10.25039/TR.015.2018, section 8.2.1; weights and grey are defined here.
    Hue,
    /// How colourful the prediction is: spread and mean of the opponents R − G and (R + G)/2 − B.
    ///
    /// From 0 (grey) to 1.5 or so; describes, does not judge.
    ///
    /// Source: Hasler, Süsstrunk, SPIE 5007 (2003), doi:10.1117/12.477378, there for the range 255.
    Colourfulness,
    /// [`Self::Colourfulness`] of the prediction less that of the target.
    ///
    /// Negative for a paler prediction; 0 is best.
    ColourfulnessDifference,
    /// Gradient magnitude similarity deviation: spread of the similarity of gradients of the luma (Prewitt, at half size).
    ///
    /// In `[0, 0.5]`, lower is better, 0 for equal images. Symmetric. From 2x2 pixels.
    ///
    /// Source: Xue, Zhang, Mou, Bovik, IEEE TIP 23 (2014), doi:10.1109/TIP.2013.2293423, arXiv:1308.3052.
    Gmsd,
    /// Feature similarity of the luma: phase congruency and gradients, weighted by phase congruency.
    ///
    /// In `[0, 1]`, higher is better, 1 for equal images. Symmetric. From 48x48 pixels.
    ///
    /// Source: Zhang, Zhang, Mou, Zhang, IEEE TIP 20 (2011), doi:10.1109/TIP.2011.2109730; phase congruency by Kovesi,
    /// Videre 1 (1999), with its measure of energy "PC2".
    Fsim,
    /// [`Self::Fsim`] with the similarity of the chroma channels I and Q to the power 0.03.
    Fsimc,
    /// Visual information fidelity in the pixel domain: information on the target that the prediction's luma keeps.
    ///
    /// From 0, above 1 for a prediction of more contrast; higher is better, 1 for equal images. Not symmetric. From 41x41
    /// pixels.
    ///
    /// Source: Sheikh, Bovik, IEEE TIP 15 (2006), doi:10.1109/TIP.2005.859378, in the authors' variant on four scales of
    /// the image instead of wavelets.
    Vifp,
    /// Haar wavelet-based perceptual similarity of luma and chroma at half size.
    ///
    /// In `[0, 1]`, higher is better, 1 for equal images. Symmetric. From 16x16 pixels.
    ///
    /// Source: Reisenhofer, Bosse, Kutyniok, Wiegand, Signal Processing: Image Communication 61 (2018),
    /// doi:10.1016/j.image.2017.11.001, arXiv:1607.06140.
    HaarPsi,
    /// Multi-scale sliced Wasserstein distance: 7x7 patches at 128 places of each level of the Laplacian pyramids (down to a
    /// shorter side of 16 pixels), the same places in both images; each channel of an image's patches brought to mean 0
    /// and standard deviation 1; 128 random directions; the mean over directions and levels, times 1000. Places and
    /// directions are the same for every pair of one size.
    ///
    /// In thousandths, lower is better, 0 for equal images. It compares textures wherever they lie, and not a channel's mean
    /// or contrast. Symmetric. From 16x16 pixels.
    ///
    /// Source: Karras, Aila, Laine, Lehtinen, ICLR 2018, arXiv:1710.10196, section 5, there between sets of images.
    MsSwd,
    /// Mean gradient magnitude of the prediction's luma over that of the target's (Sobel, inside the image).
    ///
    /// From 0; below 1 the prediction is blurred, above it noisy or sharpened; 1 is best. Infinite if the target alone is
    /// flat. From 3x3 pixels.
    ///
    /// Source: Subbarao, Choi, Nikzad, Optical Engineering 32 (1993), doi:10.1117/12.147706, for gradients as a measure of
    /// focus.
    Sharpness,
    /// Slope of log power over log frequency of the luma (less its mean, under a Hann window; mean power in rings one cycle
    /// per shorter side wide, up to half a cycle per pixel), prediction less target.
    ///
    /// Photographs have slopes around −2. Below 0 the prediction lacks fine detail, above it has too much; 0 is best. From
    /// 16x16 pixels.
    ///
    /// Source: van der Schaaf, van Hateren, Vision Research 36 (1996), doi:10.1016/0042-6989(96)00002-8.
    SpectralSlope,
}

impl Measure {
    /// Every measure.
    pub const ALL: [Self; 22] = [
        Self::Psnr,
        Self::SsimUniform7,
        Self::AngularPublished,
        Self::Mae,
        Self::Rmse,
        Self::SsimGaussian,
        Self::SsimMcfnet,
        Self::MsSsim,
        Self::AngularExact,
        Self::Ciede2000Mean,
        Self::Ciede2000P95,
        Self::Hue,
        Self::Colourfulness,
        Self::ColourfulnessDifference,
        Self::Gmsd,
        Self::Fsim,
        Self::Fsimc,
        Self::Vifp,
        Self::HaarPsi,
        Self::MsSwd,
        Self::Sharpness,
        Self::SpectralSlope,
    ];

    /// The measures of the challenge, in the order of a table's columns.
    pub const TABLE: [Self; 3] = [Self::Psnr, Self::SsimUniform7, Self::AngularPublished];

    fn recipe(self) -> &'static Recipe {
        match self {
            Self::Psnr => &difference::PSNR,
            Self::SsimUniform7 => &ssim::UNIFORM,
            Self::AngularPublished => &angular::PUBLISHED,
            Self::Mae => &difference::MAE,
            Self::Rmse => &difference::RMSE,
            Self::SsimGaussian => &ssim::GAUSSIAN,
            Self::SsimMcfnet => &ssim::MCFNET,
            Self::MsSsim => &ssim::MULTI_SCALE,
            Self::AngularExact => &angular::EXACT,
            Self::Ciede2000Mean => &ciede2000::MEAN,
            Self::Ciede2000P95 => &ciede2000::P95,
            Self::Hue => &hue::HUE,
            Self::Colourfulness => &colourfulness::OF_PREDICTION,
            Self::ColourfulnessDifference => &colourfulness::DIFFERENCE,
            Self::Gmsd => &gmsd::GMSD,
            Self::Fsim => &fsim::FSIM,
            Self::Fsimc => &fsim::FSIMC,
            Self::Vifp => &vif::VIFP,
            Self::HaarPsi => &haarpsi::HAARPSI,
            Self::MsSwd => &swd::MS_SWD,
            Self::Sharpness => &sharpness::GRADIENT_RATIO,
            Self::SpectralSlope => &spectrum::SLOPE_DIFFERENCE,
        }
    }

    /// What is known of it without computing it.
    pub fn definition(self) -> Definition {
        self.recipe().definition
    }

    /// Name and protocol, unambiguous, e.g. `ssim[uniform7,sample-covariance,rgb,L=1]`.
    pub fn spec(self) -> String {
        self.definition().spec.to_string()
    }

    /// Short name for a table's header.
    pub fn label(self) -> &'static str {
        self.definition().label
    }

    /// The unit, empty for a ratio.
    pub fn unit(self) -> &'static str {
        self.definition().unit
    }

    /// Whether the highest value is the best.
    pub fn higher_is_better(self) -> bool {
        self.definition().best == Best::Highest
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
        let Recipe { definition: Definition { spec, smallest_side, .. }, value } = *self.recipe();
        let (height, width) = (pair.height(), pair.width());
        if height.min(width) < smallest_side {
            return Err(MetricError::TooSmall { measure: spec, side: smallest_side, height, width });
        }
        // Maxima and clamps on the way would hide it.
        Ok(if pair.has_nan() { f64::NAN } else { value(pair) })
    }
}

impl FromStr for Measure {
    type Err = MetricError;

    /// The measure of this spec string.
    fn from_str(spec: &str) -> Result<Self, MetricError> {
        // Below this similarity a suggestion is a guess.
        const ALIKE: f64 = 0.7;
        let found = Self::ALL.into_iter().find(|measure| measure.definition().spec == spec);
        found.ok_or_else(|| {
            let known = Self::ALL.iter().map(|measure| measure.definition().spec);
            let scored = known.map(|known| (strsim::jaro_winkler(spec, known), known));
            let nearest = scored.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0));
            MetricError::Unknown { name: spec.to_string(), nearest: nearest.map(|(_, known)| known) }
        })
    }
}
