//! The term `total_variation`.

use crate::definition::{Definition, Family};
use crate::edges::{Filters, mean_response};
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};

const ABOUT: About = About {
    name: "total_variation",
    formula: "⟨|p[i, j + 1] − p[i, j]|⟩ + ⟨|p[i + 1, j] − p[i, j]|⟩, each over the pairs inside the image. It does not look at the \
              target: it is 0 for constant predictions, and in general not 0 at p = t",
    range: "0 to 2",
    source: "Rudin, Osher, Fatemi, Physica D 60, 1992, doi:10.1016/0167-2789(92)90242-F, in its absolute (anisotropic) form",
    options: "",
};

pub(crate) struct TotalVariation;

impl Definition for TotalVariation {
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
        2
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn against(&self, _: &View) -> Result<Comparison, LossError> {
        Ok(Box::new(|pred| Ok(mean_response::<Steps, 2>(pred.image(), None)?)))
    }
}

/// Differences to the next column and the next row.
struct Steps;

impl Filters<2> for Steps {
    const KERNELS: [[i8; 9]; 2] = [[0, 0, 0, 0, -1, 1, 0, 0, 0], [0, 0, 0, 0, -1, 0, 0, 1, 0]];
    const INSIDE: bool = true;
}
