//! From a manifest to the images and networks that it names.

pub mod dataset;
pub mod overlap;
