//! Signals. Ctrl-C and those of a system that takes the machine away ask to stop; the step or image in progress is
//! finished first.

use crate::system::terminal::note;
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Whether the system asked, by one of [`TAKEN_AWAY`].
static TAKEN: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// The exit code of a program that stopped because the system asked it to: that of a temporary failure, after which a
/// command is to be tried again (EX_TEMPFAIL of BSD's sysexits.h).
pub const REQUEUE: u8 = 75;

/// What clusters send before a time limit or when another job takes the machine, and terminals when they close.
#[cfg(unix)]
const TAKEN_AWAY: [libc::c_int; 4] = [libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2];

/// Within this time after the first, a second one is the same.
const TWICE: Duration = Duration::from_millis(300);

/// What was asked to stop has stopped.
#[derive(Debug, thiserror::Error)]
pub enum Interrupted {
    /// Between two images or two runs.
    #[error("interrupted; the same command goes on from here")]
    Between,
    /// In a training.
    #[error("stopped after step {step} of {variant}; the same command resumes from {}", last.display())]
    Training {
        /// Steps done since the very start.
        step: usize,
        /// What is trained.
        variant: String,
        /// Its last checkpoint.
        last: PathBuf,
    },
}

/// From now on Ctrl-C sets a flag, and so do the signals of a system that takes the machine away; a second Ctrl-C ends
/// the program at once.
///
/// # Errors
/// If the system refuses the handler.
pub fn listen() -> Result<()> {
    let mut first: Option<Instant> = None;
    let handler = move || {
        match first {
            // A key that bounces sends it twice at once.
            Some(first) if first.elapsed() < TWICE => return,
            Some(_) => std::process::exit(1),
            None => first = Some(Instant::now()),
        }
        ASKED.store(true, Ordering::Relaxed);
        note("\nfinishing the step or image (press again to give up the steps since the last checkpoint)");
    };
    ctrlc::set_handler(handler).context("cannot listen for Ctrl-C")?;
    #[cfg(unix)]
    for signal in TAKEN_AWAY.into_iter().filter(|signal| !is_ignored(*signal)) {
        signal_hook::flag::register(signal, TAKEN.clone()).context("cannot listen for signals")?;
    }
    Ok(())
}

/// Whether the program was started so that it does not see a signal, as `nohup` does with that of a closed terminal.
#[cfg(unix)]
fn is_ignored(signal: libc::c_int) -> bool {
    let mut present = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: nothing is set; what is set now is written to memory of its type, and read only if it was.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), present.as_mut_ptr()) == 0
            && present.assume_init().sa_sigaction == libc::SIG_IGN
    }
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

/// Whether the program is to stop.
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed) || taken_away()
}

/// Whether it is the system that wants that.
pub fn taken_away() -> bool {
    TAKEN.load(Ordering::Relaxed)
}

/// Fails if the program is to stop.
///
/// # Errors
/// [`Interrupted`].
pub fn check() -> Result<(), Interrupted> {
    if asked() { Err(Interrupted::Between) } else { Ok(()) }
}
