//! Our side of a comparison: times one case on request, as `benches/peers/worker.py` does.

use anyhow::{Error, Result, bail};
use candle_core::Device;
use colormamba_bench::{Case, Pass, Subject, peak_memory};
use colormamba_runner::manifest::precision::Precision;
use std::io::Write;

#[global_allocator]
static ALLOCATOR: colormamba_runner::system::memory::Allocator = colormamba_runner::system::memory::ALLOCATOR;

/// The variable that `benches/peers/compare.py` names the precision in.
const PRECISION: &str = "COLORMAMBA_BENCH_PRECISION";

fn main() -> Result<()> {
    colormamba_runner::system::memory::keep_freed_memory();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [place, case @ ..] = arguments.as_slice() else { bail!("usage: bench-worker THREADS|DEVICE CASE...") };
    let threads = place.parse().ok();
    // SAFETY: no other thread runs yet.
    unsafe { colormamba_runner::system::memory::set_threads(threads) }?;
    let device = match threads {
        Some(_) => Device::Cpu,
        None => colormamba_cuda::open(place.parse().map_err(Error::msg)?)?,
    };
    let precision: Precision =
        std::env::var(PRECISION).map_or(Ok(Precision::default()), |word| word.parse()).map_err(Error::msg)?;
    let _precision = precision.set(&device)?;
    let mut subject = Subject::new(&case.join(" ").parse::<Case>()?, &device, precision.activations())?;
    for line in std::io::stdin().lines() {
        match line?.as_str() {
            "forward" => println!("{}", subject.time(Pass::Forward, &device)?.as_secs_f64()),
            "backward" => println!("{}", subject.time(Pass::Backward, &device)?.as_secs_f64()),
            "peak" => println!("{}", peak(&device)?),
            other => bail!("no such request: {other}"),
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// The most memory that the process, or its tensors on the GPU, took.
fn peak(device: &Device) -> Result<u64> {
    match colormamba_cuda::peak_memory(device)? {
        Some(bytes) => Ok(bytes),
        None => peak_memory(),
    }
}
