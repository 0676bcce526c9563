//! All tests of the crate in one program, so that what they stand on is linked once.

mod adam;
mod candle_nn;
mod ema;
mod frozen_norm;
mod golden;
mod optim;
mod schedule;
mod var_builder;
