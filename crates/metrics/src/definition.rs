//! What is known of a measure without computing it.

use crate::{MetricError, Pair};
use colormamba_support::names::nearest;

/// Name, protocol, unit, best value and least size of a measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Definition {
    /// Name and protocol, unambiguous, e.g. `ssim[uniform7,sample-covariance,rgb,L=1]`.
    pub spec: &'static str,
    /// What manifests and command lines may say instead of the spec, e.g. `ssim`.
    pub name: &'static str,
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

impl Best {
    /// How bad `value` is: the larger the worse, comparable within one measure. A NaN is as bad as can be. `None` if no
    /// value is better than another.
    pub fn badness(self, value: f64) -> Option<f64> {
        let badness = match self {
            Self::Highest => -value,
            Self::Lowest => value,
            Self::At(best) => (value - best).abs(),
            Self::Undefined => return None,
        };
        Some(if badness.is_nan() { f64::INFINITY } else { badness })
    }
}

impl Definition {
    /// The value that `compute` makes of `pair`; NaN if an image holds one, which maxima and clamps on the way would hide.
    ///
    /// # Errors
    /// [`MetricError::TooSmall`] below [`Self::smallest_side`], and those of `compute`.
    pub fn value<E: From<MetricError>>(
        &self,
        pair: &Pair,
        compute: impl FnOnce(&Pair) -> Result<f64, E>,
    ) -> Result<f64, E> {
        let (side, height, width) = (self.smallest_side, pair.height(), pair.width());
        if height.min(width) < side {
            return Err(MetricError::TooSmall { measure: self.spec, side, height, width }.into());
        }
        if pair.has_nan() { Ok(f64::NAN) } else { compute(pair) }
    }

    /// Which of `all` has this spec or name; `definition` tells what is known of each.
    ///
    /// # Errors
    /// [`MetricError::Unknown`] with the nearest of them: of the specs if `name` has a bracket, else of the names.
    pub fn find<T>(
        name: &str,
        all: impl IntoIterator<Item = T>,
        definition: impl Fn(&T) -> &'static Self,
    ) -> Result<T, MetricError> {
        let mut known = Vec::new();
        for one in all {
            let Self { spec, name: short, .. } = *definition(&one);
            if name == spec || name == short {
                return Ok(one);
            }
            known.push(if name.contains('[') { spec } else { short });
        }
        Err(MetricError::Unknown { name: name.to_string(), nearest: nearest(name, known) })
    }
}
