//! The program `colormamba`.

use clap::Parser;
use colormamba_runner::cli::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(threads) = cli.threads() {
        // The matrix products ask the environment for their number of threads.
        // SAFETY: no other thread has been started yet that could read the environment at the same time.
        unsafe { std::env::set_var("RAYON_NUM_THREADS", threads.to_string()) };
    }
    cli.execute()
}
