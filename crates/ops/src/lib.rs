//! Tensor operations that candle lacks, has wrong, or has slow, as plain functions over [`candle_core::Tensor`].
//!
//! Every operation has a forward and a gradient, takes `f32` and `f64`, any layout and any batch size, and returns a
//! contiguous tensor. Images are `(B, C, H, W)`; token maps are `(B, H, W, C)` or `(B, L, C)`.
//!
//! # Errors
//! All functions return [`candle_core::Error`]; what a caller can get wrong is an [`OpError`] inside it, with the
//! operation's name and the shapes.

pub mod cpu;
mod error;

pub use error::OpError;
