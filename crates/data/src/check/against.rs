//! Images of one dataset in another.
//!
//! For every pair of the first dataset the second is searched for equal pixels, for the same scene as [`scenes`] finds
//! it between whole images, and for a photograph of which it is a crop. A crop is sought by comparing it with windows of
//! the photograph: squares of four sizes, from its shorter side down to a quarter of that, each half a side from the
//! next. Two textures match at ratios of scale from 0.78 to 1.28 and where 40 % overlap, so between the windows every
//! place and every size from about a fifth of the shorter side on is covered. As a photograph has some hundred windows,
//! chance gets more tries than between whole images, and a crop must score [`CROP`].

use super::report::{Equal, Flaw, PairId, Report, section};
use super::scenes::{self, Image, Match, SHARED, Spectra, compare, thumbnail};
use super::{Listed, listed};
use crate::notes::Notes;
use crate::overlap::digest;
use crate::photographs::Readings;
use crate::{DataError, Description, PixelDigests, Subset, pillow};
use image::imageops::crop_imm;
use image::{GrayImage, RgbImage};
use rayon::prelude::*;
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// An image is said to be a crop of a photograph from this score on.
pub const CROP: f64 = 0.7;
/// Sides of the windows, in parts of the photograph's shorter side.
const WINDOWS: [f64; 4] = [1.0, 0.62, 0.39, 0.25];
/// The shorter side that a photograph is brought to first: the smallest windows have the side of a thumbnail then.
const SHORTER: f64 = 256.0;
/// Photographs that are looked at between two reports of progress.
const CHUNK: usize = 8;

/// A dataset's pairs.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// What describes the folder.
    pub description: &'a Description,
    /// The folder.
    pub root: &'a Path,
    /// Which of its splits.
    pub subset: &'a Subset,
}

/// In what way a pair was found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Images are equal, pixel by pixel.
    Equal(Equal),
    /// The RGB images show one scene.
    Scene(Match),
    /// The RGB image is a part of the other one: [`Match`] says where it lies there.
    Crop(Match),
}

impl Kind {
    /// Equal images first, then by score.
    fn rank(&self) -> f64 {
        match self {
            Self::Equal(_) => 2.0,
            Self::Scene(found) | Self::Crop(found) => found.score,
        }
    }
}

/// A pair of the first dataset that is in the second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// The pair.
    pub pair: PairId,
    /// Where it was found.
    pub other: PairId,
    /// How.
    pub kind: Kind,
}

/// What of one dataset is in another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Against {
    /// The first dataset, and its subset.
    pub dataset: String,
    /// The second.
    pub other: String,
    /// What the first image of a pair of the first is, e.g. `NIR`.
    pub input: String,
    /// Pairs of the first.
    pub pairs: usize,
    /// Pairs of the second.
    pub other_pairs: usize,
    /// What is taken of files that hold more than an image of 8 bits, and what is left out.
    pub notes: Vec<String>,
    /// What could not be looked at.
    pub flaws: Vec<Flaw>,
    /// What was found, in the order of the first dataset's pairs; of each the best match first.
    pub found: Vec<Found>,
}

