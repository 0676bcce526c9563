//! The term `cosine`.

use crate::colour::dual::Differentiable;
use crate::colour::pixelwise::{DistanceKind, PixelDistance, Rows, mean_over_pixels};
use crate::colour::vectors::{gap, length};
use crate::definition::{Definition, Family};
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};
use candle_core::DType;

const ABOUT: About = About {
    name: "cosine",
    formula: "mean over pixels of (|p||t| − p·t)/(|p||t| + 1e-8), p and t the pixels' colours as vectors: 1 − the cosine of the \
              angle between them; 0 where either is black",
    range: "0 to 1; to 2 with negative values",
    source: "the angle of colour vectors as in the spectral angle mapper, Kruse et al., Remote Sensing of Environment 44 \
             (1993), doi:10.1016/0034-4257(93)90013-N",
    options: "",
};

/// Keeps the quotient finite for dark pixels.
const EPS: f64 = 1e-8;

#[derive(Clone, Copy)]
pub(crate) struct Cosine;

impl Definition for Cosine {
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
        Ok(Box::new(move |pred| Ok(mean_over_pixels(pred.image(), &target, Cosine)?)))
    }
}

impl PixelDistance for Cosine {
    #[inline(always)]
    fn of<N: Differentiable>(self, p: [N; 3], t: [f64; 3]) -> N {
        let lengths = length(p) * length(t);
        // Of black there is no angle, and no direction in which it would become better.
        if lengths.value() == 0.0 { N::constant(0.0) } else { gap(p, t) / (lengths + EPS) }
    }

    fn kernel(self) -> (DistanceKind, Option<Rows>) {
        (DistanceKind::Cosine, None)
    }
}
