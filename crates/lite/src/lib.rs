//! A small network for NIR-to-RGB colorization that learns from few pairs.
//!
//! A U-Net (Ronneberger et al., arXiv 1505.04597) on an EfficientNet-Lite0 encoder (Tan & Le, arXiv 1905.11946, in its
//! Lite form without squeeze-and-excitation) gives an offset and a gain for each colour and pixel,
//! `rgb = sigmoid(offset + gain · logit(nir))`: colour may be smooth, detail is the NIR image's own.

mod chance;
mod encoder;
mod guided;
mod net;

pub use chance::Dropping;
pub use encoder::{Encoder, Maps, own_name};
pub use guided::{GuidedMaps, LANES};
pub use net::{DARKEST, Lite, WIDTHS};
