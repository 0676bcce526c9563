//! Whether a folder of photographs is fit for training and for measuring.
//!
//! [`check`] looks at every image of a dataset's splits and at every two of them: unusable files, NIR images that are none,
//! pairs that are off ([`registration`]), equal images, and images that show the same scene ([`scenes`]). [`against`] looks
//! for the images of one dataset in another.

mod against;
mod plane;
pub mod registration;
mod report;
pub mod scenes;
mod sight;

pub use against::{Against, CROP, Found, Kind, Source, against};
pub use registration::Offset;
pub use report::{Duplicate, Equal, Flaw, Misregistered, PairId, Report, SharedScene, SplitReport};
pub use scenes::Match;

use crate::listing::{Chosen, Files, choose, list};
use crate::notes::Notes;
use crate::photographs::Readings;
use crate::{DataError, Description, Split, Subset};
use rayon::prelude::*;
use sight::{Sight, look};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A pair is misregistered if its images are off by more than this many pixels.
pub const OFF: f64 = 2.0;
/// Pairs that are looked at between two reports of progress.
const CHUNK: usize = 16;

/// A pair of a split, and where it lies.
struct Listed {
    id: PairId,
    files: Files,
}

/// Looks at the splits of `subset` in a folder. `progress` gets how much is done, of how much.
///
/// What is wrong with images is in the report. The result depends on the files alone. It takes one look at each pair and one
/// comparison for every two, both on all of rayon's threads.
///
/// # Errors
/// [`DataError::MissingFolder`], [`DataError::Io`] if a folder cannot be listed, [`DataError::Subset`] or
/// [`DataError::Incomplete`] if the subset cannot be chosen.
pub fn check(
    description: &Description,
    root: &Path,
    subset: &Subset,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Report, DataError> {
    let mut report = Report::new(description, subset);
    let mut notes = Notes::default();
    let pairs = listed(description, root, subset, &mut report, &mut notes)?;
    let total = 2 * pairs.len();
    progress(0, total);
    let readings = Readings::of(description, pairs.iter().map(|pair| &pair.files), &mut notes)?;
    let mut sights = Vec::with_capacity(pairs.len());
    for chunk in pairs.chunks(CHUNK) {
        sights.par_extend(chunk.par_iter().map(|pair| look(&pair.files, readings, description)));
        progress(sights.len(), total);
    }
    report.flaws.extend(flaws(description, &pairs, &sights));
    for (pair, sight) in pairs.iter().zip(&sights) {
        report.add_sight(&pair.id, sight);
        sight.notes.iter().for_each(|note| notes.add(&pair.files.nir, note.clone()));
        let note = sight.size.and_then(|size| description.fit.note(size));
        note.into_iter().for_each(|note| notes.add(&pair.files.rgb, note));
    }
    report.notes = notes.lines();
    report.add_duplicates(&pairs.iter().map(|pair| &pair.id).collect::<Vec<_>>(), &sights);
    let thumbnails: Vec<_> = sights.into_iter().map(|sight| sight.thumbnail).collect();
    let matches = scenes::matches(&thumbnails, scenes::SHARED, &mut |rows| progress(pairs.len() + rows, total));
    for (a, b, found) in matches {
        report.add_match(&pairs[a].id, &pairs[b].id, found);
    }
    report.finish();
    Ok(report)
}

/// Where the NIR and the RGB image of a pair lie that a report names, to show them.
///
/// # Errors
/// Those of [`check`], and [`DataError::Incomplete`] if there is no such pair.
pub fn files(
    description: &Description,
    root: &Path,
    subset: &Subset,
    id: &PairId,
) -> Result<(PathBuf, PathBuf), DataError> {
    let pairs = listed(description, root, subset, &mut Report::new(description, subset), &mut Notes::default())?;
    let missing = || {
        let missing = format!("there is no pair {}", id.name);
        DataError::Incomplete { subset: subset.clone(), split: id.split, missing }
    };
    let pair = pairs.into_iter().find(|pair| pair.id == *id).ok_or_else(missing)?;
    Ok((pair.files.nir, pair.files.rgb))
}

/// The pairs of the subset by split and name.
fn listed(
    description: &Description,
    root: &Path,
    subset: &Subset,
    report: &mut Report,
    notes: &mut Notes,
) -> Result<Vec<Listed>, DataError> {
    let (mut names, mut files) = (BTreeMap::new(), BTreeMap::new());
    for split in Split::ALL {
        let listing = list(description, split, root)?;
        let alone = listing.alone.into_iter().map(|path| DataError::Unpaired { path });
        let wrong = listing.ambiguous.into_iter().chain(alone);
        report.flaws.extend(wrong.map(|error| Flaw { pair: None, problem: error.to_string() }));
        listing.left_out.into_iter().for_each(|(path, why)| notes.add(&path, why.to_string()));
        names.insert(split, listing.pairs.iter().map(|files| files.name.clone()).collect::<Vec<_>>());
        files.insert(split, listing.pairs);
    }
    let mut pairs = Vec::new();
    for split in Split::ALL {
        let Chosen { from, places, .. } = choose(description, subset, split, &names)?;
        let expected = description.split.get(from).and_then(|split| split.pairs);
        let (found, chosen) = (files[&from].len(), places.len());
        report.splits.push(SplitReport { split, from, found, expected, chosen, alone: Vec::new() });
        pairs.extend(places.iter().map(|place| {
            let files = files[&from][*place].clone();
            Listed { id: PairId { split, name: files.name.clone() }, files }
        }));
    }
    Ok(pairs)
}

/// What is wrong with single images.
fn flaws(description: &Description, pairs: &[Listed], sights: &[Sight]) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    for (pair, sight) in pairs.iter().zip(sights) {
        let mut problems = sight.problems.clone();
        let wrong = description.size.zip(sight.size).filter(|(expected, size)| expected != size);
        problems.extend(
            wrong.map(|((width, height), size)| format!("{}x{} pixels instead of {width}x{height}", size.0, size.1)),
        );
        flaws.extend(problems.into_iter().map(|problem| Flaw { pair: Some(pair.id.clone()), problem }));
    }
    flaws
}
