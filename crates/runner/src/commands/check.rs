//! Looks for what is wrong in a folder of photographs.

use crate::inputs::dataset::without_validation;
use crate::report::images::{placeholder, sheet, write_png};
use crate::system::output::ensure_writable;
use crate::system::terminal::{Verbosity, bar, note, print};
use crate::system::usage::UsageError;
use anyhow::{Context, Result, bail, ensure};
use colormamba_data::check::{PairId, Report, Source, against, check as look, files};
use colormamba_data::{DataError, Description, Split, Subset, read_gray, read_rgb};
use image::{DynamicImage, RgbImage};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What to look at.
pub struct Check {
    /// A known description, or the path of one.
    pub dataset: String,
    /// The folder.
    pub data: PathBuf,
    /// Which of the dataset's splits.
    pub subset: Subset,
    /// Where to look for its images, instead of at its splits.
    pub against: Option<Other>,
    /// Where the worst pairs are shown.
    pub sheet: Option<PathBuf>,
    /// Whether a file there may be replaced.
    pub force: bool,
    /// How much to say.
    pub verbosity: Verbosity,
}

/// Another dataset.
pub struct Other {
    /// A known description, or the path of one.
    pub dataset: String,
    /// The folder.
    pub data: PathBuf,
    /// Which of its splits.
    pub subset: Subset,
}

/// Rows of the sheet of each kind of finding.
const SHOWN: usize = 6;

fn usage(error: DataError) -> anyhow::Error {
    match error {
        DataError::Subset { .. } => UsageError(error.to_string()).into(),
        other => other.into(),
    }
}

fn described(dataset: &str, subset: &Subset) -> Result<Description> {
    let description = Description::find(dataset).map_err(|e| UsageError(e.to_string()))?;
    description.choices(subset).map_err(usage)?;
    Ok(description)
}

/// Prints a report, and fails if a pair, or a scene, is in more than one split, or in the other dataset.
///
/// # Errors
/// [`UsageError`] for an unknown dataset or subset, a folder that cannot be listed, and leaks.
pub fn check(args: &Check) -> Result<()> {
    if let Some(sheet) = &args.sheet {
        ensure_writable(sheet, args.force, [Path::new(&args.dataset), &args.data])?;
    }
    let description = described(&args.dataset, &args.subset)?;
    if let Some(other) = &args.against {
        return check_against(args, &description, other);
    }
    let bar = bar(args.verbosity, 0, "{wide_bar} {percent} % {eta} left")?;
    let mut show = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let report = look(&description, &args.data, &args.subset, &mut show).map_err(usage)?;
    bar.finish_and_clear();
    if report.splits.iter().all(|split| split.found == 0) {
        bail!(
            "{}: no image follows the names of {}: {}",
            args.data.display(),
            description.name,
            description.split.train.nir
        );
    }
    match args.verbosity {
        Verbosity::Json => print(&(serde_json::to_string(&report)? + "\n"))?,
        Verbosity::Normal | Verbosity::Quiet => print(&format!("{report}\n"))?,
    }
    if report.splits.iter().any(|split| split.split == Split::Validation && split.chosen == 0) {
        note(&format!("warning: {}", without_validation(&args.subset.of(&description.name))));
    }
    if let Some(path) = &args.sheet {
        write_sheet(args, &description, &report, path)?;
    }
    if report.has_leaks() {
        bail!("{}, subset {}: pairs or scenes are in more than one split", description.name, args.subset);
    }
    Ok(())
}

fn check_against(args: &Check, description: &Description, other: &Other) -> Result<()> {
    let theirs = described(&other.dataset, &other.subset)?;
    let ours = Source { description, root: &args.data, subset: &args.subset };
    let theirs = Source { description: &theirs, root: &other.data, subset: &other.subset };
    let bar = bar(args.verbosity, 0, "{wide_bar} {percent} % {eta} left")?;
    let found = against(&ours, &theirs, &mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let found = found.map_err(usage)?;
    for (pairs, root, name) in
        [(found.pairs, &args.data, &args.dataset), (found.other_pairs, &other.data, &other.dataset)]
    {
        ensure!(pairs > 0, "{}: no image follows the names of {name}", root.display());
    }
    match args.verbosity {
        Verbosity::Json => print(&(serde_json::to_string(&found)? + "\n"))?,
        Verbosity::Normal | Verbosity::Quiet => print(&format!("{found}\n"))?,
    }
    ensure!(
        found.found.is_empty(),
        "{} of the {} pairs of {} are in {}",
        found.pairs_found(),
        found.pairs,
        found.dataset,
        found.other
    );
    Ok(())
}

/// Flawed pairs, NIR images that are none and the furthest misregistered pairs, then duplicates and shared scenes side
/// by side. Without any, the sheet says so: who asks for the file gets it.
fn write_sheet(args: &Check, description: &Description, report: &Report, path: &Path) -> Result<()> {
    let pair = |id: &PairId| tiles(files(description, &args.data, &args.subset, id).ok());
    let flawed: BTreeSet<&PairId> = report.flaws.iter().filter_map(|flaw| flaw.pair.as_ref()).collect();
    let off = report.misregistered.iter().map(|found| &found.pair);
    let single = flawed.into_iter().take(SHOWN).chain(report.gray_nir.iter().take(SHOWN)).chain(off.take(SHOWN));
    let mut rows: Vec<Vec<RgbImage>> = single.map(|id| pair(id).into()).collect();
    let duplicates = report.duplicates.iter().map(|found| (&found.first, &found.second)).take(SHOWN);
    let scenes = report.shared_scenes.iter().filter(|found| found.first.split != found.second.split);
    let scenes = scenes.map(|found| (&found.first, &found.second)).take(SHOWN);
    rows.extend(duplicates.chain(scenes).map(|(first, second)| [pair(first), pair(second)].concat()));
    let labels = match rows.is_empty() {
        true => vec!["No pair to show.".to_string()],
        false => {
            let input = &description.input;
            vec![input.clone(), "RGB".to_string(), format!("other {input}"), "other RGB".to_string()]
        }
    };
    write_png(path, &sheet(&labels, &rows)).with_context(|| format!("the sheet {}", path.display()))
}

/// The NIR and the RGB image of a pair; a placeholder for one that cannot be read, as large as the other.
fn tiles(files: Option<(PathBuf, PathBuf)>) -> [RgbImage; 2] {
    let (nir, rgb) = files.unzip();
    let nir = nir.and_then(|path| read_gray(path).ok()).map(|nir| DynamicImage::ImageLuma8(nir).into_rgb8());
    let rgb = rgb.and_then(|path| read_rgb(path).ok());
    let size = nir.as_ref().or(rgb.as_ref()).map(RgbImage::dimensions);
    [nir, rgb].map(|image| image.unwrap_or_else(|| placeholder("unreadable", size)))
}