/// Looks for each pair of `ours` in `theirs`. `progress` gets how many photographs are done, of how many.
///
/// # Errors
/// Those of [`super::check`], of either.
pub fn against(ours: &Source, theirs: &Source, progress: &mut dyn FnMut(usize, usize)) -> Result<Against, DataError> {
    let mut notes = Notes::default();
    let (mine, mut flaws) = ours.pairs(&mut notes)?;
    let (others, their_flaws) = theirs.pairs(&mut notes)?;
    flaws.extend(their_flaws);
    let readings = Readings::of(ours.description, mine.iter().map(|pair| &pair.files), &mut notes)?;
    let their_readings = Readings::of(theirs.description, others.iter().map(|pair| &pair.files), &mut notes)?;
    let spectra = Spectra::new();
    let total = mine.len() + others.len();
    let mut sought = Vec::new();
    for chunk in mine.chunks(CHUNK) {
        let seen: Vec<_> =
            chunk.par_iter().map(|pair| Photograph::read(pair, readings).map(|it| it.sought(&spectra))).collect();
        sought.extend(seen.into_iter().zip(chunk).filter_map(|(seen, pair)| kept(seen, pair, &mut flaws)));
        progress(sought.len().min(total), total);
    }
    let mut found = Vec::new();
    for (done, chunk) in others.chunks(CHUNK).enumerate() {
        let look = |pair| Photograph::read(pair, their_readings).map(|it| it.holds(&sought, &spectra));
        let seen: Vec<_> = chunk.par_iter().map(look).collect();
        for (places, pair) in seen.into_iter().zip(chunk).filter_map(|(seen, pair)| kept(seen, pair, &mut flaws)) {
            let at = |(place, kind): (usize, Kind)| {
                (place, Found { pair: sought[place].1.id.clone(), other: pair.id.clone(), kind })
            };
            found.extend(places.into_iter().map(at));
        }
        progress((mine.len() + (done + 1) * CHUNK).min(total), total);
    }
    found.sort_by(|(a, first), (b, second)| a.cmp(b).then(second.kind.rank().total_cmp(&first.kind.rank())));
    Ok(Against {
        dataset: ours.name(),
        other: theirs.name(),
        input: ours.description.input.clone(),
        pairs: mine.len(),
        other_pairs: others.len(),
        notes: notes.lines(),
        flaws,
        found: found.into_iter().map(|(_, found)| found).collect(),
    })
}

/// What was seen, with its pair; or the flaw.
fn kept<'a, T>(seen: Result<T, DataError>, pair: &'a Listed, flaws: &mut Vec<Flaw>) -> Option<(T, &'a Listed)> {
    match seen {
        Ok(seen) => Some((seen, pair)),
        Err(error) => {
            flaws.push(Flaw { pair: Some(pair.id.clone()), problem: error.to_string() });
            None
        }
    }
}

impl Source<'_> {
    fn name(&self) -> String {
        format!("{}, subset {}", self.description.name, self.subset)
    }

    fn pairs(&self, notes: &mut Notes) -> Result<(Vec<Listed>, Vec<Flaw>), DataError> {
        let mut report = Report::new(self.description, self.subset);
        let pairs = listed(self.description, self.root, self.subset, &mut report, notes)?;
        Ok((pairs, report.flaws))
    }
}

/// A pair, read.
struct Photograph {
    pixels: PixelDigests,
    luma: GrayImage,
}

/// What is kept of a pair that is looked for.
struct Sought {
    pixels: PixelDigests,
    /// The whole image, squeezed, and its centre square.
    whole: Image,
    square: Image,
}

impl Photograph {
    fn read(pair: &Listed, readings: Readings) -> Result<Self, DataError> {
        let nir = readings.nir.gray(&pair.files.nir)?.image;
        let rgb: RgbImage = readings.rgb.rgb(&pair.files.rgb)?.image;
        let pixels = PixelDigests { nir: digest(nir.dimensions(), &nir), rgb: digest(rgb.dimensions(), &rgb) };
        Ok(Self { pixels, luma: pillow::luma(&rgb) })
    }

    fn sought(&self, spectra: &Spectra) -> Sought {
        let (width, height) = self.luma.dimensions();
        let side = width.min(height);
        let square = crop_imm(&self.luma, (width - side) / 2, (height - side) / 2, side, side).to_image();
        let image = |luma: &GrayImage| Image::of(&thumbnail(luma), spectra);
        Sought { pixels: self.pixels, whole: image(&self.luma), square: image(&square) }
    }

    /// The places of those that it shows, and how.
    fn holds(&self, sought: &[(Sought, &Listed)], spectra: &Spectra) -> Vec<(usize, Kind)> {
        let whole = Image::of(&thumbnail(&self.luma), spectra);
        let windows: Vec<(Image, Window)> = windows(&self.luma, spectra);
        let kind = |(place, (other, _)): (usize, &(Sought, &Listed))| {
            let equal = equal(self.pixels, other.pixels).map(Kind::Equal);
            let scene =
                || compare(&whole, &other.whole, spectra).filter(|found| found.score >= SHARED).map(Kind::Scene);
            let crop = || {
                let matches =
                    windows.iter().filter_map(|(image, at)| Some(at.placed(compare(image, &other.square, spectra)?)));
                let best = matches.max_by(|a, b| a.score.total_cmp(&b.score));
                best.filter(|found| found.score >= CROP).map(Kind::Crop)
            };
            Some((place, equal.or_else(scene).or_else(crop)?))
        };
        sought.iter().enumerate().filter_map(kind).collect()
    }
}

