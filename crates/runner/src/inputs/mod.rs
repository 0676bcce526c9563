//! From a manifest to the images and networks that it names.

pub mod dataset;
pub mod folder;
pub mod hub;
pub mod image;
pub mod initial;
pub mod overlap;
