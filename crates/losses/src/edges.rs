//! Terms that compare edges.

use crate::view::{Comparison, View};
use crate::{About, LossError};

pub(crate) const SOBEL: About = About { name: "sobel", formula: "", range: "", source: "", options: "" };
pub(crate) const LAPLACIAN: About = About { name: "laplacian", formula: "", range: "", source: "", options: "" };
pub(crate) const TOTAL_VARIATION: About =
    About { name: "total_variation", formula: "", range: "", source: "", options: "" };

pub(crate) fn sobel(_: &View) -> Result<Comparison, LossError> {
    Err(LossError::Unseen { what: "sobel".into() })
}

pub(crate) fn laplacian(_: &View) -> Result<Comparison, LossError> {
    Err(LossError::Unseen { what: "laplacian".into() })
}

pub(crate) fn total_variation() -> Result<Comparison, LossError> {
    Err(LossError::Unseen { what: "total_variation".into() })
}
