//! Procedural scenes as files.

use crate::inputs::folder::images;
use crate::manifest::{LARGEST_SIDE, MOST_SCENES};
use crate::system::files::is_folder;
use crate::system::output::ensure_all_writable;
use crate::system::terminal::print;
use crate::system::usage::UsageError;
use crate::system::words::count;
use anyhow::{Result, ensure};
use colormamba_data::{Synthetic, SyntheticConfig, synthetic};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Width and height of the smallest images that a network takes.
const SMALLEST_SIDE: u32 = 64;

/// What to make.
pub struct Synth {
    /// Where the folders of the VCIP layout go.
    pub out: PathBuf,
    /// Whether images there may be replaced.
    pub force: bool,
    /// Pairs in the training split; the other two get an eighth of it each, but at least one.
    pub count: usize,
    /// Width and height in pixels.
    pub size: u32,
    /// Decides on every scene.
    pub seed: u64,
}

/// Writes the pairs and says how many.
///
/// # Errors
/// [`UsageError`] for a size or count out of range, and for a folder with other images; one that cannot be written.
pub fn synth(args: &Synth) -> Result<()> {
    ensure!(
        (SMALLEST_SIDE..=LARGEST_SIDE).contains(&args.size),
        UsageError(format!(
            "--size {} is not from {SMALLEST_SIDE}, the least that a network takes, to {LARGEST_SIDE}",
            args.size
        ))
    );
    ensure!(
        (1..=MOST_SCENES).contains(&args.count),
        UsageError(format!("--count {} is not from 1 to {MOST_SCENES} training pairs", args.count))
    );
    let held_out = (args.count / 8).max(1);
    let dataset = Synthetic::new(SyntheticConfig {
        seed: args.seed,
        width: args.size,
        height: args.size,
        train: args.count,
        validation: held_out,
        test: held_out,
    })
    .map_err(|e| UsageError(e.to_string()))?;
    let files: Vec<PathBuf> = synthetic::vcip_layout(&dataset).map(|file| args.out.join(file)).collect();
    ensure_no_others(&files)?;
    ensure_all_writable(&files, args.force, [])?;
    let pairs = synthetic::write_vcip_layout(&dataset, &args.out)?;
    print(&format!("{} in {}\n", count(pairs, "pair"), args.out.display()))
}

/// Fails if the folders of the layout hold other images, which would be taken for scenes of the same making.
fn ensure_no_others(files: &[PathBuf]) -> Result<()> {
    let ours: BTreeSet<&PathBuf> = files.iter().collect();
    let folders: BTreeSet<&Path> = files.iter().filter_map(|file| file.parent()).collect();
    let mut others = Vec::new();
    for folder in folders {
        if is_folder(folder)? {
            others.extend(images(folder)?.into_iter().filter(|image| !ours.contains(image)));
        }
    }
    let text = |first: &PathBuf| {
        format!(
            "{} would stay among the new images, of {} in all: name an empty folder, or remove what is there",
            first.display(),
            count(others.len(), "such image")
        )
    };
    others.first().map_or(Ok(()), |first| Err(UsageError(text(first)).into()))
}
