//! Memory for results.

use colormamba_cpu::Real;

/// `n` elements for a kernel that writes every one of them before anything reads them: clearing memory first takes as long
/// as many kernels themselves. Builds with debug assertions fill it with NaN, so that tests see what was left out.
pub(crate) fn buffer<T: Real>(n: usize) -> Vec<T> {
    if cfg!(debug_assertions) {
        return vec![T::of(f64::NAN); n];
    }
    let mut out = Vec::with_capacity(n);
    // SAFETY: the capacity is there, and a float has no destructor. The elements are not initialised: every caller in this
    // crate hands the slice to a kernel that only writes to it, which the NaN above checks.
    #[allow(clippy::uninit_vec)]
    unsafe {
        out.set_len(n)
    };
    out
}
