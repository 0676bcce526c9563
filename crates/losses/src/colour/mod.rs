//! Terms that compare colours.

mod bins;
pub(crate) mod ciede2000;
pub(crate) mod cosine;
mod cuda;
mod divergence;
mod dual;
pub(crate) mod histogram;
pub(crate) mod hue;
mod pixelwise;
mod space;
mod vectors;
