//! Colour for NIR photographs.

use super::DeviceChoice;
use crate::manifest::precision::Precision;
use crate::report::images;
use crate::scoring::evaluate::ensure_finite;
use crate::scoring::weights::{Asked, Weights};
use crate::system::files::{is_folder, make_folder};
use crate::system::output::ensure_writable;
use crate::system::terminal::note;
use crate::system::usage::{UsageError, in_words};
use anyhow::{Context, Result, ensure};
use candle_core::Device;
use colormamba_data::{Bits, Preparation, Reading, looks_like_image};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What to colorize.
pub struct Colorize {
    /// NIR photographs, or folders of them.
    pub images: Vec<PathBuf>,
    /// A checkpoint of a run, or published weights.
    pub weights: PathBuf,
    /// What of a photograph's file is the near infrared.
    pub reading: Asked,
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
    let results = results(&images, &args.out);
    ensure_new(args, &images, &results)?;
    let weights = Weights::load(&args.weights, &device, Some(args.precision.activations()))?;
    make_folder(&args.out)?;
    let reading = settled(weights.reading(args.reading)?, &images);
    let one = |(image, result): (&PathBuf, &PathBuf)| one(&weights, (image, reading), result, &device).err();
    let bad: Vec<String> =
        images.iter().zip(&results).filter_map(one).map(|e| format!("\n  {}", in_words(&e))).collect();
    ensure!(bad.is_empty(), "{} of {} photographs could not be colorized:{}", bad.len(), images.len(), bad.concat());
    Ok(())
}

/// The files, and the images in the folders.
fn photographs(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut photographs = Vec::new();
    for path in given {
        match is_folder(path)? {
            true => photographs.extend(in_folder(path)?),
            false => photographs.push(path.clone()),
        }
    }
    Ok(photographs)
}

/// The images of a folder in the order of their names, told by their content, and how much else there is.
fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = || format!("cannot read {}", folder.display());
    let entries = std::fs::read_dir(folder).with_context(unreadable)?;
    let mut paths =
        entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>().with_context(unreadable)?;
    // What begins with a dot is some system's own.
    paths.retain(|path| !stem(path).starts_with('.'));
    paths.sort();
    let (images, others): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| looks_like_image(path));
    ensure!(!images.is_empty(), UsageError(format!("{} holds no image", folder.display())));
    if let Some(first) = others.first() {
        let (folder, count, first) = (folder.display(), others.len(), first.display());
        note(&format!("note: passed over in {folder}, being no images: {count}, first {first}"));
    }
    Ok(images)
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

/// Where the results go: `NAME.png`, or `NAME.EXTENSION.png` where photographs differ in their extensions alone.
fn results(images: &[PathBuf], out: &Path) -> Vec<PathBuf> {
    let of_stem = |stem: &str| images.iter().filter(|image| self::stem(image) == stem).count();
    let name = |image: &PathBuf| match (of_stem(&stem(image)), image.file_name()) {
        (2.., Some(name)) => name.to_string_lossy().into_owned(),
        _ => stem(image),
    };
    images.iter().map(|image| out.join(format!("{}.png", name(image)))).collect()
}

/// Fails unless every result has a place of its own.
fn ensure_new(args: &Colorize, images: &[PathBuf], results: &[PathBuf]) -> Result<()> {
    let mut places = BTreeSet::new();
    for (image, result) in images.iter().zip(results) {
        let text = || format!("two images are called {}: colorize them apart, with another --out", stem(image));
        ensure!(places.insert(result), UsageError(text()));
    }
    let inputs = images.iter().chain([&args.weights]).map(PathBuf::as_path);
    results.iter().try_for_each(|result| ensure_writable(result, args.force, inputs.clone()))
}

/// A file's name without its extension.
pub(super) fn stem(image: &Path) -> String {
    image.file_stem().map_or_else(|| "image".to_string(), |stem| stem.to_string_lossy().into_owned())
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
