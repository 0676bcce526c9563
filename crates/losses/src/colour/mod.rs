//! Terms that compare colours.

pub(crate) mod ciede2000;
pub(crate) mod cosine;
pub(crate) mod histogram;
pub(crate) mod hue;
