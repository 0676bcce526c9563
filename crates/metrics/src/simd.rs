//! Loops for the widest vectors of the machine.

/// Runs `f` compiled for the vector instructions that this machine has. Elements are computed as without them: nothing is
/// reordered or fused. What `f` calls must be inlined into it.
#[inline(always)]
pub(crate) fn vectorize<R>(f: impl FnOnce() -> R) -> R {
    struct Closure<F>(F);
    impl<R, F: FnOnce() -> R> pulp::WithSimd for Closure<F> {
        type Output = R;
        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _: S) -> R {
            (self.0)()
        }
    }
    pulp::Arch::new().dispatch(Closure(f))
}
