//! The term `charbonnier`.

use crate::definition::{Definition, Family};
use crate::mean::{Distance, Kind, mean_against};
use crate::options::above_zero;
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};
use serde::{Deserialize, Serialize};

const ABOUT: About = About {
    name: "charbonnier",
    formula: "⟨√((p − t)² + ε²) − ε⟩",
    range: "0 to 1",
    source: "Charbonnier et al., ICIP 1994, doi:10.1109/ICIP.1994.413553; less its value at p = t, which changes no gradient",
    options: "eps = 1e-3: ε",
};

/// Options of `charbonnier`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Charbonnier {
    /// Distances far below it count by their square; above 0.
    pub eps: f64,
}

impl Default for Charbonnier {
    fn default() -> Self {
        Self { eps: 1e-3 }
    }
}

impl Definition for Charbonnier {
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
        above_zero("eps", self.eps)
    }

    fn against(&self, target: &View) -> Result<Comparison, LossError> {
        mean_against(target, *self)
    }
}

impl Distance for Charbonnier {
    #[inline(always)]
    fn value(self, p: f64, t: f64) -> f64 {
        let d = p - t;
        // √(d² + ε²) − ε without the loss of digits.
        d * d / ((d * d + self.eps * self.eps).sqrt() + self.eps)
    }
    #[inline(always)]
    fn slope(self, p: f64, t: f64) -> f64 {
        let d = p - t;
        d / (d * d + self.eps * self.eps).sqrt()
    }
    fn kernel(self) -> (Kind, f64) {
        (Kind::Charbonnier, self.eps)
    }
}
