//! Whether a training has room in memory. A process that finds out by itself is ended without a word.

use crate::manifest::Manifest;
use crate::system::memory;
use crate::system::usage::UsageError;
use anyhow::{Result, ensure};

/// Bytes of a number.
const FLOAT: u64 = 4;
/// Weights of a discriminator of width 1: four by four kernels from 3 to 1, 2, 4 and 8 channels and to one score.
const DISCRIMINATOR: u64 = 16 * 42;
/// A weight, its gradient and its two moments.
const TRAINED: u64 = 4;

/// Fails if the training takes more memory than this machine has, as far as that can be told.
///
/// # Errors
/// [`UsageError`] that names the keys, what it takes at least and what there is.
pub fn ensure_room(manifest: &Manifest) -> Result<()> {
    let Some(there) = memory::limit() else { return Ok(()) };
    // Of validation, one image after the other, only the size counts that training has too.
    let size = u64::from(manifest.augmentation.size.unwrap_or(manifest.data.size));
    let batch = manifest.train.batch as u64;
    let network = manifest.model.architecture.options();
    let (activations, option) = network.room().unwrap_or((0, String::new()));
    let step = [size, size, batch, activations, FLOAT].into_iter().fold(1, u64::saturating_mul);
    ensure!(
        step <= there,
        UsageError(format!(
            "images of {size} pixels a side take at least {} of memory with train.batch = {batch} and model.{option}, and there \
             are {}: lower one of them",
            gib(step),
            gib(there)
        ))
    );
    let critic = manifest.train.critic_width as u64;
    let heads = network.heads().len() as u64;
    let judged = manifest.variants.iter().any(|variant| variant.loss.adversarial.is_some());
    let critics = [critic, critic, heads, DISCRIMINATOR, TRAINED, FLOAT].into_iter().fold(1, u64::saturating_mul);
    ensure!(
        !judged || critics <= there,
        UsageError(format!(
            "train.critic_width = {critic} takes at least {} of memory, and there are {}: lower it",
            gib(critics),
            gib(there)
        ))
    );
    Ok(())
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}
