//! The term `hue`.

use crate::view::{Comparison, View};
use crate::{About, LossError};

pub(crate) const ABOUT: About = About { name: "hue", formula: "", range: "", source: "", options: "" };

pub(crate) fn against(_: &View) -> Result<Comparison, LossError> {
    Err(LossError::Unseen { what: "hue".into() })
}
