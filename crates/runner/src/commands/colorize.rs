//! Colour for NIR photographs.

use super::DeviceChoice;
use crate::manifest::precision::Precision;
use crate::report::images;
use crate::scoring::weights::Weights;
use crate::system::files::make_folder;
use crate::system::usage::UsageError;
use anyhow::{Context, Result, ensure};
use candle_core::Device;
use colormamba_data::{Preparation, read_gray};
use std::collections::BTreeSet;
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
    /// How exactly.
    pub precision: Precision,
}

/// Writes `OUT/NAME.png` for every photograph.
///
/// # Errors
/// [`UsageError`] if two results would have the same name, or one the place of its photograph; weights or a photograph that
/// cannot be read; one of a size that the network does not take.
pub fn colorize(args: &Colorize) -> Result<()> {
    let device = args.device.open()?;
    let mut results = BTreeSet::new();
    for image in &args.images {
        let result = result(image, &args.out);
        ensure!(
            !same_file(image, &result),
            UsageError(format!("{} would be overwritten: use another --out", image.display()))
        );
        ensure!(results.insert(result), UsageError(format!("two images are called {}", stem(image))));
    }
    let _precision = args.precision.set(&device)?;
    let weights = Weights::load(&args.weights, &device, Some(args.precision.activations()))?;
    make_folder(&args.out)?;
    for image in &args.images {
        one(&weights, image, &result(image, &args.out), &device)?;
    }
    Ok(())
}

/// A file's name without its extension.
pub(super) fn stem(image: &Path) -> String {
    image.file_stem().map_or_else(|| "image".to_string(), |stem| stem.to_string_lossy().into_owned())
}

fn result(image: &Path, out: &Path) -> PathBuf {
    out.join(format!("{}.png", stem(image)))
}

fn same_file(a: &Path, b: &Path) -> bool {
    a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b))
}

fn one(weights: &Weights, image: &Path, out: &Path, device: &Device) -> Result<()> {
    let preparation = Preparation { size: None, ..weights.preparation };
    let (nir, hsv) = preparation.nir(&read_gray(image)?)?;
    let (nir, hsv) = (nir.unsqueeze(0)?.to_device(device)?, hsv.unsqueeze(0)?.to_device(device)?);
    let rgb = weights.colorizer.colorize(&nir, &hsv).with_context(|| image.display().to_string())?;
    images::write_png(out, &images::from_tensor(&rgb.squeeze(0)?)?)
}
