//! Image quality measures, each with a spec string that names its protocol.
//!
//! Everything is computed in `f64`, whatever the images were stored in. A [`Measure`] is of one image; a [`Summary`] is
//! of its values over a data set. [`frechet_distance`] and [`kernel_distance`] are of two sets of images, by their
//! features. A NaN in an image gives a NaN.
//!
//! ```
//! use colormamba_metrics::{Image, Measure, Pair, Summary};
//! let truth = Image::new(&[0.75f32; 3 * 8 * 8], 8, 8)?;
//! let preds = [0.25f32, 0.5].map(|grey| Image::new(&[grey; 3 * 8 * 8], 8, 8));
//! let psnr: Measure = "psnr".parse()?;
//! let values = preds.map(|pred| psnr.of(&Pair::new(&pred?, &truth)?));
//! let summary = Summary::of(&values.into_iter().collect::<Result<Vec<f64>, _>>()?);
//! assert!(summary.is_some_and(|psnr| (psnr.mean - 9.0309).abs() < 1e-4));
//! # Ok::<(), colormamba_metrics::MetricError>(())
//! ```

mod angular;
mod ciede2000;
pub mod colour;
mod colourfulness;
mod definition;
mod difference;
mod filter;
mod fourier;
mod fsim;
mod gmsd;
mod haarpsi;
mod hue;
mod image;
mod measure;
mod pair;
mod plane;
mod sets;
mod sharpness;
mod simd;
mod spectrum;
mod ssim;
mod summary;
mod swd;
mod vif;

pub use ciede2000::ciede2000;
pub use definition::{Best, Definition};
pub use image::{Image, MetricError};
pub use measure::Measure;
pub use pair::Pair;
pub use sets::{FeatureSet, SetError, frechet_distance, kernel_distance};
pub use ssim::{ms_ssim_windowed, ssim_windowed};
pub use summary::Summary;
