//! Vectors of a scalar type, as wide as the processor's, for kernels that place their registers by hand.

use colormamba_cpu::Real;
use pulp::{Arch, Simd, WithSimd};
use std::marker::PhantomData;

/// A scalar type with vectors of it. All functions are inlined into the kernel that [`pulp::Simd`] dispatches.
pub(crate) trait SimdReal: Real {
    /// A register.
    type Vector<S: Simd>: Copy;
    /// Scalars in a register.
    fn width<S: Simd>() -> usize;
    /// The same scalar in every lane.
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S>;
    /// `a · b + c`, fused where the processor can.
    fn fused<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S>;
    /// `a + b`.
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a - b`.
    fn minus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// Of two registers with pairs, the first of every pair and the second of every pair, in an order of the processor's own.
    fn unzip<S: Simd>(simd: S, pairs: [Self::Vector<S>; 2]) -> [Self::Vector<S>; 2];
    /// Undoes [`SimdReal::unzip`].
    fn zip<S: Simd>(simd: S, parts: [Self::Vector<S>; 2]) -> [Self::Vector<S>; 2];
}

/// Reads a register.
///
/// # Safety
/// `width` scalars must be readable at `at`.
#[inline(always)]
pub(crate) unsafe fn load<S: Simd, T: SimdReal>(at: *const T) -> T::Vector<S> {
    // SAFETY: a register is plain data of `width` scalars, readable by the caller's promise.
    unsafe { at.cast::<T::Vector<S>>().read_unaligned() }
}

/// Writes a register.
///
/// # Safety
/// `width` scalars must be writable at `at`.
#[inline(always)]
pub(crate) unsafe fn store<S: Simd, T: SimdReal>(at: *mut T, v: T::Vector<S>) {
    // SAFETY: as in `load`.
    unsafe { at.cast::<T::Vector<S>>().write_unaligned(v) }
}

/// The most lanes a register can have: what buffers leave room for behind their last element.
pub(crate) const WIDEST: usize = 16;

/// Scalars in a register of this processor.
pub(crate) fn lanes<T: SimdReal>() -> usize {
    struct Width<T>(PhantomData<T>);
    impl<T: SimdReal> WithSimd for Width<T> {
        type Output = usize;
        fn with_simd<S: Simd>(self, _: S) -> usize {
            T::width::<S>()
        }
    }
    Arch::new().dispatch(Width::<T>(PhantomData))
}

/// `len` elements of a buffer that grows as needed, none of them uninitialised; they start at a cache line, since a register
/// that lies across two takes twice as long to load.
pub(crate) fn grown<T: SimdReal>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    const LINE: usize = 64;
    if buffer.len() < len + LINE {
        *buffer = vec![T::ZERO; len + LINE];
    }
    let start = buffer.as_ptr().align_offset(LINE).min(LINE);
    &mut buffer[start..start + len]
}

impl SimdReal for f32 {
    type Vector<S: Simd> = S::f32s;
    #[inline(always)]
    fn width<S: Simd>() -> usize {
        S::F32_LANES
    }
    #[inline(always)]
    fn splat<S: Simd>(simd: S, x: Self) -> S::f32s {
        simd.splat_f32s(x)
    }
    #[inline(always)]
    fn fused<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
        simd.mul_add_e_f32s(a, b, c)
    }
    #[inline(always)]
    fn plus<S: Simd>(simd: S, a: S::f32s, b: S::f32s) -> S::f32s {
        simd.add_f32s(a, b)
    }
    #[inline(always)]
    fn minus<S: Simd>(simd: S, a: S::f32s, b: S::f32s) -> S::f32s {
        simd.sub_f32s(a, b)
    }
    #[inline(always)]
    fn unzip<S: Simd>(simd: S, pairs: [S::f32s; 2]) -> [S::f32s; 2] {
        simd.deinterleave_shfl_f32s(pairs)
    }
    #[inline(always)]
    fn zip<S: Simd>(simd: S, parts: [S::f32s; 2]) -> [S::f32s; 2] {
        simd.interleave_shfl_f32s(parts)
    }
}

impl SimdReal for f64 {
    type Vector<S: Simd> = S::f64s;
    #[inline(always)]
    fn width<S: Simd>() -> usize {
        S::F64_LANES
    }
    #[inline(always)]
    fn splat<S: Simd>(simd: S, x: Self) -> S::f64s {
        simd.splat_f64s(x)
    }
    #[inline(always)]
    fn fused<S: Simd>(simd: S, a: S::f64s, b: S::f64s, c: S::f64s) -> S::f64s {
        simd.mul_add_e_f64s(a, b, c)
    }
    #[inline(always)]
    fn plus<S: Simd>(simd: S, a: S::f64s, b: S::f64s) -> S::f64s {
        simd.add_f64s(a, b)
    }
    #[inline(always)]
    fn minus<S: Simd>(simd: S, a: S::f64s, b: S::f64s) -> S::f64s {
        simd.sub_f64s(a, b)
    }
    #[inline(always)]
    fn unzip<S: Simd>(simd: S, pairs: [S::f64s; 2]) -> [S::f64s; 2] {
        simd.deinterleave_shfl_f64s(pairs)
    }
    #[inline(always)]
    fn zip<S: Simd>(simd: S, parts: [S::f64s; 2]) -> [S::f64s; 2] {
        simd.interleave_shfl_f64s(parts)
    }
}
