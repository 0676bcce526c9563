//! The term `mse`.

use crate::definition::{Definition, Family};
use crate::mean::{Squared, mean_against};
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};

const ABOUT: About = About {
    name: "mse",
    formula: "⟨(p − t)²⟩",
    range: "0 to 1",
    source: "the squared L2 norm, divided by the number of values",
    options: "",
};

pub(crate) struct Mse;

impl Definition for Mse {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn family(&self) -> Family {
        Family::Pixel
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
        mean_against(target, Squared)
    }
}
