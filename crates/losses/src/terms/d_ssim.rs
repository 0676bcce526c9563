//! The term `d_ssim`.

use crate::definition::{Definition, Family};
use crate::options::above_zero;
pub use crate::structure::WindowOptions;
use crate::structure::{MeanOf, Padding, Part, WANG_2004, single_scale};
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};

const ABOUT: About = About {
    name: "d_ssim",
    formula: "(1 − ⟨l·c·s⟩)/2: half of ssim",
    range: "0 to 1",
    source: WANG_2004,
    options: "window = 11, sigma = 1.5, padding = valid: as of ssim",
};

/// Widest window; with borders of zeros nothing else would bound the memory it takes.
const WIDEST: usize = 255;

impl Definition for WindowOptions {
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
        match self.padding {
            Padding::Valid => self.window,
            Padding::Zero => 1,
            Padding::Reflect => self.window / 2 + 1,
        }
    }

    fn check(&self) -> Result<(), String> {
        if !(3..=WIDEST).contains(&self.window) || self.window.is_multiple_of(2) {
            return Err(format!("window is {}, it must be odd and from 3 to {WIDEST}", self.window));
        }
        above_zero("sigma", self.sigma)
    }

    fn against(&self, target: &View) -> Result<Comparison, LossError> {
        single_scale(*self, MeanOf { part: Part::All, weight: 0.5 }, target)
    }
}
