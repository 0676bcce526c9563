//! Ctrl-C asks to stop; the step or image in progress is finished first.

use anyhow::{Context, Result};
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Ctrl-C was pressed between two images or two runs.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; the same command goes on from here")]
pub struct Interrupted;

/// From now on Ctrl-C sets a flag; a second one ends the program at once.
///
/// # Errors
/// If the system refuses the handler.
pub fn listen() -> Result<()> {
    let handler = || {
        if ASKED.swap(true, Ordering::Relaxed) {
            std::process::exit(1);
        }
        eprintln!("\nfinishing the step or image (press again to give up the steps since the last checkpoint)");
    };
    ctrlc::set_handler(handler).context("cannot listen for Ctrl-C")
}

/// Whether it was pressed.
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Fails if it was pressed.
///
/// # Errors
/// [`Interrupted`].
pub fn check() -> Result<(), Interrupted> {
    if asked() { Err(Interrupted) } else { Ok(()) }
}
