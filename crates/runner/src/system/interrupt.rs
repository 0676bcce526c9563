//! Signals. Ctrl-C asks to stop; the step or image in progress is finished first.

use crate::system::terminal::note;
use anyhow::{Context, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Within this time after the first, a second one is the same.
const TWICE: Duration = Duration::from_millis(300);

/// Ctrl-C was pressed between two images or two runs.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; the same command goes on from here")]
pub struct Interrupted;

/// From now on Ctrl-C sets a flag; a second one ends the program at once.
///
/// # Errors
/// If the system refuses the handler.
pub fn listen() -> Result<()> {
    let mut first: Option<Instant> = None;
    let handler = move || {
        match first {
            // A terminal that hangs up, and a key that bounces, send it twice at once.
            Some(first) if first.elapsed() < TWICE => return,
            Some(_) => std::process::exit(1),
            None => first = Some(Instant::now()),
        }
        ASKED.store(true, Ordering::Relaxed);
        note("\nfinishing the step or image (press again to give up the steps since the last checkpoint)");
    };
    ctrlc::set_handler(handler).context("cannot listen for Ctrl-C")
}

/// From now on a file that grows beyond the user's limit (`ulimit -f`) fails to be written, with a message, in place of
/// the signal that ends the program without a word.
pub fn survive_full_files() {
    #[cfg(unix)]
    // SAFETY: no handler is installed that could run at a bad time: the signal is ignored.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
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
