//! The program `colormamba`.

use clap::Parser;
use colormamba_runner::cli::Cli;
use colormamba_runner::system::interrupt;
use colormamba_runner::system::memory;
use colormamba_runner::system::terminal::note;
use std::num::NonZeroUsize;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: memory::Allocator = memory::ALLOCATOR;

fn main() -> ExitCode {
    memory::keep_freed_memory();
    interrupt::survive_full_files();
    let cli = Cli::parse();
    // SAFETY: no other thread has been started yet that could read the environment at the same time.
    match unsafe { memory::set_threads(cli.threads().map(NonZeroUsize::get)) } {
        Ok(()) => cli.execute(),
        Err(error) => {
            note(&format!("error: cannot start the worker threads: {error}"));
            ExitCode::FAILURE
        }
    }
}
