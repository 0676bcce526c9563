//! The process's allocator, threads and peak memory: what a program sets before anything else runs.

use mimalloc::MiMalloc;
use rayon::{ThreadPoolBuildError, ThreadPoolBuilder};
use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The allocator of the program: mimalloc, and a count of the bytes that are allocated.
pub struct Allocator(());

/// A training step allocates and frees the same large tensors over and over. The system's allocator returns each to the
/// kernel, and fetching its zeroed pages again took a third of a step's time.
pub const ALLOCATOR: Allocator = Allocator(());

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn count(allocated: usize) {
    let live = LIVE.fetch_add(allocated, Relaxed).wrapping_add(allocated);
    if live > PEAK.load(Relaxed) {
        PEAK.fetch_max(live, Relaxed);
    }
}

// SAFETY: mimalloc does everything; counting allocates nothing.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, as below.
        let memory = unsafe { MiMalloc.alloc(layout) };
        if !memory.is_null() {
            count(layout.size());
        }
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let memory = unsafe { MiMalloc.alloc_zeroed(layout) };
        if !memory.is_null() {
            count(layout.size());
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { MiMalloc.dealloc(memory, layout) };
        LIVE.fetch_sub(layout.size(), Relaxed);
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        let memory = unsafe { MiMalloc.realloc(memory, layout, size) };
        if !memory.is_null() {
            LIVE.fetch_sub(layout.size(), Relaxed);
            count(size);
        }
        memory
    }
}

/// Bytes that the program has allocated and not freed; 0 if [`ALLOCATOR`] is not its allocator.
pub fn live() -> u64 {
    LIVE.load(Relaxed) as u64
}

/// The most that [`live`] has been since the start, or since [`forget_peak`].
pub fn peak_live() -> u64 {
    PEAK.load(Relaxed) as u64
}

/// Lets [`peak_live`] begin anew.
pub fn forget_peak() {
    PEAK.store(LIVE.load(Relaxed), Relaxed);
}

/// `mi_option_purge_delay` of mimalloc.h, which the bindings do not name; −1 keeps freed memory for the next step.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Lets [`ALLOCATOR`] keep what is freed.
pub fn keep_freed_memory() {
    // SAFETY: sets one number of the allocator.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}

/// Threads of all computations. Without a number, what `RAYON_NUM_THREADS` says, else one for each physical core that the
/// process may use: two on one core wait for the same vector units.
///
/// The calling thread is one of them, so that an operation does not begin with waking another one; while it waits for a thread,
/// that one must not compute.
///
/// # Safety
/// No other thread may read the environment meanwhile: call it first in `main`.
///
/// # Errors
/// If the threads cannot be started, or run already.
pub unsafe fn set_threads(threads: Option<usize>) -> Result<(), ThreadPoolBuildError> {
    // SAFETY: the caller's promise.
    unsafe {
        // Candle's own workers would otherwise spin between operations, on cores that rayon's workers need.
        std::env::set_var("CANDLE_BARRIER_POOL_SPIN_LIMIT", "100");
        if threads.is_some() || std::env::var_os("RAYON_NUM_THREADS").is_none() {
            std::env::set_var("RAYON_NUM_THREADS", threads.unwrap_or_else(cores).to_string());
        }
    }
    ThreadPoolBuilder::new().use_current_thread().build_global()
}

fn cores() -> usize {
    let available = std::thread::available_parallelism().map_or(1, |n| n.get());
    num_cpus::get_physical().clamp(1, available)
}

/// The most bytes that this process can have: what the machine has, or the limit of its group or shell; `None` where the
/// system does not tell.
pub fn limit() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let number = |text: &str| text.split_whitespace().next()?.parse::<u64>().ok();
    let after = |path: &str, key: &str| read(path)?.lines().find_map(|line| line.strip_prefix(key)).and_then(number);
    let machine = after("/proc/meminfo", "MemTotal:").map(|kib| kib * 1024);
    let group = read("/sys/fs/cgroup/memory.max").and_then(|text| number(&text));
    let shell = after("/proc/self/limits", "Max address space");
    [machine, group, shell].into_iter().flatten().min()
}

/// The most bytes this process has had resident; `None` where the system does not tell.
pub fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}
