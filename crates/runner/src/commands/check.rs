//! Looks for what is wrong in a folder of photographs.

use crate::images::{sheet, write_png};
use crate::progress::{Verbosity, bar, print};
use crate::usage::Usage;
use anyhow::{Context, Result, bail};
use colormamba_data::check::{PairId, Report, check as look, read};
use colormamba_data::{DataError, Description, Subset};
use image::{DynamicImage, RgbImage};
use std::path::{Path, PathBuf};

/// What to look at.
pub struct Check {
    /// A known description, or the path of one.
    pub dataset: String,
    /// The folder.
    pub data: PathBuf,
    /// Which of the dataset's splits.
    pub subset: Subset,
    /// Where the worst pairs are shown.
    pub sheet: Option<PathBuf>,
    /// How much to say.
    pub verbosity: Verbosity,
}

/// Rows of the sheet of each kind of finding.
const SHOWN: usize = 6;

/// Prints a report, and fails if a pair, or a scene, is in more than one split.
///
/// # Errors
/// [`Usage`] for an unknown dataset or subset, a folder that cannot be listed, and leaks.
pub fn check(args: &Check) -> Result<()> {
    let usage = |e: DataError| match e {
        DataError::Subset { .. } => anyhow::Error::from(Usage(e.to_string())),
        other => other.into(),
    };
    let description = Description::find(&args.dataset).map_err(|e| Usage(e.to_string()))?;
    description.choices(&args.subset).map_err(usage)?;
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
    if let Some(path) = &args.sheet {
        write_sheet(args, &description, &report, path)?;
    }
    if report.has_leaks() {
        bail!("{}, subset {}: pairs or scenes are in more than one split", description.name, args.subset);
    }
    Ok(())
}

/// The furthest misregistered pairs, then duplicates and shared scenes side by side.
fn write_sheet(args: &Check, description: &Description, report: &Report, path: &Path) -> Result<()> {
    let mut rows = Vec::new();
    let pair = |id: &PairId| -> Result<[RgbImage; 2]> {
        let pair = read(description, &args.data, &args.subset, id)?;
        Ok([DynamicImage::ImageLuma8(pair.nir).into_rgb8(), pair.rgb])
    };
    let mut far: Vec<_> = report.misregistered.iter().collect();
    far.sort_by(|a, b| b.pixels.total_cmp(&a.pixels));
    for found in far.into_iter().take(SHOWN) {
        let [nir, rgb] = pair(&found.pair)?;
        rows.push(vec![nir, rgb]);
    }
    let duplicates = report.duplicates.iter().map(|found| (&found.first, &found.second)).take(SHOWN);
    let scenes = report.shared_scenes.iter().filter(|found| found.first.split != found.second.split);
    for (first, second) in duplicates.chain(scenes.map(|found| (&found.first, &found.second)).take(SHOWN)) {
        let ([nir, rgb], [other_nir, other_rgb]) = (pair(first)?, pair(second)?);
        rows.push(vec![nir, rgb, other_nir, other_rgb]);
    }
    if rows.is_empty() {
        return Ok(());
    }
    let labels = ["NIR", "RGB", "other NIR", "other RGB"].map(String::from);
    write_png(path, &sheet(&labels, &rows)).with_context(|| format!("the sheet {}", path.display()))
}
