use super::OFF;
use super::registration::Offset;
use super::scenes::{Match, SHARED};
use super::sight::Sight;
use crate::{Description, Split, Subset};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A pair by its split and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PairId {
    /// The split of the subset that was checked.
    pub split: Split,
    /// The pair's name.
    pub name: String,
}

impl fmt::Display for PairId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.split, self.name)
    }
}

/// A split's pairs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SplitReport {
    /// The split.
    pub split: Split,
    /// The split of the folder that the subset takes its pairs from; mostly the same.
    pub from: Split,
    /// Pairs there.
    pub found: usize,
    /// Pairs there as distributed, if known.
    pub expected: Option<usize>,
    /// Pairs that the subset takes.
    pub chosen: usize,
    /// Names of those that have no equal image in any other split.
    pub alone: Vec<String>,
}

/// Something wrong with an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flaw {
    /// The pair, if the image has a partner.
    pub pair: Option<PairId>,
    /// What is wrong.
    pub problem: String,
}

/// A pair whose images are off by more than [`OFF`] pixels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Misregistered {
    /// The pair.
    pub pair: PairId,
    /// By how much.
    pub offset: Offset,
    /// Length of the shift in pixels.
    pub pixels: f64,
}

/// Which images of two pairs are equal, pixel by pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Equal {
    /// Both.
    Pair,
    /// The first images only, e.g. NIR.
    Nir,
    /// The RGB images only.
    Rgb,
}

/// Two pairs with equal images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Duplicate {
    /// The pair that comes first.
    pub first: PairId,
    /// The other.
    pub second: PairId,
    /// What is equal.
    pub equal: Equal,
}

/// Two pairs that show the same scene, as far as their RGB images tell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SharedScene {
    /// The pair that comes first.
    pub first: PairId,
    /// The other.
    pub second: PairId,
    /// How they match.
    pub found: Match,
}

/// What a check found. Pairs that have equal RGB images are under `duplicates`, not under `shared_scenes`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The dataset's name.
    pub dataset: String,
    /// The subset.
    pub subset: String,
    /// What the first image of a pair is, e.g. `NIR`.
    pub input: String,
    /// What its description says against the subset.
    pub warning: Option<String>,
    /// What is taken of files that hold more than an image of 8 bits.
    pub notes: Vec<String>,
    /// Counts, by split.
    pub splits: Vec<SplitReport>,
    /// Images that are unreadable, flat, of the wrong size or without a partner.
    pub flaws: Vec<Flaw>,
    /// Pairs whose NIR image is the luma of the RGB image.
    pub gray_nir: Vec<PairId>,
    /// Pairs that are off, the worst first.
    pub misregistered: Vec<Misregistered>,
    /// Pairs that have equal images.
    pub duplicates: Vec<Duplicate>,
    /// Pairs that show the same scene, the most alike first.
    pub shared_scenes: Vec<SharedScene>,
}

impl Report {
    pub(super) fn new(description: &Description, subset: &Subset) -> Self {
        Self {
            dataset: description.name.clone(),
            subset: subset.to_string(),
            input: description.input.clone(),
            warning: description.warning(subset).map(str::to_string),
            notes: Vec::new(),
            splits: Vec::new(),
            flaws: Vec::new(),
            gray_nir: Vec::new(),
            misregistered: Vec::new(),
            duplicates: Vec::new(),
            shared_scenes: Vec::new(),
        }
    }

    /// Whether two splits share an equal image or a scene.
    pub fn has_leaks(&self) -> bool {
        let across = |first: &PairId, second: &PairId| first.split != second.split;
        self.duplicates.iter().any(|d| across(&d.first, &d.second))
            || self.shared_scenes.iter().any(|s| across(&s.first, &s.second))
    }

    /// The duplicates between two splits, or within one if both are the same.
    pub fn duplicates_between(&self, a: Split, b: Split) -> impl Iterator<Item = &Duplicate> {
        self.duplicates.iter().filter(move |d| joins(&d.first, &d.second, a, b))
    }

    /// The shared scenes between two splits, or within one if both are the same.
    pub fn scenes_between(&self, a: Split, b: Split) -> impl Iterator<Item = &SharedScene> {
        self.shared_scenes.iter().filter(move |s| joins(&s.first, &s.second, a, b))
    }

    pub(super) fn add_sight(&mut self, pair: &PairId, sight: &Sight) {
        self.gray_nir.extend(sight.gray.map(|_| pair.clone()));
        let off = sight.offset.filter(|offset| offset.pixels() > OFF);
        let off = off.map(|offset| Misregistered { pair: pair.clone(), offset, pixels: offset.pixels() });
        self.misregistered.extend(off);
    }

    pub(super) fn add_duplicates(&mut self, pairs: &[&PairId], sights: &[Sight]) {
        let mut equal: BTreeMap<(usize, usize), (bool, bool)> = BTreeMap::new();
        for (a, b) in repeated(sights.iter().map(|sight| sight.nir)) {
            equal.entry((a, b)).or_default().0 = true;
        }
        for (a, b) in repeated(sights.iter().map(|sight| sight.rgb)) {
            equal.entry((a, b)).or_default().1 = true;
        }
        let duplicates = equal.into_iter().map(|((a, b), equal)| Duplicate {
            first: pairs[a].clone(),
            second: pairs[b].clone(),
            equal: match equal {
                (true, true) => Equal::Pair,
                (true, false) => Equal::Nir,
                _ => Equal::Rgb,
            },
        });
        self.duplicates.extend(duplicates);
        let across = self.duplicates.iter().filter(|d| d.first.split != d.second.split);
        let shared: BTreeSet<&PairId> = across.flat_map(|d| [&d.first, &d.second]).collect();
        for split in &mut self.splits {
            let alone = pairs.iter().filter(|pair| pair.split == split.split && !shared.contains(*pair));
            split.alone = alone.map(|pair| pair.name.clone()).collect();
        }
    }

