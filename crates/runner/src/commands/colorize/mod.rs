//! Colour for NIR photographs.

mod exif;
mod frames;
mod places;
mod write;

pub use write::Format;

use super::DeviceChoice;
use crate::inputs::hub::located;
use crate::manifest::precision::Precision;
use crate::scoring::weights::{self, Asked};
use crate::system::files::make_folder;
use crate::system::terminal::{Verbosity, bar, note, print};
use crate::system::usage::{UsageError, in_words};
use crate::system::words::count;
use anyhow::{Context, Result, ensure};
use candle_core::Device;
use colormamba_colorize::{Colorizer, Depth, Options, built_in};
use colormamba_data::{Bits, Channel, Notes, Read, Reading};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What to colorize.
pub struct Colorize {
    /// NIR photographs, folders of them, or patterns that match them; `-` alone for frames of standard input.
    pub images: Vec<PathBuf>,
    /// A checkpoint of a run, the folder of one, or published weights; none for those of the program.
    pub weights: Option<PathBuf>,
    /// What of a photograph's file is the near infrared.
    pub reading: Asked,
    /// How it is colorized.
    pub options: Options,
    /// The kind of the results' files; none for that of the file `out`, else PNG.
    pub format: Option<Format>,
    /// Whether a result shows the photograph beside the colours.
    pub side_by_side: bool,
    /// A folder for the results, under the photographs' names, or the file of a single one; none puts them beside the
    /// photographs.
    pub out: Option<PathBuf>,
    /// Whether files there may be replaced.
    pub force: bool,
    /// Whether photographs whose results are there are passed over.
    pub skip_existing: bool,
    /// What to compute on.
    pub device: DeviceChoice,
    /// How exactly.
    pub precision: Precision,
    /// How much is said, and in which form.
    pub verbosity: Verbosity,
}

/// Writes `NAME-rgb.png` beside every photograph, or `OUT/NAME.png`, and prints where. After one that cannot be read
/// the others are done; those are listed at the end.
///
/// # Errors
/// [`UsageError`] if options mean nothing, if two results would have the same name, or one the place of a file that is
/// there; weights that cannot be read; the photographs that could not be colorized.
pub fn colorize(args: &Colorize) -> Result<()> {
    let out = places::Out::of(args.out.as_deref())?;
    let format = format(args, &out)?;
    let options = checked(args, format)?;
    let device = args.device.open()?;
    let _precision = args.precision.set(&device)?;
    if frames::asked_for(args)? {
        return frames::colorize(&loaded(args, &device)?.0, &options, args.reading.max_pixels);
    }
    let images = places::photographs(&args.images)?;
    let results = places::results(&images, &out, format.extension())?;
    let (images, results) = if args.skip_existing { places::missing(images, results)? } else { (images, results) };
    places::ensure_new(args, &images, &results)?;
    let (colorizer, reading) = loaded(args, &device)?;
    out.folder().map_or(Ok(()), make_folder)?;
    let work = Work { args, colorizer, options, format, reading: settled(reading, &images) };
    let bar = bar(args.verbosity, images.len(), "{wide_bar} {pos}/{len} {eta} left")?;
    let (mut notes, mut bad, mut said) = (Notes::default(), Vec::new(), Ok(()));
    for (image, result) in images.iter().zip(&results) {
        let begun = Instant::now();
        let done = work.one(image, result, &mut notes);
        match args.verbosity {
            Verbosity::Json => print(&Line::of(image, result, &done, begun).written()?)?,
            // Who looks no longer still wants the photographs.
            Verbosity::Normal if done.is_ok() && said.is_ok() => {
                said = bar.suspend(|| print(&format!("{}\n", result.display())));
            }
            Verbosity::Normal | Verbosity::Quiet => {}
        }
        bad.extend(done.err().map(|error| format!("\n  {}", in_words(&error))));
        bar.inc(1);
    }
    bar.finish_and_clear();
    notes.lines().iter().for_each(|text| note(&format!("note: {text}")));
    let all = count(images.len(), "photograph");
    ensure!(bad.is_empty(), "{} of {all} could not be colorized:{}", bad.len(), bad.concat());
    said
}

/// What is the same for all photographs.
struct Work<'a> {
    args: &'a Colorize,
    colorizer: Colorizer,
    options: Options,
    format: Format,
    reading: Reading,
}

