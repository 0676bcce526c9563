//! The term `ciede2000`.

use crate::view::{Comparison, View};
use crate::{About, LossError};

pub(crate) const ABOUT: About = About { name: "ciede2000", formula: "", range: "", source: "", options: "" };

pub(crate) fn against(_: &View) -> Result<Comparison, LossError> {
    Err(LossError::Unseen { what: "ciede2000".into() })
}
