//! The term `smooth_l1`.

use crate::definition::{Definition, Family};
use crate::mean::{Distance, Kind, mean_against, sign};
use crate::options::above_zero;
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};
use serde::{Deserialize, Serialize};

const ABOUT: About = About {
    name: "smooth_l1",
    formula: "⟨(p − t)²/(2β) where |p − t| < β, |p − t| − β/2 elsewhere⟩",
    range: "0 to 1 − β/2 for β ≤ 1",
    source: "Girshick, Fast R-CNN, ICCV 2015, arXiv 1504.08083; Huber (1964) divided by β",
    options: "beta = 1.0: where the parabola becomes a line",
};

/// Options of `smooth_l1`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmoothL1 {
    /// Where the parabola becomes a line; above 0.
    pub beta: f64,
}

impl Default for SmoothL1 {
    fn default() -> Self {
        Self { beta: 1.0 }
    }
}

impl Definition for SmoothL1 {
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
        above_zero("beta", self.beta)
    }

    fn against(&self, target: &View) -> Result<Comparison, LossError> {
        mean_against(target, *self)
    }
}

impl Distance for SmoothL1 {
    #[inline(always)]
    fn value(self, p: f64, t: f64) -> f64 {
        let d = (p - t).abs();
        if d < self.beta { d * d / (2.0 * self.beta) } else { d - self.beta / 2.0 }
    }
    #[inline(always)]
    fn slope(self, p: f64, t: f64) -> f64 {
        let d = p - t;
        if d.abs() < self.beta { d / self.beta } else { sign(d) }
    }
    fn kernel(self) -> (Kind, f64) {
        (Kind::SmoothL1, self.beta)
    }
}
