//! What the terms share that compare local structure.

mod cuda;
mod pad;
pub(crate) mod pyramid;
mod scale;
mod similarity;
mod window;

pub use pad::Padding;
pub use similarity::Part;

use crate::LossError;
use crate::view::{Comparison, View};
use pad::padded;
use pyramid::{Formula, Pooling};
use serde::{Deserialize, Serialize};

/// Window and standard deviation that all multi-scale terms have.
pub(crate) const WINDOW: (usize, f64) = (11, 1.5);
/// Exponents of the scales, the finest first.
pub(crate) const SCALES: [f64; 5] = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333];
/// The coarsest of these scales must hold one window.
pub(crate) const SMALLEST_PYRAMID: usize = WINDOW.0 << (SCALES.len() - 1);

/// Where SSIM comes from.
pub(crate) const WANG_2004: &str = "Wang, Bovik, Sheikh, Simoncelli, Image quality assessment: from error visibility to \
                                    structural similarity, IEEE TIP 13(4), 2004, doi:10.1109/TIP.2003.819861";

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

/// The term that `mean` makes of one scale.
pub(crate) fn single_scale(options: WindowOptions, mean: MeanOf, target: &View) -> Result<Comparison, LossError> {
    let (border, padding) = (options.window / 2, options.padding);
    let target = padded(target.image(), border, padding)?;
    let against = pyramid::against(target.value(), (options.window, options.sigma), 1, mean)?;
    Ok(Box::new(move |pred| Ok(against(&padded(pred.image(), border, padding)?)?)))
}

/// `weight` times the mean.
#[derive(Clone, Copy)]
pub(crate) struct MeanOf {
    pub(crate) part: Part,
    pub(crate) weight: f64,
}

impl Pooling for MeanOf {
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
pub(crate) fn part_of_scale(scale: usize) -> Part {
    if scale + 1 == SCALES.len() { Part::All } else { Part::ContrastStructure }
}
