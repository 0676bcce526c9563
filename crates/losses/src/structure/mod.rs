//! Terms that compare local structure.

mod cuda;
mod pad;
pub(crate) mod published;
mod pyramid;
mod scale;
mod similarity;
mod window;

use crate::pixel::above_zero;
use crate::view::{Comparison, View};
use crate::{About, LossError};
use pad::padded;
use pyramid::{Combination, Formula};
use serde::{Deserialize, Serialize};

/// Window and standard deviation that all multi-scale terms have.
const WINDOW: (usize, f64) = (11, 1.5);
/// Exponents of the scales, the finest first.
const SCALES: [f64; 5] = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333];
/// The coarsest of these scales must hold one window.
pub(crate) const SMALLEST_PYRAMID: usize = WINDOW.0 << (SCALES.len() - 1);

const WANG_2004: &str = "Wang, Bovik, Sheikh, Simoncelli, Image quality assessment: from error visibility to structural similarity, \
                         IEEE TIP 13(4), 2004, doi:10.1109/TIP.2003.819861";

pub(crate) const SSIM: About = About {
    name: "ssim",
    formula: "1 − ⟨l·c·s⟩ over windows and channels, with means μ, deviations σ and covariance under a Gaussian: l = (2 μ_p μ_t + \
              C1)/(μ_p² + μ_t² + C1), c = (2 σ_p σ_t + C2)/(σ_p² + σ_t² + C2), s = (cov + C3)/(σ_p σ_t + C3); C1 = 0.01², C2 = \
              0.03², C3 = C2/2. In c and s alone, σ² and cov have 1e-8 added: σ has no gradient at 0",
    range: "0 to 2; the parts luminance and contrast: 0 to 1",
    source: WANG_2004,
    options: "window = 11: width of the Gaussian in pixels, odd, 3 to 255; sigma = 1.5: its standard deviation in pixels; padding \
              = valid: what lies beyond the border: valid (windows stay inside), zero, reflect (mirrored about the outermost \
              pixels); part = all: the factors that count: all, luminance (l), contrast (c), structure (s), contrast_structure \
              (c·s)",
};

pub(crate) const D_SSIM: About = About {
    name: "d_ssim",
    formula: "(1 − ⟨l·c·s⟩)/2: half of ssim",
    range: "0 to 1",
    source: WANG_2004,
    options: "window = 11, sigma = 1.5, padding = valid: as of ssim",
};

pub(crate) const MS_SSIM: About = About {
    name: "ms_ssim",
    formula: "1 − the mean over images and channels of ⟨c·s⟩_1^0.0448 · ⟨c·s⟩_2^0.2856 · ⟨c·s⟩_3^0.3001 · ⟨c·s⟩_4^0.2363 · \
              ⟨l·c·s⟩_5^0.1333; l, c, s as in ssim, window 11, sigma 1.5, valid; each scale is the mean of 2x2 blocks of the one \
              before it, an odd last row or column left out. A mean that is not above 0 counts as 0: this channel of this image \
              then adds 1, and has gradient 0",
    range: "0 to 1",
    source: "Wang, Simoncelli, Bovik, Multiscale structural similarity for image quality assessment, Asilomar 2003, \
             doi:10.1109/ACSSC.2003.1292216",
    options: "",
};

/// Widest window; with borders of zeros nothing else would bound the memory it takes.
const WIDEST: usize = 255;

/// How images are blurred before they are compared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WindowOptions {
    /// Width in pixels, odd, 3 to 255.
    pub window: usize,
    /// Standard deviation of the Gaussian in pixels, above 0.
    pub sigma: f64,
    /// What lies beyond the border.
    pub padding: Padding,
}

impl Default for WindowOptions {
    fn default() -> Self {
        Self { window: WINDOW.0, sigma: WINDOW.1, padding: Padding::Valid }
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
    /// The image mirrored at its outermost pixels, which are not repeated.
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
    /// Width in pixels, odd, 3 to 255.
    pub window: usize,
    /// Standard deviation of the Gaussian in pixels, above 0.
    pub sigma: f64,
    /// What lies beyond the border.
    pub padding: Padding,
    /// Which factors count.
    pub part: Part,
}

impl Default for SsimOptions {
    fn default() -> Self {
        let WindowOptions { window, sigma, padding } = WindowOptions::default();
        Self { window, sigma, padding, part: Part::All }
    }
}

impl WindowOptions {
    pub(crate) fn check(self) -> Result<(), String> {
        if !(3..=WIDEST).contains(&self.window) || self.window.is_multiple_of(2) {
            return Err(format!("window is {}, it must be odd and from 3 to {WIDEST}", self.window));
        }
        above_zero("sigma", self.sigma)
    }

