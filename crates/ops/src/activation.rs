//! Activation functions, softmax, and the SiLU gate.

use crate::OpError;
use crate::cpu::{Real, slice};
use crate::dispatch_real;
use crate::elementwise::same_shape;
use crate::pointwise::{Binary, CHUNK, Ternary, Zip2, Zip3, fill_chunks, fill_rows, sum_pairs, to_storage};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Result, Shape, Tensor};

/// An activation that follows a normalisation (see [`crate::instance_norm`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// x
    Identity,
    /// max(x, 0)
    Relu,
    /// x where positive, else the slope times x.
    LeakyRelu(f64),
}

impl Activation {
    /// The derivative where x ≤ 0; it is 1 where x > 0.
    pub(crate) fn slope(self) -> f64 {
        match self {
            Self::Identity => 1.0,
            Self::Relu => 0.0,
            Self::LeakyRelu(slope) => slope,
        }
    }
}

/// max(x, 0), any shape. Gradient 0 at 0.
///
/// # Errors
/// [`OpError::DType`] unless f32 or f64.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    apply(x, Relu)
}

/// x where positive, else `slope` · x; any shape. Gradient `slope` at 0.
///
/// # Errors
/// [`OpError::DType`] unless f32 or f64.
pub fn leaky_relu(x: &Tensor, slope: f64) -> Result<Tensor> {
    apply(x, LeakyRelu(slope))
}

/// x · Φ(x) with the normal distribution's Φ (the exact form, not the tanh one), any shape.
///
/// In f32, Φ is within 3e-7; in f64, within 1e-15.
///
/// # Errors
/// [`OpError::DType`] unless f32 or f64.
///
/// Source: Hendrycks & Gimpel 2016, arXiv 1606.08415.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    apply(x, Gelu)
}

/// x · sigmoid(x), any shape.
///
/// # Errors
/// [`OpError::DType`] unless f32 or f64.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    apply(x, Silu)
}

/// 1 / (1 + e^-x), any shape.
///
/// # Errors
/// [`OpError::DType`] unless f32 or f64.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    apply(x, Sigmoid)
}

/// Hyperbolic tangent, any shape.
///
/// # Errors
/// [`OpError::DType`] unless f32 or f64.
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    apply(x, Tanh)
}

/// `x` · silu(`z`), both of the same shape.
///
/// # Errors
/// [`OpError::Shape`] if the shapes differ, [`OpError::DType`] unless f32 or f64.
pub fn silu_gate(x: &Tensor, z: &Tensor) -> Result<Tensor> {
    same_shape("silu_gate", x, z)?;
    x.contiguous()?.apply_op2(&z.contiguous()?, Zip2(SiluGate))
}

/// Softmax over the last dimension, of any length; stable (the maximum is subtracted).
///
/// # Errors
/// [`OpError::Shape`] for a scalar or an empty last dimension, [`OpError::DType`] unless f32 or f64.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    if x.rank() == 0 || x.dim(D::Minus1)? == 0 {
        return Err(OpError::shape("softmax", "a last dimension of at least 1", x.shape()));
    }
    x.contiguous()?.apply_op1(Softmax)
}

fn apply<U: Unary>(x: &Tensor, u: U) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Map(u))
}

/// Functions whose f32 form has to be written so that it vectorises.
trait Special: Real {
    /// The normal distribution's Φ(x) and its density φ(x).
    fn normal(self) -> (Self, Self);
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
}

impl Special for f32 {
    /// Abramowitz & Stegun 7.1.26 for erfc(|x|/√2), with absolute error 1.5e-7, so that the lower tail goes to 0 smoothly.
    #[inline(always)]
    fn normal(self) -> (f32, f32) {
        const INV_SQRT_TAU: f32 = 0.398_942_3;
        let t = 1.0 / f32::mul_add(0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2, self.abs(), 1.0);
        let p = [-1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6]
            .iter()
            .fold(1.061_405_4, |p: f32, &c| f32::mul_add(p, t, c));
        let e = Real::exp(-0.5 * self * self);
        let tail = 0.5 * p * t * e;
        (if self > 0.0 { 1.0 - tail } else { tail }, INV_SQRT_TAU * e)
    }

    /// Cephes `tanhf`: an odd polynomial below 0.625, else by e^2x.
    #[inline(always)]
    fn tanh(self) -> f32 {
        let z = self * self;
        let p = [2.063_908_8e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1]
            .iter()
            .fold(-5.704_988_7e-3, |p: f32, &c| f32::mul_add(p, z, c));
        let small = f32::mul_add(p * z, self, self);
        let large = (1.0 - 2.0 / (Real::exp(2.0 * self.abs()) + 1.0)).copysign(self);
        if self.abs() < 0.625 { small } else { large }
    }
}

