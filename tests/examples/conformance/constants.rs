//! Values known without an implementation.

use crate::section::{Chapter, Outcome, Row, Section};
use colormamba_metrics::{Image, Measure};

const INTRODUCTION: &str = "\
A constant image of .25 against one of .75, 16x16 pixels: the mean squared difference is ¼, and of SSIM only the factor of
luminance is left, (2 · .25 · .75 + 1e-4) / (.25² + .75² + 1e-4).";

pub fn chapter() -> Outcome<Chapter> {
    const SIDE: usize = 16;
    let constant = |value: f64| Image::new(&[value; 3 * SIDE * SIDE], SIDE, SIDE);
    let (pred, target) = (constant(0.25)?, constant(0.75)?);
    let section = |(measure, theirs): (Measure, f64)| {
        let row = Row { name: ".25 against .75".into(), ours: measure.compute(&pred, &target)?, theirs };
        let subject = format!("`{}`", measure.spec());
        Ok(Section { subject, against: "arithmetic, six decimals".into(), tolerance: 5e-7, rows: vec![row] })
    };
    let known = [(Measure::SSIM_UNIFORM7, 0.600064), (Measure::SSIM_GAUSSIAN, 0.600064), (Measure::PSNR, 6.020600)];
    let sections = known.into_iter().map(section).collect::<Outcome<_>>()?;
    Ok(Chapter { heading: "Constants", introduction: INTRODUCTION, sections })
}
