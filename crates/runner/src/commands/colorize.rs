//! Colour for NIR photographs.

use super::DeviceChoice;
use crate::files::make_folder;
use crate::images;
use crate::usage::Usage;
use crate::weights::Weights;
use anyhow::{Context, Result, ensure};
use candle_core::Device;
use colormamba_data::{Preparation, read_gray};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// What to colorize.
pub struct Colorize {
    /// NIR photographs.
    pub images: Vec<PathBuf>,
    /// A checkpoint of a run, or published weights.
    pub weights: PathBuf,
    /// Where the results go, under the photographs' names.
    pub out: PathBuf,
    /// What to compute on.
    pub device: DeviceChoice,
}

/// Writes `OUT/NAME.png` for every photograph.
///
/// # Errors
/// [`Usage`] if two photographs have the same name; weights or a photograph that cannot be read; one whose sides are not
/// multiples of the model's grid.
pub fn colorize(args: &Colorize) -> Result<()> {
    let mut names = BTreeSet::new();
    for image in &args.images {
        let name = image.file_stem().unwrap_or(OsStr::new("image"));
        ensure!(names.insert(name), Usage(format!("two images are called {}", name.to_string_lossy())));
    }
    let device = args.device.open()?;
    let weights = Weights::load(&args.weights, &device)?;
    make_folder(&args.out)?;
    for image in &args.images {
        let out = args.out.join(image.file_stem().unwrap_or(OsStr::new("image"))).with_extension("png");
        one(&weights, image, &out, &device)?;
    }
    Ok(())
}

fn one(weights: &Weights, image: &Path, out: &Path, device: &Device) -> Result<()> {
    let preparation = Preparation { size: None, ..weights.preparation };
    let (nir, hsv) = preparation.nir(&read_gray(image)?)?;
    let (nir, hsv) = (nir.unsqueeze(0)?.to_device(device)?, hsv.unsqueeze(0)?.to_device(device)?);
    let output = weights.colorizer.colorize(&nir, &hsv).with_context(|| image.display().to_string())?;
    images::write_png(out, &images::from_tensor(&output.rgb.squeeze(0)?)?)
}
