//! All tests of the crate in one program, so that what they stand on is linked once.

mod channels;
mod classes;
mod colour;
mod common;
mod contract;
mod edges;
mod errors;
mod histogram;
mod perceptual;
mod pixel;
mod speckle;
mod structure;
mod studies;
mod terms;
mod video;
