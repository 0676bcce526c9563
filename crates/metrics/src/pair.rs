//! A prediction beside its target, with what several measures need of both.

use crate::plane::Plane;
use crate::ssim::Similarity;
use crate::{Image, MetricError, ciede2000, colour, fsim, ssim};
use std::cell::OnceCell;

/// The channels of one image in one colour space.
pub(crate) type Planes = [Plane; 3];

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
    ciede2000: OnceCell<Vec<f64>>,
    gaussian_ssim: OnceCell<[Similarity; 3]>,
    features: OnceCell<fsim::Scores>,
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
        self.lab.get_or_init(|| self.images().map(|image| colour::lab(image.pixels())))
    }

    /// The colour difference of each pixel.
    pub(crate) fn ciede2000(&self) -> &[f64] {
        self.ciede2000.get_or_init(|| ciede2000::map(self.lab()))
    }

    /// Structural similarity under the Gaussian window at full size, by channel.
    pub(crate) fn gaussian_ssim(&self) -> &[Similarity; 3] {
        self.gaussian_ssim.get_or_init(|| ssim::under_gaussian(&self.pred.planes(), &self.target.planes()))
    }

    /// FSIM and FSIMc.
    pub(crate) fn features(&self) -> fsim::Scores {
        *self.features.get_or_init(|| fsim::scores(self.yiq()))
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
