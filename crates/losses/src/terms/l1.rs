//! The term `l1`.

use crate::definition::{Definition, Family};
use crate::mean::{Absolute, mean_against};
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};

const ABOUT: About = About {
    name: "l1",
    formula: "⟨|p − t|⟩",
    range: "0 to 1",
    source: "the L1 norm, divided by the number of values",
    options: "",
};

pub(crate) struct L1;

impl Definition for L1 {
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
        mean_against(target, Absolute)
    }
}
