//! The files of a dataset's splits, before any is read.

use crate::description::SubsetDescription;
use crate::pattern::{Found, Pattern, folded, wildcard};
use crate::{DataError, Description, Split, SplitDescription, Subset};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Two files of one name.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub name: String,
    pub nir: PathBuf,
    pub rgb: PathBuf,
}

/// A split as it lies in the folder.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// In the order of their names.
    pub pairs: Vec<Files>,
    /// Files that match one pattern and have no partner.
    pub alone: Vec<PathBuf>,
    /// Two files of one name.
    pub ambiguous: Vec<DataError>,
    /// Files that are left out, and why.
    pub left_out: Vec<(PathBuf, &'static str)>,
}

const NOWHERE: &str = "a link that leads nowhere: its pair is left out";
const OTHER_KIND: &str = "has no partner, and another extension than the description's: left out";

/// The files of a split; none if it is not described, or if it may be missing and its folder is not there.
pub(crate) fn list(description: &Description, split: Split, root: &Path) -> Result<Listing, DataError> {
    let Some(described) = description.split.get(split) else { return Ok(Listing::default()) };
    let Some((nir, rgb)) = described.patterns() else { return Ok(Listing::default()) };
    let mut listing = Listing::default();
    let mut named = |pattern: &Pattern| -> Result<BTreeMap<String, Found>, DataError> {
        let path = pattern.folder(root)?;
        if !is_folder(&path)? {
            let missing = DataError::MissingFolder { path, expected: description.expected() };
            return if split == Split::Train { Err(missing) } else { Ok(BTreeMap::new()) };
        }
        Ok(listing.by_name(pattern.files(root)?))
    };
    let (nir, mut rgb) = (named(&nir)?, named(&rgb)?);
    for (name, nir) in nir {
        match rgb.remove(&name) {
            Some(rgb) => listing.pair(name, nir, rgb),
            None => listing.alone(nir),
        }
    }
    rgb.into_values().for_each(|rgb| listing.alone(rgb));
    Ok(listing)
}

/// Whether the folder is there. What is in its place, or cannot be looked at, is an error: a split is empty only where
/// nothing is.
fn is_folder(path: &Path) -> Result<bool, DataError> {
    let failed = |source| DataError::Io { path: path.to_path_buf(), source };
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(true),
        Ok(_) => Err(failed(io::Error::other("a file in the place of a folder of images: move it away"))),
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Err(failed(error)),
        Err(_) if path.is_symlink() => {
            let what = "a link to a folder that is not there: restore that, or remove the link";
            Err(failed(io::Error::other(what)))
        }
        Err(_) => Ok(false),
    }
}

impl Listing {
    /// One file a name: that of the pattern's own extension, if there is one.
    fn by_name(&mut self, files: Vec<Found>) -> BTreeMap<String, Found> {
        let mut names: BTreeMap<String, Found> = BTreeMap::new();
        let (other, own): (Vec<Found>, Vec<Found>) = files.into_iter().partition(|file| file.other_kind);
        for file in own.into_iter().chain(other) {
            match names.entry(file.name.clone()) {
                Entry::Vacant(entry) => _ = entry.insert(file),
                // The same photograph in another format, e.g. a preview.
                Entry::Occupied(entry) if file.other_kind != entry.get().other_kind => {}
                Entry::Occupied(entry) => {
                    let (path, other) = (entry.get().path.clone(), file.path);
                    self.ambiguous.push(DataError::SameName { path, other });
                }
            }
        }
        names
    }

    fn pair(&mut self, name: String, nir: Found, rgb: Found) {
        let broken: Vec<&Found> = [&nir, &rgb].into_iter().filter(|file| file.broken).collect();
        if broken.is_empty() {
            self.pairs.push(Files { name, nir: nir.path, rgb: rgb.path });
        } else {
            self.left_out.extend(broken.into_iter().map(|file| (file.path.clone(), NOWHERE)));
        }
    }

    fn alone(&mut self, file: Found) {
        match file {
            Found { broken: true, path, .. } => self.left_out.push((path, NOWHERE)),
            Found { other_kind: true, path, .. } => self.left_out.push((path, OTHER_KIND)),
            Found { path, .. } => self.alone.push(path),
        }
    }
}

/// Where the pairs of a split lie once a subset has chosen.
pub(crate) struct Chosen {
    /// The split that they are listed in.
    pub from: Split,
    /// Their places there, from 0.
    pub places: Vec<usize>,
    /// Whether they were held out of the training pairs.
    pub held_out: bool,
}

