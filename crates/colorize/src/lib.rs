//! Colour for near-infrared photographs of any size, by trained weights.
//!
//! A network sees a photograph at a *working side* of some hundred pixels, as in its training; the photograph itself
//! has many more. What it makes of the small image is brought to the full size along the photograph's own edges: as
//! maps of coefficients that are fitted to the small image and evaluated with each pixel's own value ([`GuidedMaps`]).
//! These are the offsets and gains of a network that gives such ([`LocalColour`]), and the colours themselves of any
//! other. A photograph that is no larger than the working side gets the network's own output. Networks of local
//! coefficients see every photograph continued at its borders by reflection, which scoring a split does not do: it asks
//! for the network as it is.
//!
//! ```
//! use candle_core::Device;
//! use colormamba_colorize::{Colorizer, NirImage, Options};
//! use image::GrayImage;
//!
//! let colorizer = Colorizer::built_in(&Device::Cpu)?;
//! let nir = NirImage::Bits8(GrayImage::from_fn(120, 80, |x, y| image::Luma([(x + y) as u8])));
//! let picture = colorizer.colorize(&nir, &Options::default())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`GuidedMaps`]: colormamba_lite::GuidedMaps
//! [`LocalColour`]: colormamba_training::LocalColour

mod colorizer;
mod error;
mod header;
mod levels;
mod lightness;
mod options;
mod photograph;
mod picture;
mod plane;
mod tiles;

pub use colorizer::{BUILT_IN, Colorizer, built_in};
pub use colormamba_data::NirImage;
pub use error::{ColorizeError, NotFinite};
pub use header::Trained;
pub use options::{Depth, Options, Tiles};
pub use picture::Picture;