impl Special for f64 {
    #[inline(always)]
    fn normal(self) -> (f64, f64) {
        let density =
            (-0.5 * self * self).exp() * (0.5 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2);
        (0.5 * libm::erfc(-self * std::f64::consts::FRAC_1_SQRT_2), density)
    }

    #[inline(always)]
    fn tanh(self) -> f64 {
        f64::tanh(self)
    }
}

#[inline(always)]
fn logistic<T: Real>(x: T) -> T {
    T::ONE / (T::ONE + (-x).exp())
}

#[inline(always)]
fn silu_slope<T: Real>(x: T) -> T {
    let s = logistic(x);
    s * (T::ONE + x * (T::ONE - s))
}

/// A differentiable function of one element; implementations are `#[inline(always)]`.
trait Unary: Copy + Send + Sync + 'static {
    const NAME: &'static str;
    /// Whether [`Unary::derivative`] takes the output rather than the input.
    const FROM_OUTPUT: bool = false;
    fn value<T: Special>(self, x: T) -> T;
    fn derivative<T: Special>(self, v: T) -> T;
}

/// [`Unary`] as an operation.
struct Map<U>(U);
/// derivative(v) · grad, for arguments (v, grad).
struct MapGrad<U>(U);

impl<U: Unary> CustomOp1 for Map<U> {
    fn name(&self) -> &'static str {
        U::NAME
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        dispatch_real!(U::NAME, s, T => {
            let x = slice::<T>(U::NAME, s, l)?;
            let out = fill_chunks(x.len(), CHUNK, #[inline(always)] |start, out| {
                let (x, u) = (&x[start..start + out.len()], self.0);
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = u.value::<T>(x);
                }
            });
            Ok((to_storage(out), l.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let v = if U::FROM_OUTPUT { y } else { x };
        v.apply_op2_no_bwd(&grad.contiguous()?, &MapGrad(self.0)).map(Some)
    }
}

impl<U: Unary> CustomOp2 for MapGrad<U> {
    fn name(&self) -> &'static str {
        U::NAME
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        dispatch_real!(U::NAME, s1, T => {
            let (v, g) = (slice::<T>(U::NAME, s1, l1)?, slice::<T>(U::NAME, s2, l2)?);
            let out = fill_chunks(v.len(), CHUNK, #[inline(always)] |start, out| {
                let (n, u) = (out.len(), self.0);
                let (v, g) = (&v[start..start + n], &g[start..start + n]);
                for ((out, &v), &g) in out.iter_mut().zip(v).zip(g) {
                    *out = g * u.derivative::<T>(v);
                }
            });
            Ok((to_storage(out), l1.shape().clone()))
        })
    }
}

#[derive(Clone, Copy)]
struct Relu;
impl Unary for Relu {
    const NAME: &'static str = "relu";
    #[inline(always)]
    fn value<T: Special>(self, x: T) -> T {
        // Written so that NaN stays NaN.
        if x < T::ZERO { T::ZERO } else { x }
    }
    #[inline(always)]
    fn derivative<T: Special>(self, x: T) -> T {
        if x > T::ZERO { T::ONE } else { T::ZERO }
    }
}

#[derive(Clone, Copy)]
struct LeakyRelu(f64);
impl Unary for LeakyRelu {
    const NAME: &'static str = "leaky_relu";
    #[inline(always)]
    fn value<T: Special>(self, x: T) -> T {
        if x > T::ZERO { x } else { T::of(self.0) * x }
    }
    #[inline(always)]
    fn derivative<T: Special>(self, x: T) -> T {
        if x > T::ZERO { T::ONE } else { T::of(self.0) }
    }
}

#[derive(Clone, Copy)]
struct Gelu;
impl Unary for Gelu {
    const NAME: &'static str = "gelu";
    #[inline(always)]
    fn value<T: Special>(self, x: T) -> T {
        x * x.normal().0
    }
    #[inline(always)]
    fn derivative<T: Special>(self, x: T) -> T {
        let (cdf, pdf) = x.normal();
        x.mul_add(pdf, cdf)
    }
}

