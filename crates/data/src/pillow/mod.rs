//! 8-bit image operations that give Pillow's integers, bit for bit.
//!
//! The published networks were trained, and the published numbers computed, on images that went through Pillow. Other
//! crates do the same operations with other roundings: `image` weighs luma by Rec. 709 instead of Rec. 601 and resizes in
//! floating point; `palette` keeps HSV in floating point with hue in degrees. A prediction scored on such images differs
//! from the published protocol in the last bits, and in luma by whole levels. So these follow Pillow.
//!
//! Mirroring and cropping only move pixels, and are `image`'s.

mod color;
mod contrast;
mod resize;

pub(crate) use color::luma_of;
pub use color::{hsv, luma};
pub use contrast::contrast;
pub use resize::{Window, resize, windows};

use image::{ImageBuffer, Pixel};

/// An 8-bit image with any number of channels.
pub type Image<P> = ImageBuffer<P, Vec<<P as Pixel>::Subpixel>>;
