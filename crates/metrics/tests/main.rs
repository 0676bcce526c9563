//! All tests of the crate in one program, so that what they stand on is linked once.

mod contract;
mod sets;
mod spec;
mod summary;
