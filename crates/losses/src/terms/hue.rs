//! The term `hue`.

use crate::colour::dual::Differentiable;
use crate::colour::pixelwise::{DistanceKind, PixelDistance, Rows, mean_over_pixels};
use crate::colour::vectors::gap;
use crate::definition::{Definition, Family};
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};
use candle_core::DType;

const ABOUT: About = About {
    name: "hue",
    formula: "mean over pixels of (|p'||t'| − p'·t')/2, where p' = (R − (G + B)/2, √3/2 (G − B)) of p, and t' of t: half the \
              product of the chromas times 1 − the cosine of the difference in hue; greys count nothing, complementary \
              primaries 1",
    range: "0 to 1",
    source: "the hue angle and chroma of the RGB cube seen along its grey diagonal, from which Smith's hexagon of HSV \
             (SIGGRAPH 1978, doi:10.1145/800248.807361) differs by 1.2 degrees at most; the weight by both chromas is this \
             collection's",
    options: "",
};

/// The colour without its brightness: the cube of colours seen along the diagonal of the greys. The length is the chroma, 1
/// at the six pure colours, the angle the hue.
#[inline(always)]
fn chromatic<N: Differentiable>([r, g, b]: [N; 3]) -> [N; 3] {
    [r - (g + b) * 0.5, (g - b) * (0.75f64).sqrt(), N::constant(0.0)]
}

#[derive(Clone, Copy)]
pub(crate) struct Hue;

impl Definition for Hue {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn family(&self) -> Family {
        Family::Colour
    }

    fn channels(&self) -> Channels {
        Channels::Three
    }

    fn smallest_side(&self) -> usize {
        1
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn against(&self, target: &View) -> Result<Comparison, LossError> {
        let target = target.image().value().to_dtype(DType::F64)?.contiguous()?;
        Ok(Box::new(move |pred| Ok(mean_over_pixels(pred.image(), &target, Hue)?)))
    }
}

impl PixelDistance for Hue {
    #[inline(always)]
    fn of<N: Differentiable>(self, p: [N; 3], t: [f64; 3]) -> N {
        gap(chromatic(p), chromatic(t)) * 0.5
    }

    fn kernel(self) -> (DistanceKind, Option<Rows>) {
        (DistanceKind::Hue, None)
    }
}
