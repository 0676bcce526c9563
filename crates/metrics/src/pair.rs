//! A prediction beside its target, with what several measures need of both.

use crate::plane::{Plane, Planes};
use crate::{Image, MetricError, colour};
use std::cell::OnceCell;

/// Structural similarity of one channel, each the mean over all windows.
#[derive(Clone, Copy)]
pub(crate) struct Similarity {
    /// Of the whole index.
    pub whole: f64,
    /// Of contrast and structure alone.
    pub contrast: f64,
}

/// Feature similarity.
#[derive(Clone, Copy)]
pub(crate) struct FeatureSimilarity {
    /// FSIM.
    pub luma: f64,
    /// FSIMc.
    pub colour: f64,
}

/// A prediction and its target, of one size. Measures of one pair share what they have in common (colour spaces, maps),
/// computed when first needed.
///
/// ```
/// use colormamba_metrics::{Image, Measure, Pair};
/// let pred = Image::new(&[0.25f32; 3 * 16 * 16], 16, 16)?;
/// let target = Image::new(&[0.75f32; 3 * 16 * 16], 16, 16)?;
/// let pair = Pair::new(&pred, &target)?;
/// assert!((Measure::MAE.of(&pair)? - 0.5).abs() < 1e-12);
/// # Ok::<(), colormamba_metrics::MetricError>(())
/// ```
pub struct Pair<'a> {
    pub(crate) pred: &'a Image,
    pub(crate) target: &'a Image,
    has_nan: bool,
    yiq: OnceCell<[Planes; 2]>,
    lab: OnceCell<[Vec<[f64; 3]>; 2]>,
    /// The colour difference of each pixel; this and what follows is filled in by the measures that share it.
    pub(crate) ciede2000: OnceCell<Vec<f64>>,
    /// Structural similarity under the Gaussian window at full size, by channel.
    pub(crate) gaussian_ssim: OnceCell<[Similarity; 3]>,
    /// FSIM and FSIMc.
    pub(crate) features: OnceCell<FeatureSimilarity>,
}

impl<'a> Pair<'a> {
    /// A pair of images.
    ///
    /// # Errors
    /// [`MetricError::Mismatch`] if the sizes differ.
    pub fn new(pred: &'a Image, target: &'a Image) -> Result<Self, MetricError> {
        pred.same_size(target)?;
        Ok(Self {
            pred,
            target,
            has_nan: [pred, target].iter().any(|image| image.values().iter().any(|v| v.is_nan())),
            yiq: OnceCell::new(),
            lab: OnceCell::new(),
            ciede2000: OnceCell::new(),
            gaussian_ssim: OnceCell::new(),
            features: OnceCell::new(),
        })
    }

    /// Prediction and target.
    pub fn images(&self) -> [&'a Image; 2] {
        [self.pred, self.target]
    }

    pub(crate) fn height(&self) -> usize {
        self.pred.height()
    }

    pub(crate) fn width(&self) -> usize {
        self.pred.width()
    }

    pub(crate) fn has_nan(&self) -> bool {
        self.has_nan
    }

    /// The colours of all pixels, prediction and target.
    pub(crate) fn pixels(&self) -> impl Iterator<Item = ([f64; 3], [f64; 3])> {
        self.pred.pixels().zip(self.target.pixels())
    }

    /// Both in YIQ, of range 1.
    pub(crate) fn yiq(&self) -> &[Planes; 2] {
        self.yiq.get_or_init(|| self.images().map(yiq_planes))
    }

    /// The lumas of both, of range 1.
    pub(crate) fn lumas(&self) -> [&Plane; 2] {
        let [[pred, ..], [target, ..]] = self.yiq();
        [pred, target]
    }

    /// Both in CIELAB.
    pub(crate) fn lab(&self) -> &[Vec<[f64; 3]>; 2] {
        self.lab.get_or_init(|| self.images().map(|image| colour::labs(image.pixels())))
    }
}

fn yiq_planes(image: &Image) -> Planes {
    let [r, g, b] = image.channels();
    let channel = |i: usize| {
        let values = (0..r.len()).map(|at| colour::yiq([r[at], g[at], b[at]])[i]).collect();
        Plane::new(values, image.height(), image.width())
    };
    [channel(0), channel(1), channel(2)]
}