#[derive(Clone, Copy)]
struct Silu;
impl Unary for Silu {
    const NAME: &'static str = "silu";
    #[inline(always)]
    fn value<T: Special>(self, x: T) -> T {
        x * logistic(x)
    }
    #[inline(always)]
    fn derivative<T: Special>(self, x: T) -> T {
        silu_slope(x)
    }
}

#[derive(Clone, Copy)]
struct Sigmoid;
impl Unary for Sigmoid {
    const NAME: &'static str = "sigmoid";
    const FROM_OUTPUT: bool = true;
    #[inline(always)]
    fn value<T: Special>(self, x: T) -> T {
        logistic(x)
    }
    #[inline(always)]
    fn derivative<T: Special>(self, y: T) -> T {
        y * (T::ONE - y)
    }
}

#[derive(Clone, Copy)]
struct Tanh;
impl Unary for Tanh {
    const NAME: &'static str = "tanh";
    const FROM_OUTPUT: bool = true;
    #[inline(always)]
    fn value<T: Special>(self, x: T) -> T {
        Special::tanh(x)
    }
    #[inline(always)]
    fn derivative<T: Special>(self, y: T) -> T {
        T::ONE - y * y
    }
}

struct SiluGate;
impl Binary for SiluGate {
    const NAME: &'static str = "silu_gate";
    #[inline(always)]
    fn eval<T: Real>(x: T, z: T) -> T {
        x * z * logistic(z)
    }
    fn grads(x: &Tensor, z: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dx = x.track_op().then(|| grad.apply_op2_no_bwd(z, &Zip2(SiluGate))).transpose()?;
        let dz = z.track_op().then(|| grad.apply_op3_no_bwd(x, z, &Zip3(GateGrad))).transpose()?;
        Ok((dx, dz))
    }
}

struct GateGrad;
impl Ternary for GateGrad {
    const NAME: &'static str = "silu_gate";
    #[inline(always)]
    fn eval<T: Real>(grad: T, x: T, z: T) -> T {
        grad * x * silu_slope(z)
    }
}

struct Softmax;
/// y · (grad − Σ grad · y), for arguments (y, grad).
struct SoftmaxGrad;

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        dispatch_real!("softmax", s, T => {
            let (x, row) = (slice::<T>("softmax", s, l)?, last_dim(l));
            let out = fill_rows(x.len(), row, #[inline(always)] |start, out| softmax_row::<T>(&x[start..start + row], out));
            Ok((to_storage(out), l.shape().clone()))
        })
    }

    fn bwd(&self, _: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        y.apply_op2_no_bwd(&grad.contiguous()?, &SoftmaxGrad).map(Some)
    }
}

impl CustomOp2 for SoftmaxGrad {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        dispatch_real!("softmax", s1, T => {
            let (y, g, row) = (slice::<T>("softmax", s1, l1)?, slice::<T>("softmax", s2, l2)?, last_dim(l1));
            let out = fill_rows(y.len(), row, #[inline(always)] |start, out| {
                softmax_grad_row::<T>(&y[start..start + row], &g[start..start + row], out);
            });
            Ok((to_storage(out), l1.shape().clone()))
        })
    }
}

/// The length of the last dimension; the public function has refused scalars.
fn last_dim(l: &Layout) -> usize {
    l.dims().last().copied().unwrap_or(1)
}

/// The largest value, lane by lane so that it vectorises.
#[inline(always)]
fn largest<T: Real>(x: &[T]) -> T {
    const LANES: usize = 16;
    let mut lanes = [x[0]; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] = Real::max(lanes[lane], block[lane]);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = Real::max(*lane, x);
    }
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] = Real::max(lanes[lane], lanes[lane + half]);
        }
    }
    lanes[0]
}

#[inline(always)]
fn softmax_row<T: Real>(x: &[T], out: &mut [T]) {
    let largest = largest(x);
    for (out, &x) in out.iter_mut().zip(x) {
        *out = (x - largest).exp();
    }
    let (sum, _) = sum_pairs(
        out,
        out,
        #[inline(always)]
        |e, _| (e.wide(), 0.0),
    );
    let scale = T::of(1.0 / sum);
    for out in out {
        *out *= scale;
    }
}

#[inline(always)]
fn softmax_grad_row<T: Real>(y: &[T], g: &[T], out: &mut [T]) {
    let (dot, _) = sum_pairs(
        y,
        g,
        #[inline(always)]
        |y, g| ((y * g).wide(), 0.0),
    );
    let dot = T::of(dot);
    for ((out, &y), &g) in out.iter_mut().zip(y).zip(g) {
        *out = y * (g - dot);
    }
}
