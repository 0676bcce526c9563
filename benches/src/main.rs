//! Our side of a comparison: times one case on request, as `benches/peers/worker.py` does.

use anyhow::{Context, Result, bail};
use colormamba_bench::{Case, Pass, Subject, peak_memory};
use std::io::Write;

#[global_allocator]
static ALLOCATOR: colormamba_runner::memory::Allocator = colormamba_runner::memory::ALLOCATOR;

fn main() -> Result<()> {
    colormamba_runner::memory::keep_freed_memory();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [threads, case @ ..] = arguments.as_slice() else { bail!("usage: bench-worker THREADS CASE...") };
    // SAFETY: no other thread runs yet.
    unsafe { colormamba_runner::memory::set_threads(Some(threads.parse().context("THREADS")?)) }?;
    let mut subject = Subject::new(&case.join(" ").parse::<Case>()?)?;
    for line in std::io::stdin().lines() {
        match line?.as_str() {
            "forward" => println!("{}", subject.time(Pass::Forward)?.as_secs_f64()),
            "backward" => println!("{}", subject.time(Pass::Backward)?.as_secs_f64()),
            "peak" => println!("{}", peak_memory()?),
            other => bail!("no such request: {other}"),
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}
