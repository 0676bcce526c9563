//! The term `ms_ssim`.

use crate::definition::{Definition, Family};
use crate::structure::pyramid::{self, Formula, Pooling};
use crate::structure::{Part, SCALES, SMALLEST_PYRAMID, WINDOW, part_of_scale};
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};

const ABOUT: About = About {
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

pub(crate) struct MsSsim;

impl Definition for MsSsim {
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
        let against = pyramid::against(target.image().value(), WINDOW, SCALES.len(), MultiScale)?;
        Ok(Box::new(move |pred| Ok(against(pred.image())?)))
    }
}

/// Multi-scale SSIM.
#[derive(Clone, Copy)]
struct MultiScale;

impl Pooling for MultiScale {
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