impl Work<'_> {
    /// Writes the result of a photograph; its width and height.
    fn one(&self, image: &Path, result: &Path, notes: &mut Notes) -> Result<(u32, u32)> {
        let Self { args, reading, .. } = self;
        let photograph = reading.nir(image)?;
        notable(&photograph, &args.reading, reading.channel).into_iter().for_each(|text| notes.add(image, text));
        let nir = &photograph.image;
        let picture = self.colorizer.colorize(nir, &self.options).with_context(|| image.display().to_string())?;
        let picture = write::shown(picture, nir, args.side_by_side)?;
        if !write::write(result, &picture, self.format, photograph.exif.as_deref())? {
            let format = self.format.extension();
            notes.add(image, format!("its EXIF is not kept, a {format} takes none or less: --format png keeps it"));
        }
        Ok(nir.dimensions())
    }
}

/// The kind of the results' files, if the name of the one that is asked for tells no other.
fn format(args: &Colorize, out: &places::Out) -> Result<Format> {
    let named = out.file().and_then(Format::of);
    match (args.format, named, out.file()) {
        (Some(given), Some(named), Some(file)) if given != named => Err(UsageError(format!(
            "--out {} is no {} by its name: leave --format out, or name another file",
            file.display(),
            given.extension()
        ))
        .into()),
        (given, named, _) => Ok(given.or(named).unwrap_or(Format::Png)),
    }
}

/// The options, if they mean something together.
fn checked(args: &Colorize, format: Format) -> Result<Options> {
    args.options.check().map_err(|error| UsageError(error.to_string()))?;
    if format != Format::Jpeg {
        return Ok(args.options);
    }
    let deep = || UsageError("a JPEG has 8 bits: --bits-out 16 needs --format png or tiff".into());
    ensure!(args.options.depth != Some(Depth::Sixteen), deep());
    Ok(Options { depth: Some(Depth::Eight), ..args.options })
}

/// The weights, and how they want photographs to be read.
fn loaded(args: &Colorize, device: &Device) -> Result<(Colorizer, Reading)> {
    let file = match &args.weights {
        Some(path) => weights::open(&located(path, args.verbosity != Verbosity::Normal)?, device)?,
        None => built_in(device)?,
    };
    let colorizer = Colorizer::of(&file, Some(args.precision.activations()))?;
    let takes_none = || UsageError("--tile is for networks that colour by tiles: these weights are of another".into());
    ensure!(args.options.tiles.is_none() || !colorizer.is_local(), takes_none());
    Ok((colorizer, weights::reading(&file, args.reading)?))
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
    let hint = if bits == 16 && largest < 1 << 14 { "; --bits 12 is for a camera of 12 bits" } else { "" };
    note(&format!(
        "note: the photographs are read as {bits}-bit: their largest value is {largest} (--bits auto){hint}"
    ));
    Reading { bits: Bits::Exactly(bits), ..reading }
}

/// What was taken of a photograph's file, and which of the options that were given are of no use to it.
fn notable<I>(photograph: &Read<I>, given: &Asked, taken: Channel) -> Vec<String> {
    let mut notes: Vec<String> =
        photograph.notes.iter().map(|note| note.with(|key, value| format!("--{key} {value}"))).collect();
    if photograph.transparent {
        notes.push("transparency is dropped".to_string());
    }
    if let Some(bits) = given.bits.filter(|bits| *bits != Bits::Tags && photograph.largest.is_none()) {
        notes.push(format!("--bits {bits} changes nothing: the values are of 8 bits"));
    }
    if given.channel.is_none() && taken == Channel::Luma && !photograph.gray {
        notes.push("of its channels the luma is taken for the near infrared (--channel takes another)".to_string());
    }
    let of_colours = |channel: &Channel| matches!(channel, Channel::Red | Channel::Mean | Channel::Max);
    if let Some(channel) = given.channel.filter(|channel| photograph.gray && of_colours(channel)) {
        notes.push(format!("--channel {channel} changes nothing: the photograph is gray"));
    }
    notes
}

/// What became of a photograph, as JSON.
#[derive(Serialize)]
struct Line {
    input: String,
    #[serde(flatten)]
    result: Made,
    seconds: f64,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Made {
    Picture { output: String, width: u32, height: u32 },
    Nothing { error: String },
}

impl Line {
    fn of(input: &Path, output: &Path, done: &Result<(u32, u32)>, begun: Instant) -> Self {
        let result = match done {
            Ok((width, height)) => {
                Made::Picture { output: output.display().to_string(), width: *width, height: *height }
            }
            Err(error) => Made::Nothing { error: in_words(error) },
        };
        Self { input: input.display().to_string(), result, seconds: begun.elapsed().as_secs_f64() }
    }

    fn written(&self) -> Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}
