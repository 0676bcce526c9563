//! The term `cosine`.

use crate::view::{Comparison, View};
use crate::{About, LossError};

pub(crate) const ABOUT: About = About { name: "cosine", formula: "", range: "", source: "", options: "" };

pub(crate) fn against(_: &View) -> Result<Comparison, LossError> {
    Err(LossError::Unseen { what: "cosine".into() })
}
