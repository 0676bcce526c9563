//! What is known of a measure without computing it.

use crate::Pair;

/// Name, protocol, unit, best value and least size of a measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Definition {
    /// Name and protocol, unambiguous, e.g. `ssim[uniform7,sample-covariance,rgb,L=1]`.
    pub spec: &'static str,
    /// Short name for a table's header.
    pub label: &'static str,
    /// The unit, empty for a ratio.
    pub unit: &'static str,
    /// Which value is the best.
    pub best: Best,
    /// The least height and width of the images, in pixels.
    pub smallest_side: usize,
}

/// Which value of a measure is the best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Best {
    /// The highest.
    Highest,
    /// The lowest.
    Lowest,
    /// This one; a value below is as bad as one above.
    At(f64),
    /// None: the measure describes the prediction alone.
    Undefined,
}

/// A measure as its module states it.
pub(crate) struct Recipe {
    pub definition: Definition,
    pub value: fn(&Pair) -> f64,
}
