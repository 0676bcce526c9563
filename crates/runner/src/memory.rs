//! The process's allocator, threads and peak memory: what a program sets before anything else runs.

/// The allocator of the program.
pub type Allocator = mimalloc::MiMalloc;

/// A training step allocates and frees the same large tensors over and over. The system's allocator returns each to the
/// kernel, and fetching its zeroed pages again took a third of a step's time.
pub const ALLOCATOR: Allocator = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h, which the bindings do not name; −1 keeps freed memory for the next step.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Lets [`ALLOCATOR`] keep what is freed.
pub fn keep_freed_memory() {
    // SAFETY: sets one number of the allocator.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}

/// Threads of all computations; all physical cores without a number.
///
/// # Safety
/// No other thread may read the environment meanwhile: call it first in `main`.
pub unsafe fn set_threads(threads: Option<usize>) {
    // SAFETY: the caller's promise.
    unsafe {
        // Candle's own workers would otherwise spin between operations, on cores that rayon's workers need.
        std::env::set_var("CANDLE_BARRIER_POOL_SPIN_LIMIT", "100");
        if let Some(threads) = threads {
            std::env::set_var("RAYON_NUM_THREADS", threads.to_string());
        }
    }
}

/// The most bytes this process has had resident; `None` where the system does not tell.
pub fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}
