//! The files of a dataset's splits, before any is read.

use crate::pattern::{Pattern, wildcard};
use crate::{DataError, Description, Split, SplitDescription, Subset};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Two files of one name.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub name: String,
    pub nir: PathBuf,
    pub rgb: PathBuf,
}

/// A split as it lies in the folder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    /// In the order of their names.
    pub pairs: Vec<Files>,
    /// Files that match one pattern and have no partner.
    pub alone: Vec<PathBuf>,
}

/// The files of a split; none if it is not described, or if it may be missing and its folder is not there.
pub(crate) fn list(description: &Description, split: Split, root: &Path) -> Result<Listing, DataError> {
    let Some(described) = description.split.get(split) else { return Ok(Listing::default()) };
    let Some((nir, rgb)) = described.patterns() else { return Ok(Listing::default()) };
    let mut listing = Listing::default();
    let mut named = |pattern: &Pattern| -> Result<BTreeMap<String, PathBuf>, DataError> {
        let path = pattern.folder(root);
        if !path.is_dir() {
            let missing = DataError::MissingFolder { path, expected: description.expected() };
            return if split == Split::Train { Err(missing) } else { Ok(BTreeMap::new()) };
        }
        let mut names = BTreeMap::new();
        for (name, path) in pattern.files(root)? {
            // Two names that differ in case alone cannot both have the partner.
            listing.alone.extend(names.insert(name, path));
        }
        Ok(names)
    };
    let (nir, mut rgb) = (named(&nir)?, named(&rgb)?);
    for (stars, nir) in nir {
        match rgb.remove(&stars) {
            Some(rgb) => listing.pairs.push(Files { name: stars, nir, rgb }),
            None => listing.alone.push(nir),
        }
    }
    listing.alone.extend(rgb.into_values());
    Ok(listing)
}

/// Where the pairs of a split lie once a subset has chosen: the split they are listed in, and their places there from 0.
///
/// `names` are those of every listed pair. A split that is not there has no pair to choose.
pub(crate) fn choose(
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
        let wildcard = wildcard(name);
        let fits = move |name: &String| wildcard.as_ref().is_some_and(|wildcard| wildcard.is_match(name));
        self.names.iter().enumerate().filter(move |(_, name)| fits(name)).map(|(place, _)| place)
    }

    fn missing(&self, missing: String) -> DataError {
        DataError::Incomplete { subset: self.subset.clone(), split: self.from, missing }
    }
}
