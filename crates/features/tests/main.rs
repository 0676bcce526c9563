//! All tests of the crate in one program, so that what they stand on is linked once.

mod classifiers;
mod dinov2;
mod files;
mod lpips;