    pub(crate) fn smallest_side(self) -> usize {
        match self.padding {
            Padding::Valid => self.window,
            Padding::Zero => 1,
            Padding::Reflect => self.window / 2 + 1,
        }
    }
}

impl SsimOptions {
    fn windows(self) -> WindowOptions {
        WindowOptions { window: self.window, sigma: self.sigma, padding: self.padding }
    }

    pub(crate) fn check(self) -> Result<(), String> {
        self.windows().check()
    }

    pub(crate) fn smallest_side(self) -> usize {
        self.windows().smallest_side()
    }
}

pub(crate) fn ssim(options: SsimOptions, target: &View) -> Result<Comparison, LossError> {
    single_scale(options.windows(), MeanOf { part: options.part, weight: 1.0 }, target)
}

pub(crate) fn d_ssim(options: WindowOptions, target: &View) -> Result<Comparison, LossError> {
    single_scale(options, MeanOf { part: Part::All, weight: 0.5 }, target)
}

fn single_scale(options: WindowOptions, mean: MeanOf, target: &View) -> Result<Comparison, LossError> {
    let (border, padding) = (options.window / 2, options.padding);
    let target = padded(target.image(), border, padding)?;
    let against = pyramid::against(target.value(), (options.window, options.sigma), 1, mean)?;
    Ok(Box::new(move |pred| Ok(against(&padded(pred.image(), border, padding)?)?)))
}

pub(crate) fn ms_ssim(target: &View) -> Result<Comparison, LossError> {
    let against = pyramid::against(target.image().value(), WINDOW, SCALES.len(), MultiScale)?;
    Ok(Box::new(move |pred| Ok(against(pred.image())?)))
}

/// `weight` times the mean.
#[derive(Clone, Copy)]
struct MeanOf {
    part: Part,
    weight: f64,
}

impl Combination for MeanOf {
    fn part(&self, _: usize) -> Part {
        self.part
    }

    fn formula(&self) -> Formula {
        Formula::Mean(self.weight)
    }

    fn combine(&self, means: &[Vec<f64>]) -> (f64, Vec<Vec<f64>>) {
        let share = |means: &Vec<f64>| self.weight / means.len() as f64;
        let value = means.iter().map(|means| share(means) * means.iter().sum::<f64>()).sum();
        (value, means.iter().map(|means| vec![share(means); means.len()]).collect())
    }
}

/// What multi-scale terms compare: the luminance at the coarsest scale alone.
fn part_of_scale(scale: usize) -> Part {
    if scale + 1 == SCALES.len() { Part::All } else { Part::ContrastStructure }
}

/// Multi-scale SSIM.
#[derive(Clone, Copy)]
struct MultiScale;

impl Combination for MultiScale {
    fn part(&self, scale: usize) -> Part {
        part_of_scale(scale)
    }

    fn formula(&self) -> Formula {
        Formula::ProductOfPlane(SCALES)
    }

    fn combine(&self, lacks: &[Vec<f64>]) -> (f64, Vec<Vec<f64>>) {
        let planes = lacks[0].len();
        let mut slopes = vec![vec![0.0; planes]; lacks.len()];
        let mut sum = 0.0;
        for plane in 0..planes {
            // By logarithms, which keep the digits of a product near 1.
            let log_of = |lack: f64| if lack > 1.0 { f64::NEG_INFINITY } else { (-lack).ln_1p() };
            let log: f64 = SCALES.iter().zip(lacks).map(|(weight, lacks)| weight * log_of(lacks[plane])).sum();
            sum -= log.exp_m1();
            // A product that is 0 has gradient 0.
            if log.exp() > 0.0 {
                for ((slopes, weight), lacks) in slopes.iter_mut().zip(SCALES).zip(lacks) {
                    slopes[plane] = log.exp() * weight / ((1.0 - lacks[plane]) * planes as f64);
                }
            }
        }
        (sum / planes as f64, slopes)
    }
}
