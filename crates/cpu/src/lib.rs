//! What the CPU kernels share: the scalar types, slices out of candle's storage, and SIMD dispatch.
//!
//! ```
//! use candle_core::{DType, Device, Result, Tensor};
//! use colormamba_cpu::{tensor, vectorize, with_slices};
//!
//! fn squared(x: &Tensor) -> Result<Tensor> {
//!     let shape = x.shape();
//!     with_slices!("squared", [x], T => {
//!         let squares: Vec<T> = vectorize(|| x.iter().map(|v| *v * *v).collect());
//!         Ok(tensor(squares, shape))
//!     })
//! }
//!
//! let x = Tensor::new(&[1f32, 1.5], &Device::Cpu)?;
//! assert_eq!(squared(&x)?.to_vec1::<f32>()?, [1.0, 2.25]);
//! assert_eq!(squared(&x.to_dtype(DType::F64)?)?.to_vec1::<f64>()?, [1.0, 2.25]);
//! assert!(squared(&x.to_dtype(DType::U8)?).is_err());
//! # Ok::<(), candle_core::Error>(())
//! ```

mod error;

pub use error::OpError;

use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, DType, Layout, Result, Shape, Storage, Tensor, WithDType};
use colormamba_cuda::on_host;
use std::marker::PhantomData;
use std::ops::{Deref, Range};

/// A floating-point scalar that kernels are written for: `f32`, and `f64` for exact gradient tests.
pub trait Real:
    WithDType
    + Copy
    + Send
    + Sync
    + Default
    + PartialOrd
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
    + std::ops::AddAssign
    + std::ops::SubAssign
    + std::ops::MulAssign
    + std::iter::Sum
{
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// The nearest value to `x`.
    fn of(x: f64) -> Self;
    /// As f64.
    fn wide(self) -> f64;
    /// Fused multiply-add `self * a + b`.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// The larger of two; `other` if `self` is NaN.
    fn max(self, other: Self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// e^self. The `f32` form is branch-free and vectorises; relative error below 1e-7 from
    /// -87.3 to 88.3; 0 below -87.7, +∞ above 88.4.
    fn exp(self) -> Self;
    /// ln(1 + e^self), without overflow.
    fn softplus(self) -> Self;
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    #[inline(always)]
    fn of(x: f64) -> Self {
        x as f32
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        f32::mul_add(self, a, b)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        f32::max(self, other)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn exp(self) -> Self {
        exp_f32(self)
    }
    #[inline(always)]
    fn softplus(self) -> Self {
        // Above 20 the result equals its argument in f32 (PyTorch's threshold too).
        if self > 20.0 { self } else { exp_f32(self).ln_1p() }
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        f64::mul_add(self, a, b)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        f64::max(self, other)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn exp(self) -> Self {
        f64::exp(self)
    }
    #[inline(always)]
    fn softplus(self) -> Self {
        if self > 40.0 { self } else { f64::exp(self).ln_1p() }
    }
}

/// e^x by range reduction to |r| ≤ ln 2 / 2 and a polynomial (of degree 6, the minimax one with value and slope 1 at 0),
/// times a power of two made of its exponent bits. Plain arithmetic on purpose: inside [`vectorize`] the compiler turns
/// loops over it into SIMD.
#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts, so that n · LN2_HI is exact.
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    // Beyond these the power of two is 0 or +∞.
    let clamped = x.clamp(-88.0, 89.0);
    let shifted = f32::mul_add(clamped, LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = f32::mul_add(n, -LN2_LO, f32::mul_add(n, -LN2_HI, clamped));
    let coefficients = [1.381_417_4e-3, 8.368_921e-3, 4.166_840_8e-2, 0.166_665_2, 0.499_999_94, 1.0, 1.0];
    polynomial(r, coefficients) * power_of_two(shifted)
}

/// 2^-x for 0 ≤ x < 127.5, as [`Real::exp`] but of degree 5: relative error 2e-7 and x times that of an `f32`. 0 from 126.5 on.
#[inline(always)]
pub fn exp2_of_negative(x: f32) -> f32 {
    let shifted = ROUND - x;
    let r = x + (shifted - ROUND);
    let coefficients = [-1.330_011_3e-3, 9.669_91e-3, -5.550_561e-2, 0.240_222_78, -std::f32::consts::LN_2, 1.0];
    polynomial(r, coefficients) * power_of_two(shifted)
}

/// The polynomial in x with these coefficients, from that of the highest power down.
///
/// Not by `fold`: that is a function which the compiler may leave outside [`vectorize`], where a fused multiply-add is a call.
#[inline(always)]
pub fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[0];
    for c in &coefficients[1..] {
        sum = f32::mul_add(sum, x, *c);
    }
    sum
}

/// Adding it rounds to the nearest integer n and leaves n + 127, the exponent bits of 2^n, in the low bits of the sum.
const ROUND: f32 = 12_582_912.0 + 127.0;

/// 2^n for n + [`ROUND`], -127 ≤ n ≤ 128; 0 and +∞ at the ends.
#[inline(always)]
fn power_of_two(shifted: f32) -> f32 {
    f32::from_bits(shifted.to_bits() << 23)
}

/// Runs `f` compiled for the widest vector instructions of this processor (AVX-512, AVX2 or the baseline).
///
/// `f` and all it calls must be inlined, or they are compiled for the baseline, many times slower: write
/// `vectorize(#[inline(always)] || ..)`, with `#[inline(always)]` on every function that the closure calls.
#[inline(always)]
pub fn vectorize<R>(f: impl FnOnce() -> R) -> R {
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

/// A mutable slice of which parallel tasks write disjoint elements.
#[derive(Clone, Copy)]
pub struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for a `&mut [T]`; that no element is touched by two tasks is what its unsafe methods ask of callers.
unsafe impl<T: Send> Send for Shared<'_, T> {}
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    /// Shares `slice`.
    pub fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), lifetime: PhantomData }
    }

    /// How many elements it has.
    #[inline(always)]
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Where the first element lies.
    #[inline(always)]
    pub fn as_mut_ptr(self) -> *mut T {
        self.start
    }

    /// The elements of `range`.
    ///
    /// # Safety
    /// No other task or live borrow may use these elements meanwhile.
    #[inline(always)]
    pub unsafe fn slice(self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: in bounds by the assertion, unaliased by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

/// The elements of a contiguous tensor.
///
/// # Errors
/// [`OpError::Argument`] if the layout is not contiguous (the public functions make it so), candle's error on another type.
pub fn slice<'a, T: WithDType>(op: &'static str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&T::cpu_storage_as_slice(storage)?[start..end]),
        None => Err(OpError::argument(op, "the kernel was given a non-contiguous tensor")),
    }
}

