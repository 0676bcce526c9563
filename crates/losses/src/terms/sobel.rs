//! The term `sobel`.

use crate::definition::{Definition, Family};
use crate::edges::{Filters, mean_response};
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};

const ABOUT: About = About {
    name: "sobel",
    formula: "⟨|X∗(p − t)|⟩ + ⟨|Xᵀ∗(p − t)|⟩, X = (−1 0 1; −2 0 2; −1 0 1), zeros beyond the border",
    range: "0 to 8",
    source: "the operator of Sobel and Feldman (1968), in Duda, Hart, Pattern Classification and Scene Analysis, 1973; the mean \
             over both directions is its absolute form",
    options: "",
};

pub(crate) struct Sobel;

impl Definition for Sobel {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn family(&self) -> Family {
        Family::Edge
    }

    fn channels(&self) -> Channels {
        Channels::Any
    }

    fn smallest_side(&self) -> usize {
        1
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn against(&self, target: &View) -> Result<Comparison, LossError> {
        let target = target.image().value().contiguous()?;
        Ok(Box::new(move |pred| Ok(mean_response::<Self, 2>(pred.image(), Some(&target))?)))
    }
}

impl Filters<2> for Sobel {
    const KERNELS: [[i8; 9]; 2] = [[-1, 0, 1, -2, 0, 2, -1, 0, 1], [-1, -2, -1, 0, 0, 0, 1, 2, 1]];
    const INSIDE: bool = false;
}
