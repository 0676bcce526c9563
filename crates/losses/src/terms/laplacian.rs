//! The term `laplacian`.

use crate::definition::{Definition, Family};
use crate::edges::{Filters, mean_response};
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};

const ABOUT: About = About {
    name: "laplacian",
    formula: "⟨|L∗(p − t)|⟩, L = (0 1 0; 1 −4 1; 0 1 0), zeros beyond the border",
    range: "0 to 8",
    source: "the five-point difference form of the Laplace operator; Gonzalez, Woods, Digital Image Processing, section 3.6",
    options: "",
};

pub(crate) struct Laplacian;

impl Definition for Laplacian {
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
        Ok(Box::new(move |pred| Ok(mean_response::<Self, 1>(pred.image(), Some(&target))?)))
    }
}

impl Filters<1> for Laplacian {
    const KERNELS: [[i8; 9]; 1] = [[0, 1, 0, 1, -4, 1, 0, 1, 0]];
    const INSIDE: bool = false;
}
