//! Colour for NIR photographs.

use super::DeviceChoice;
use crate::manifest::precision::Precision;
use crate::report::images;
use crate::scoring::evaluate::ensure_finite;
use crate::scoring::weights::Weights;
use crate::system::files::{is_folder, make_folder};
use crate::system::output::ensure_writable;
use crate::system::terminal::note;
use crate::system::usage::UsageError;
use anyhow::{Context, Result, ensure};
use candle_core::Device;
use colormamba_data::{Bits, Preparation, Reading};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What to colorize.
pub struct Colorize {
    /// NIR photographs, or folders of them.
    pub images: Vec<PathBuf>,
    /// A checkpoint of a run, or published weights.
    pub weights: PathBuf,
    /// What of a photograph's file is the near infrared.
    pub reading: Reading,
    /// Where the results go, under the photographs' names.
    pub out: PathBuf,
    /// Whether files there may be replaced.
    pub force: bool,
    /// What to compute on.
    pub device: DeviceChoice,
    /// How exactly.
    pub precision: Precision,
}

/// Writes `OUT/NAME.png` for every photograph. After one that cannot be read or does not fit the others are done; those are
/// listed at the end.
///
/// # Errors
/// [`UsageError`] if two results would have the same name, or one the place of a file that is there; weights that cannot be
/// read; the photographs that could not be colorized, such as those of a size that the network does not take.
pub fn colorize(args: &Colorize) -> Result<()> {
    let device = args.device.open()?;
    let _precision = args.precision.set(&device)?;
    let images = photographs(&args.images)?;
    ensure_new(args, &images)?;
    let weights = Weights::load(&args.weights, &device, Some(args.precision.activations()))?;
    make_folder(&args.out)?;
    let reading = settled(args.reading, &images);
    let one = |image: &PathBuf| one(&weights, (image, reading), &result(image, &args.out), &device).err();
    let bad: Vec<String> = images.iter().filter_map(one).map(|error| format!("\n  {error:#}")).collect();
    ensure!(bad.is_empty(), "{} of {} photographs could not be colorized:{}", bad.len(), images.len(), bad.concat());
    Ok(())
}

/// The files, and the images in the folders.
fn photographs(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut photographs = Vec::new();
    for path in given {
        if !is_folder(path)? {
            photographs.push(path.clone());
            continue;
        }
        let found = super::pairing::images(path)?;
        ensure!(!found.is_empty(), UsageError(format!("{} holds no image", path.display())));
        // What begins with a dot is some system's own.
        photographs.extend(found.into_values().filter(|image| !stem(image).starts_with('.')));
    }
    Ok(photographs)
}

/// With the bits that the largest value of all photographs tells, where these are to be found out.
fn settled(reading: Reading, images: &[PathBuf]) -> Reading {
    if reading.bits != Bits::Auto {
        return reading;
    }
    // What cannot be read is told when it is colorized.
    let Some(largest) = images.iter().filter_map(|image| reading.gray(image).ok()?.largest).max() else {
        return reading;
    };
    let bits = Bits::of_largest(largest);
    note(&format!("note: the photographs are read as {bits}-bit: their largest value is {largest} (--bits auto)"));
    Reading { bits: Bits::Exactly(bits), ..reading }
}

/// Fails unless every result has a place of its own.
fn ensure_new(args: &Colorize, images: &[PathBuf]) -> Result<()> {
    let mut results = BTreeSet::new();
    for image in images {
        let is_new = results.insert(result(image, &args.out));
        ensure!(is_new, UsageError(format!("two images are called {}", stem(image))));
    }
    let inputs = images.iter().chain([&args.weights]).map(PathBuf::as_path);
    results.iter().try_for_each(|result| ensure_writable(result, args.force, inputs.clone()))
}

/// A file's name without its extension.
pub(super) fn stem(image: &Path) -> String {
    image.file_stem().map_or_else(|| "image".to_string(), |stem| stem.to_string_lossy().into_owned())
}

fn result(image: &Path, out: &Path) -> PathBuf {
    out.join(format!("{}.png", stem(image)))
}

fn one(weights: &Weights, (image, reading): (&Path, Reading), out: &Path, device: &Device) -> Result<()> {
    let preparation = Preparation { size: None, ..weights.preparation };
    let photograph = reading.gray(image)?;
    photograph.notes.iter().for_each(|text| note(&format!("note: {}: {text}", image.display())));
    let (nir, hsv) = preparation.nir(&photograph.image)?;
    let (nir, hsv) = (nir.unsqueeze(0)?.to_device(device)?, hsv.unsqueeze(0)?.to_device(device)?);
    let rgb = weights.colorizer.colorize(&nir, &hsv).with_context(|| image.display().to_string())?.squeeze(0)?;
    ensure_finite(&rgb).with_context(|| image.display().to_string())?;
    images::write_png(out, &images::from_tensor(&rgb)?)
}
