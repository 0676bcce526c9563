//! What the terms share that compare colours.

pub(crate) mod bins;
pub(crate) mod cuda;
pub(crate) mod divergence;
pub(crate) mod dual;
pub(crate) mod pixelwise;
pub(crate) mod space;
pub(crate) mod vectors;
