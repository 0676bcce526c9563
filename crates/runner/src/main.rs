//! The program `colormamba`.

use clap::Parser;
use colormamba_runner::cli::Cli;
use std::process::ExitCode;

/// A training step allocates and frees the same large tensors over and over. The system's allocator returns each to the
/// kernel, and fetching its zeroed pages again took a third of a step's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h, which the bindings do not name; −1 keeps freed memory for the next step.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

fn main() -> ExitCode {
    // SAFETY: sets one number of the allocator, before any other thread runs.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
    let cli = Cli::parse();
    // SAFETY: no other thread has been started yet that could read the environment at the same time.
    unsafe {
        // Candle's own workers would otherwise spin between operations, on cores that rayon's workers need.
        std::env::set_var("CANDLE_BARRIER_POOL_SPIN_LIMIT", "100");
        if let Some(threads) = cli.threads() {
            // The matrix products ask the environment for their number of threads.
            std::env::set_var("RAYON_NUM_THREADS", threads.to_string());
        }
    }
    cli.execute()
}
