//! The term `ms_ssim_published`: the multi-scale similarity that ColorMamba's published code optimises.

use crate::definition::{Definition, Family};
use crate::mean::CHUNK;
use crate::structure::pyramid::{self, Formula, Pooling};
use crate::structure::{Part, SCALES, SMALLEST_PYRAMID, WINDOW, part_of_scale};
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};
use colormamba_cpu::{Real, vectorize};
use rayon::prelude::*;

const ABOUT: About = About {
    name: "ms_ssim_published",
    formula: "1 − ∏_{j<5} ((⟨c·s⟩_j + 1)/2)^w_j · (((⟨l·c·s⟩_5 + 1)/2)^w_5)⁴; scales, windows and weights w as in ms_ssim, C1 = \
              (0.01 L)², C2 = (0.03 L)²; L is guessed from p at every scale: 255 above a value of 128, else 1, and 1 more if a \
              value is below −0.5. The means run over the batch before the product, so that the value of a batch is not the \
              mean of its images'",
    range: "0 to 1",
    source: "the published code of ColorMamba, arXiv 2408.08087. It is not the multi-scale SSIM of Wang, Simoncelli and Bovik \
             (ms_ssim): that has no (x + 1)/2, takes the last scale once, and L is given",
    options: "",
};

pub(crate) struct MsSsimPublished;

impl Definition for MsSsimPublished {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn family(&self) -> Family {
        Family::Structure
    }

    fn channels(&self) -> Channels {
        Channels::Any
    }

    fn smallest_side(&self) -> usize {
        SMALLEST_PYRAMID
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn against(&self, target: &View) -> Result<Comparison, LossError> {
        let against = pyramid::against(target.image().value(), WINDOW, SCALES.len(), Published)?;
        Ok(Box::new(move |pred| Ok(against(pred.image())?)))
    }
}

#[derive(Clone, Copy)]
struct Published;

/// The exponent of scale `scale`: the published product multiplies each of the other factors by the last one.
fn exponent(scale: usize) -> f64 {
    let last = SCALES.len() - 1;
    if scale == last { last as f64 * SCALES[last] } else { SCALES[scale] }
}

impl Pooling for Published {
    fn part(&self, scale: usize) -> Part {
        part_of_scale(scale)
    }

    fn range<T: Real>(&self, pred: &[T]) -> f64 {
        guessed_range(pred)
    }

    fn formula(&self) -> Formula {
        Formula::ProductOfMeans(std::array::from_fn(exponent))
    }

    fn combine(&self, means: &[Vec<f64>]) -> (f64, Vec<Vec<f64>>) {
        // A factor is (1 − lack + 1)/2; it is above 0, since no similarity is −1.
        let lacks: Vec<f64> = means.iter().map(|means| means.iter().sum::<f64>() / means.len() as f64).collect();
        let log: f64 = lacks.iter().enumerate().map(|(scale, lack)| exponent(scale) * (-lack / 2.0).ln_1p()).sum();
        let slope = |scale: usize| log.exp() * exponent(scale) / (2.0 - lacks[scale]);
        let share = |(scale, means): (usize, &Vec<f64>)| vec![slope(scale) / means.len() as f64; means.len()];
        (-log.exp_m1(), means.iter().enumerate().map(share).collect())
    }
}

/// The range that the published code takes the values to have: 255 or 1, and 1 more where they reach below zero.
fn guessed_range<T: Real>(image: &[T]) -> f64 {
    let reaches = |part: &[T]| {
        vectorize(
            #[inline(always)]
            || {
                let (mut high, mut low) = (false, false);
                for &x in part {
                    high |= x > T::of(128.0);
                    low |= x < T::of(-0.5);
                }
                (high, low)
            },
        )
    };
    let parts = image.par_chunks(CHUNK).map(reaches);
    let (high, low) = parts.reduce(|| (false, false), |a, b| (a.0 | b.0, a.1 | b.1));
    let top = if high { 255.0 } else { 1.0 };
    if low { top + 1.0 } else { top }
}
