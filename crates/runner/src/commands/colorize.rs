//! Colour for NIR photographs.

use super::DeviceChoice;
use crate::inputs::folder::{self, stem};
use crate::manifest::precision::Precision;
use crate::manifest::weights_file;
use crate::report::images;
use crate::scoring::evaluate::ensure_finite;
use crate::scoring::weights::{Asked, Weights};
use crate::system::files::{is_folder, make_folder};
use crate::system::output::ensure_all_writable;
use crate::system::terminal::note;
use crate::system::usage::{UsageError, in_words};
use crate::system::words::count;
use anyhow::{Context, Result, ensure};
use candle_core::Device;
use colormamba_data::{Bits, Channel, Notes, Preparation, Read, Reading};
use image::GrayImage;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What to colorize.
pub struct Colorize {
    /// NIR photographs, or folders of them.
    pub images: Vec<PathBuf>,
    /// A checkpoint of a run, the folder of one, or published weights.
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
    let (mut notes, mut bad) = (Notes::default(), Vec::new());
    for (image, result) in images.iter().zip(&results) {
        let photograph = reading.gray(image).map(|photograph| {
            said(&photograph, &args.reading).into_iter().for_each(|text| notes.add(image, text));
            photograph.image
        });
        let done = photograph.map_err(Into::into).and_then(|nir| one(&weights, (image, &nir), result, &device));
        bad.extend(done.err().map(|error| format!("\n  {}", in_words(&error))));
    }
    notes.lines().iter().for_each(|text| note(&format!("note: {text}")));
    let all = count(images.len(), "photograph");
    ensure!(bad.is_empty(), "{} of {all} could not be colorized:{}", bad.len(), bad.concat());
    Ok(())
}

/// The files, and the images in the folders.
fn photographs(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut photographs = Vec::new();
    for path in given {
        match is_folder(path)? {
            true => {
                let images = folder::images(path)?;
                ensure!(!images.is_empty(), UsageError(format!("{} holds no image", path.display())));
                photographs.extend(images);
            }
            false => photographs.push(path.clone()),
        }
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
    let weights = weights_file(&args.weights);
    ensure_all_writable(results, args.force, images.iter().chain([&weights]).map(PathBuf::as_path))
}

/// What was taken of a photograph's file, and which of the options that were given are of no use to it.
fn said<I>(photograph: &Read<I>, given: &Asked) -> Vec<String> {
    let mut notes: Vec<String> =
        photograph.notes.iter().map(|note| note.with(|key, value| format!("--{key} {value}"))).collect();
    if let Some(bits) = given.bits.filter(|bits| *bits != Bits::Tags && photograph.largest.is_none()) {
        notes.push(format!("--bits {bits} changes nothing: the values are of 8 bits"));
    }
    let of_colours = |channel: &Channel| matches!(channel, Channel::Red | Channel::Mean | Channel::Max);
    if let Some(channel) = given.channel.filter(|channel| photograph.gray && of_colours(channel)) {
        notes.push(format!("--channel {channel} changes nothing: the photograph is gray"));
    }
    notes
}

fn one(weights: &Weights, (image, nir): (&Path, &GrayImage), out: &Path, device: &Device) -> Result<()> {
    let preparation = Preparation { size: None, ..weights.preparation };
    let (nir, hsv) = preparation.nir(nir)?;
    let (nir, hsv) = (nir.unsqueeze(0)?.to_device(device)?, hsv.unsqueeze(0)?.to_device(device)?);
    let rgb = weights.colorizer.colorize(&nir, &hsv).with_context(|| image.display().to_string())?.squeeze(0)?;
    ensure_finite(&rgb).with_context(|| image.display().to_string())?;
    images::write_png(out, &images::from_tensor(&rgb)?)
}
