//! All tests of the crate in one program, so that what they stand on is linked once.

mod edge_map;
mod golden;
