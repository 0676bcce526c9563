//! Image quality measures, each with a spec string that names its protocol.
//!
//! Everything is computed in `f64`, whatever the images were stored in. A measure is of one image; averages over a data
//! set are means of the images' values. A NaN in an image gives a NaN.
//!
//! ```
//! use colormamba_metrics::{Image, Measure};
//! let pred = Image::new(&[0.25f32; 3 * 8 * 8], 8, 8)?;
//! let target = Image::new(&[0.75f32; 3 * 8 * 8], 8, 8)?;
//! assert!((Measure::Psnr.compute(&pred, &target)? - 6.020600).abs() < 1e-6);
//! # Ok::<(), colormamba_metrics::MetricError>(())
//! ```

mod angular;
mod image;
mod measure;
mod psnr;
mod ssim;

pub use angular::{AngularForm, angular_error};
pub use image::{Image, MetricError};
pub use measure::Measure;
pub use psnr::psnr;
pub use ssim::ssim_uniform7;