/// A contiguous tensor whose memory is locked for reading, until dropped; see [`hold`].
pub struct Held<'a, G> {
    op: &'static str,
    storage: G,
    /// Where the tensor lies on another device.
    copy: Result<Option<CpuStorage>>,
    layout: &'a Layout,
}

/// Locks the memory of `tensor` for `op` to read. From another device it is copied, with a warning: [`on_host`].
pub fn hold<'a>(op: &'static str, tensor: &'a Tensor) -> Held<'a, impl Deref<Target = Storage> + 'a> {
    let (storage, layout) = tensor.storage_and_layout();
    let copy = on_host(op, &storage);
    Held { op, storage, copy, layout }
}

impl<G: Deref<Target = Storage>> Held<'_, G> {
    /// The element type.
    pub fn dtype(&self) -> DType {
        self.storage.dtype()
    }

    /// The elements.
    ///
    /// # Errors
    /// [`OpError::Argument`] if the tensor is not contiguous, candle's error on another type, and those of copying it.
    pub fn slice<T: WithDType>(&self) -> Result<&[T]> {
        let storage = match (&self.copy, &*self.storage) {
            (Ok(Some(copy)), _) => copy,
            (Ok(None), Storage::Cpu(storage)) => storage,
            (Err(error), _) => return Err(OpError::argument(self.op, format!("cannot copy from the GPU: {error}"))),
            (Ok(None), _) => return Err(OpError::argument(self.op, "a tensor on a device that cannot be read")),
        };
        slice(self.op, storage, self.layout)
    }
}

/// A CPU tensor of these elements, as many as the shape has.
pub fn tensor<T: Real>(data: Vec<T>, shape: impl Into<Shape>) -> Tensor {
    let shape = shape.into();
    assert_eq!(data.len(), shape.elem_count(), "elements for a tensor of shape {shape:?}");
    Tensor::from_storage(Storage::Cpu(T::to_cpu_storage_owned(data)), shape, BackpropOp::none(), false)
}

/// Evaluates an expression on the elements of contiguous CPU tensors: `with_slices!("op", [x, w], T => body)` is `body`, a
/// `Result`, with `x` and `w`, before it variables of type `&Tensor`, as `&[T]`, and `T` as `f32` or `f64` by the type of
/// the first.
#[macro_export]
macro_rules! with_slices {
    ($op:expr, [$first:ident $(, $rest:ident)*], $T:ident => $body:expr) => {{
        let $first = $crate::hold($op, $first);
        $(let $rest = $crate::hold($op, $rest);)*
        $crate::dispatch_real!($op, $first, $T => {
            let $first = $first.slice::<$T>()?;
            $(let $rest = $rest.slice::<$T>()?;)*
            $body
        })
    }};
}

/// Evaluates an expression with `$T` standing for `f32` or `f64`, by the type of a tensor or storage; any other type is an
/// [`OpError::DType`]. For storages, `candle_core::backend::BackendStorage` must be in scope.
#[macro_export]
macro_rules! dispatch_real {
    ($op:expr, $storage:expr, $T:ident => $body:expr) => {
        match $storage.dtype() {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            dtype => Err(candle_core::Error::wrap($crate::OpError::DType { op: $op, dtype })),
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_over_the_whole_range() {
        let mut worst = 0.0f64;
        for i in -870_000..=880_000 {
            let x = i as f32 * 1e-4;
            let want = f64::from(x).exp();
            worst = worst.max(
                (f64::from(vectorize(
                    #[inline(always)]
                    || exp_f32(x),
                )) - want)
                    .abs()
                    / want,
            );
        }
        assert!(worst < 1e-7, "{worst:e}");
        assert_eq!(exp_f32(0.0), 1.0);
        assert_eq!(exp_f32(-200.0), 0.0);
        assert_eq!(exp_f32(200.0), f32::INFINITY);
        assert!(exp_f32(f32::NAN).is_nan());
    }
}
