//! What this machine can do at most: the figures to hold measured rates against.

use anyhow::{Context, Result};
use colormamba_cpu::vectorize;
use rayon::prelude::*;
use std::time::Instant;

/// Rates of all threads of the pool together.
pub struct Machine {
    /// Floating-point operations a second, in single precision: independent multiply-adds in registers.
    pub flops: f64,
    /// Bytes a second read and written by copying arrays larger than the caches.
    pub bytes: f64,
}

impl Machine {
    /// Measures it; takes about a second.
    pub fn measure() -> Self {
        let threads = rayon::current_num_threads();
        Self { flops: best(|| multiply_adds(threads)), bytes: best(|| copies(threads)) }
    }
}

fn best(mut rate: impl FnMut() -> f64) -> f64 {
    (0..5).map(|_| rate()).fold(0.0, f64::max)
}

fn multiply_adds(threads: usize) -> f64 {
    /// Enough accumulators to hide the latency of a multiply-add at two a cycle, and few enough for the registers.
    const LANES: usize = 16 * 12;
    const STEPS: usize = 1_000_000;
    #[inline(always)]
    fn spin(seed: f32) -> f32 {
        let mut sums = [0.0f32; LANES];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = sum.mul_add(0.999, seed);
            }
        }
        sums.iter().sum()
    }
    let start = Instant::now();
    let total: f32 = (0..threads)
        .into_par_iter()
        .with_max_len(1)
        .map(|t| {
            let seed = std::hint::black_box(t as f32);
            vectorize(
                #[inline(always)]
                || spin(seed),
            )
        })
        .sum();
    std::hint::black_box(total);
    (2 * LANES * STEPS * threads) as f64 / start.elapsed().as_secs_f64()
}

fn copies(threads: usize) -> f64 {
    const BYTES: usize = 256 << 20;
    let source = vec![1.0f32; BYTES / 4];
    let mut target = vec![0.0f32; BYTES / 4];
    let part = source.len().div_ceil(threads);
    let start = Instant::now();
    target.par_chunks_mut(part).zip(source.par_chunks(part)).for_each(|(t, s)| t.copy_from_slice(s));
    std::hint::black_box(&target);
    (2 * BYTES) as f64 / start.elapsed().as_secs_f64()
}

/// The most memory this process has had resident, in bytes.
///
/// # Errors
/// On systems without `/proc/self/status`.
pub fn peak_memory() -> Result<u64> {
    colormamba_runner::system::memory::peak().context("this system does not tell the peak memory of a process")
}