fn equal(a: PixelDigests, b: PixelDigests) -> Option<Equal> {
    match (a.nir == b.nir, a.rgb == b.rgb) {
        (true, true) => Some(Equal::Pair),
        (true, false) => Some(Equal::Nir),
        (false, true) => Some(Equal::Rgb),
        (false, false) => None,
    }
}

/// A square of a photograph, in parts of its width and height.
#[derive(Clone, Copy)]
struct Window {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl Window {
    /// A match in the window as one in the photograph.
    fn placed(&self, found: Match) -> Match {
        Match {
            right: self.left + found.right * self.width,
            down: self.top + found.down * self.height,
            zoom: found.zoom * self.width,
            ..found
        }
    }
}

fn windows(luma: &GrayImage, spectra: &Spectra) -> Vec<(Image, Window)> {
    let (width, height) = luma.dimensions();
    let scale = (SHORTER / f64::from(width.min(height))).min(1.0);
    let brought = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
    let small = pillow::resize(luma, brought(width), brought(height));
    let (width, height) = small.dimensions();
    let mut windows = Vec::new();
    for part in WINDOWS {
        let side = (f64::from(width.min(height)) * part).round().max(1.0) as u32;
        for top in starts(height, side) {
            for left in starts(width, side) {
                let window = crop_imm(&small, left, top, side, side).to_image();
                let of = |pixels: u32, all: u32| f64::from(pixels) / f64::from(all);
                let (left, top) = (of(left, width), of(top, height));
                let at = Window { left, top, width: of(side, width), height: of(side, height) };
                windows.push((Image::of(&thumbnail(&window), spectra), at));
            }
        }
    }
    windows
}

/// Where windows of that side start, evenly, at most half a side apart.
fn starts(length: u32, side: u32) -> impl Iterator<Item = u32> + Clone {
    let room = length - side;
    let steps = (2 * room).div_ceil(side);
    (0..=steps).map(move |step| (room * step).checked_div(steps).unwrap_or(0))
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dataset, other, pairs, other_pairs, .. } = self;
        writeln!(f, "{pairs} pairs of {dataset}\n  looked for in the {other_pairs} of {other}")?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        let flaws = self.flaws.iter().map(|Flaw { pair, problem }| match pair {
            Some(pair) => format!("{pair}: {problem}"),
            None => problem.clone(),
        });
        section(f, "images that could not be looked at", flaws)?;
        let lines = |of: fn(&Kind) -> bool| {
            self.found.iter().filter(move |found| of(&found.kind)).map(|found| self.line(found))
        };
        section(f, "equal images", lines(|kind| matches!(kind, Kind::Equal(_))))?;
        let title = format!("the same scene (score from {})", scenes::SHARED);
        section(f, &title, lines(|kind| matches!(kind, Kind::Scene(_))))?;
        section(f, &format!("crops (score from {CROP})"), lines(|kind| matches!(kind, Kind::Crop(_))))?;
        writeln!(f, "{} of the {pairs} pairs were found there.", self.pairs_found())
    }
}

impl Against {
    /// How many of the first dataset's pairs are in the second.
    pub fn pairs_found(&self) -> usize {
        let mut names: Vec<&PairId> = self.found.iter().map(|found| &found.pair).collect();
        names.dedup();
        names.len()
    }

    fn line(&self, Found { pair, other, kind }: &Found) -> String {
        let mirrored = |found: &Match| if found.mirrored { ", mirrored" } else { "" };
        match kind {
            Kind::Equal(Equal::Pair) => format!("{pair} = {other}"),
            Kind::Equal(Equal::Nir) => format!("{pair} = {other} ({} only)", self.input),
            Kind::Equal(Equal::Rgb) => format!("{pair} = {other} (RGB only)"),
            Kind::Scene(found) => format!("{pair} ~ {other}: {:.2}{}", found.score, mirrored(found)),
            Kind::Crop(found) => format!(
                "{pair} in {other}: {:.2}, {:.0} % of its width from {:.0} % right, {:.0} % down{}",
                found.score,
                100.0 * found.zoom,
                100.0 * found.right,
                100.0 * found.down,
                mirrored(found)
            ),
        }
    }
}