/// Where the pairs of a split lie once a subset has chosen.
///
/// `names` are those of every listed pair. A split that is not there has no pair to choose.
pub(crate) fn choose(
    description: &Description,
    subset: &Subset,
    split: Split,
    names: &BTreeMap<Split, Vec<String>>,
) -> Result<Chosen, DataError> {
    let choices = description.choices(subset)?;
    let holdout = Holdout::of(description, choices, names);
    let (from, places) = selected(description, subset, split, names)?;
    let chosen = Chosen { from, places, held_out: false };
    let Some(holdout) = holdout.filter(|_| split != Split::Test) else { return Ok(chosen) };
    let (stay, held) = holdout.parted(selected(description, subset, Split::Train, names)?.1, names);
    let held_out = split == Split::Validation;
    Ok(Chosen { from: Split::Train, places: if held_out { held } else { stay }, held_out })
}

/// As [`choose`], before anything is held out.
fn selected(
    description: &Description,
    subset: &Subset,
    split: Split,
    names: &BTreeMap<Split, Vec<String>>,
) -> Result<(Split, Vec<usize>), DataError> {
    let selection = description.choices(subset)?.map(|choices| choices.get(split));
    let from = selection.and_then(|selection| selection.from).unwrap_or(split);
    let names = names.get(&from).map(Vec::as_slice).unwrap_or_default();
    let all = 0..names.len();
    let Some(selection) = selection.filter(|_| !names.is_empty()) else { return Ok((from, all.collect())) };
    let choice = Choice { subset, from, names, described: description.split.get(from) };
    let only = match (&selection.only, &selection.only_places) {
        (None, None) => all.collect(),
        (only, places) => choice.both(only.as_deref(), places.as_deref())?,
    };
    let without = choice.both(Some(&selection.without), Some(&selection.without_places))?;
    Ok((from, only.difference(&without).copied().collect()))
}

/// A part of the training pairs that validates, where there is no other validation pair.
#[derive(Clone, Copy)]
struct Holdout {
    part: f64,
    seed: u64,
}

impl Holdout {
    /// None if the description asks for none, there are validation pairs, or the subset has its own.
    fn of(
        description: &Description,
        choices: Option<&SubsetDescription>,
        names: &BTreeMap<Split, Vec<String>>,
    ) -> Option<Self> {
        let own = choices.is_some_and(|choices| choices.validation.from.is_some());
        let empty = names.get(&Split::Validation).is_none_or(Vec::is_empty);
        let part = description.holdout.filter(|_| empty && !own)?;
        Some(Self { part, seed: description.holdout_seed })
    }

    /// The places that stay and those that are held out, which depend on seed and names alone: at least one of either, if
    /// there are two.
    fn parted(self, places: Vec<usize>, names: &BTreeMap<Split, Vec<String>>) -> (Vec<usize>, Vec<usize>) {
        let names = names.get(&Split::Train).map(Vec::as_slice).unwrap_or_default();
        let seed = self.seed;
        let rank = |place: &usize| *blake3::hash(format!("holdout {seed} {}", names[*place]).as_bytes()).as_bytes();
        let mut order = places.clone();
        order.sort_by_cached_key(rank);
        let most = places.len().saturating_sub(1);
        let count = ((places.len() as f64 * self.part).round() as usize).clamp(most.min(1), most);
        let held: BTreeSet<usize> = order.into_iter().take(count).collect();
        places.into_iter().partition(|place| !held.contains(place))
    }
}

struct Choice<'a> {
    subset: &'a Subset,
    from: Split,
    names: &'a [String],
    described: Option<&'a SplitDescription>,
}

impl Choice<'_> {
    /// The places of the names and the places, together.
    fn both(&self, names: Option<&[String]>, places: Option<&[usize]>) -> Result<BTreeSet<usize>, DataError> {
        let mut found = BTreeSet::new();
        for name in names.unwrap_or_default() {
            let places: Vec<usize> = self.named(name).collect();
            if places.is_empty() {
                return Err(self.missing(format!("there is no pair {name}")));
            }
            found.extend(places);
        }
        // A place means a certain pair only where all are there.
        let expected = self.described.and_then(|split| split.pairs).unwrap_or(self.names.len());
        for place in places.unwrap_or_default() {
            if expected != self.names.len() || !(1..=expected).contains(place) {
                return Err(self.missing(format!("there are {} pairs instead of {expected}", self.names.len())));
            }
            found.insert(place - 1);
        }
        Ok(found)
    }

    fn named(&self, name: &str) -> impl Iterator<Item = usize> {
        let (plain, wildcard) = (folded(name), name.contains('*').then(|| wildcard(name)).flatten());
        let fits = move |name: &String| match &wildcard {
            Some(wildcard) => wildcard.is_match(name),
            None => *name == plain,
        };
        self.names.iter().enumerate().filter(move |(_, name)| fits(name)).map(|(place, _)| place)
    }

    fn missing(&self, missing: String) -> DataError {
        DataError::Incomplete { subset: self.subset.clone(), split: self.from, missing }
    }
}
