//! Procedural scenes as files.

use crate::progress::print;
use anyhow::Result;
use colormamba_data::{Synthetic, SyntheticConfig, synthetic};
use std::path::PathBuf;

/// What to make.
pub struct Synth {
    /// Where the folders of the VCIP layout go.
    pub out: PathBuf,
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
/// A size that is too small, a folder that cannot be written.
pub fn synth(args: &Synth) -> Result<()> {
    let held_out = (args.count / 8).max(1);
    let dataset = Synthetic::new(SyntheticConfig {
        seed: args.seed,
        width: args.size,
        height: args.size,
        train: args.count,
        validation: held_out,
        test: held_out,
    })?;
    let pairs = synthetic::write_vcip_layout(&dataset, &args.out)?;
    print(&format!("{pairs} pairs in {}\n", args.out.display()))
}
