//! The multi-scale similarity that ColorMamba's published code optimises.

use crate::view::{Comparison, View};
use crate::{About, LossError};

pub(crate) const ABOUT: About = About { name: "ms_ssim_published", formula: "", range: "", source: "", options: "" };

pub(crate) fn against(_: &View) -> Result<Comparison, LossError> {
    Err(LossError::Unseen { what: "ms_ssim_published".into() })
}
