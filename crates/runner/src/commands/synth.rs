//! Procedural scenes as files.

use crate::manifest::{LARGEST_SIDE, MOST_SCENES};
use crate::system::output::ensure_all_writable;
use crate::system::terminal::print;
use crate::system::usage::UsageError;
use crate::system::words::count;
use anyhow::{Result, ensure};
use colormamba_data::{Synthetic, SyntheticConfig, synthetic};
use std::path::PathBuf;

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
/// [`UsageError`] for a size or count out of range; a folder that cannot be written.
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
    ensure_all_writable(&files, args.force, [])?;
    let pairs = synthetic::write_vcip_layout(&dataset, &args.out)?;
    print(&format!("{} in {}\n", count(pairs, "pair"), args.out.display()))
}
