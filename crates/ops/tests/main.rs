//! All tests of the crate in one program, so that what they stand on is linked once.

mod activation;
mod attention;
mod conv;
mod criss_cross;
mod depthwise;
mod elementwise;
mod graph;
mod linear;
mod norm;
mod offset_gain;
mod pad;
mod pool;
mod resize;