    pub(super) fn add_match(&mut self, first: &PairId, second: &PairId, found: Match) {
        let (first, second) = (first.clone(), second.clone());
        let equal = |d: &Duplicate| d.first == first && d.second == second && d.equal != Equal::Nir;
        if !self.duplicates.iter().any(equal) {
            self.shared_scenes.push(SharedScene { first, second, found });
        }
    }

    pub(super) fn finish(&mut self) {
        self.misregistered.sort_by(|a, b| b.pixels.total_cmp(&a.pixels));
        self.shared_scenes.sort_by(|a, b| b.found.score.total_cmp(&a.found.score));
    }
}

fn joins(first: &PairId, second: &PairId, a: Split, b: Split) -> bool {
    (first.split, second.split) == (a, b) || (first.split, second.split) == (b, a)
}

/// The places of equal values, two by two.
fn repeated(digests: impl Iterator<Item = Option<blake3::Hash>>) -> Vec<(usize, usize)> {
    let mut places: BTreeMap<[u8; 32], Vec<usize>> = BTreeMap::new();
    for (place, digest) in digests.enumerate() {
        let Some(digest) = digest else { continue };
        places.entry(*digest.as_bytes()).or_default().push(place);
    }
    let twos = |places: Vec<usize>| {
        let second =
            |(i, a): (usize, usize), places: &[usize]| places[i + 1..].iter().map(|b| (a, *b)).collect::<Vec<_>>();
        places.iter().copied().enumerate().flat_map(|at| second(at, &places)).collect::<Vec<_>>()
    };
    places.into_values().flat_map(twos).collect()
}

/// Lines in a list of the text; the rest is counted.
const LISTED: usize = 40;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, subset {}", self.dataset, self.subset)?;
        for SplitReport { split, from, found, expected, chosen, alone } in &self.splits {
            let expected = expected.map(|expected| format!(" of {expected}")).unwrap_or_default();
            let from = if from == split { String::new() } else { format!(" in {from}") };
            let alone = alone.len();
            writeln!(
                f,
                "  {split:<10} {found}{expected} pairs{from}, {chosen} taken, {alone} with no equal in other splits"
            )?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        if let Some(warning) = &self.warning {
            writeln!(f, "warning: {warning}")?;
        }
        let flaws = self.flaws.iter().map(|Flaw { pair, problem }| match pair {
            Some(pair) => format!("{pair}: {problem}"),
            None => problem.clone(),
        });
        section(f, "images that cannot be used or look wrong", flaws)?;
        let input = &self.input;
        section(
            f,
            &format!("{input} images that are the luma of their RGB image"),
            self.gray_nir.iter().map(ToString::to_string),
        )?;
        let off = self.misregistered.iter().map(|Misregistered { pair, offset, pixels }| {
            format!("{pair}: {pixels:.1} pixels ({:+} right, {:+} down)", offset.right, offset.down)
        });
        section(f, &format!("pairs off by more than {OFF} pixels"), off)?;
        let equal = |d: &Duplicate| {
            let what = match d.equal {
                Equal::Pair => String::new(),
                Equal::Nir => format!(" ({input} only)"),
                Equal::Rgb => " (RGB only)".to_string(),
            };
            format!("{} = {}{what}", d.first, d.second)
        };
        let shared = |s: &SharedScene| {
            let mirrored = if s.found.mirrored { ", mirrored" } else { "" };
            format!("{} ~ {}: {:.2}{mirrored}", s.first, s.second, s.found.score)
        };
        for (a, b) in crossings() {
            section(f, &format!("equal images, {}", between(a, b)), self.duplicates_between(a, b).map(equal))?;
        }
        for (a, b) in crossings() {
            let title = format!("shared scenes (score from {SHARED}), {}", between(a, b));
            section(f, &title, self.scenes_between(a, b).map(shared))?;
        }
        writeln!(f, "{}", if self.has_leaks() { "The splits overlap." } else { "No overlap of the splits was found." })
    }
}

fn between(a: Split, b: Split) -> String {
    if a == b { format!("within {a}") } else { format!("{a} and {b}") }
}

/// Every two splits, different ones first.
fn crossings() -> Vec<(Split, Split)> {
    use Split::{Test, Train, Validation};
    vec![(Train, Test), (Validation, Test), (Train, Validation), (Train, Train), (Validation, Validation), (Test, Test)]
}

pub(super) fn section(f: &mut fmt::Formatter<'_>, title: &str, lines: impl Iterator<Item = String>) -> fmt::Result {
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(f, "{title}: {}", lines.len())?;
    for line in lines.iter().take(LISTED) {
        writeln!(f, "  {line}")?;
    }
    match lines.len().saturating_sub(LISTED) {
        0 => Ok(()),
        more => writeln!(f, "  and {more} more"),
    }
}
