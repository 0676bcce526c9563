//! Operations that have no kernel yet: their data go to the processor and back, which is said aloud.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Result, Storage};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Names of operations that this process has warned of: each is worth one line, not one for each call.
static WARNED: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// A copy on the processor of memory that `op`, which has no CUDA kernel, has to read; none if it lies there already. The
/// first time for each operation, a warning goes to standard error.
///
/// # Errors
/// CUDA's, of the copy.
pub fn on_host(op: &'static str, storage: &Storage) -> Result<Option<CpuStorage>> {
    let copy = match storage {
        Storage::Cpu(_) => return Ok(None),
        Storage::Cuda(storage) => storage.to_cpu_storage()?,
        Storage::Metal(storage) => storage.to_cpu_storage()?,
    };
    // Of other types there are no tensors but those that operations refuse.
    let computes = matches!(storage.dtype(), DType::F32 | DType::F64 | DType::BF16);
    if computes && WARNED.lock().unwrap_or_else(PoisonError::into_inner).insert(op) {
        eprintln!("warning: {op} has no CUDA kernel: its data go to the processor and back at every call");
    }
    Ok(Some(copy))
}
