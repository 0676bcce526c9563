//! Activation functions and the SiLU gate.

use crate::Node;
use crate::OpError;
use crate::elementwise::same_shape;
use crate::pointwise::{Binary, CHUNK, Ternary, fill_chunks, zip2, zip3};
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, exp2_of_negative, polynomial, tensor, with_slices};
use colormamba_cuda::{Launch, applies};

/// An activation that follows a convolution or a normalisation, in the same operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// x
    Identity,
    /// max(x, 0)
    Relu,
    /// x where positive, else the slope times x.
    LeakyRelu(f64),
    /// min(max(x, 0), 6). Gradient 0 at 0 and at 6.
    ///
    /// Source: Howard et al. 2017, arXiv 1704.04861.
    Relu6,
}

impl Activation {
    /// That the result tells on which side of 0 the argument was, which gradients rely on.
    pub(crate) fn check(self, op: &'static str) -> Result<()> {
        match self {
            Self::LeakyRelu(slope) if slope.is_nan() || slope < 0.0 => {
                Err(OpError::argument(op, format!("the slope of a leaky ReLU must be at least 0, not {slope}")))
            }
            _ => Ok(()),
        }
    }

    /// The gradient of the argument, from the result `y` and its gradient.
    pub(crate) fn gradient(self, y: &Tensor, grad: &Tensor) -> Result<Tensor> {
        map_gradient(self.ramp(), y, grad)
    }

    /// What it is, in numbers.
    pub(crate) fn ramp(self) -> LeakyRelu {
        match self {
            Self::Identity => LeakyRelu::IDENTITY,
            Self::Relu => LeakyRelu { slope: 0.0, ..LeakyRelu::IDENTITY },
            Self::LeakyRelu(slope) => LeakyRelu { slope, ..LeakyRelu::IDENTITY },
            Self::Relu6 => LeakyRelu { slope: 0.0, cap: 6.0 },
        }
    }
}

/// min(x, cap) where x > 0, else slope · x: every [`Activation`].
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct LeakyRelu<T = f64> {
    pub slope: T,
    pub cap: T,
}

impl LeakyRelu {
    pub const IDENTITY: Self = Self { slope: 1.0, cap: f64::INFINITY };

    pub fn of<T: Real>(self) -> LeakyRelu<T> {
        LeakyRelu { slope: T::of(self.slope), cap: T::of(self.cap) }
    }

    /// The numbers as a kernel takes them.
    pub fn pass(self, launch: Launch) -> Launch {
        launch.number(self.slope).number(self.cap)
    }
}

impl<T: Real> LeakyRelu<T> {
    /// Its value; NaN stays NaN.
    #[inline(always)]
    pub fn at(self, x: T) -> T {
        let y = if x > T::ZERO { x } else { self.slope * x };
        if y > self.cap { self.cap } else { y }
    }

    /// The gradient `g` of its result, times its derivative where the argument, or the result, is `y`.
    #[inline(always)]
    pub fn through(self, g: T, y: T) -> T {
        let below = if y > T::ZERO { g } else { self.slope * g };
        if y >= self.cap { T::ZERO } else { below }
    }
}

/// max(x, 0), any shape. Gradient 0 at 0.
///
/// # Errors
/// [`OpError::DType`] for [other types](crate#types).
pub fn relu(x: impl Into<Node>) -> Result<Node> {
    apply(x, Relu)
}

/// x where positive, else `slope` · x; any shape. Gradient `slope` at 0.
///
/// # Errors
/// [`OpError::Argument`] for a negative slope, [`OpError::DType`] for [other types](crate#types).
pub fn leaky_relu(x: impl Into<Node>, slope: f64) -> Result<Node> {
    Activation::LeakyRelu(slope).check("leaky_relu")?;
    apply(x, Activation::LeakyRelu(slope).ramp())
}

/// The tangent of a leaky ReLU: `t` where its result `y` is positive, else `slope` · `t`; both of the same shape.
///
/// It has no gradient by `y`, which the leaky ReLU's second derivative, zero almost everywhere, would be a factor of.
///
/// # Errors
/// [`OpError::Shape`] if the shapes differ, [`OpError::Argument`] for a negative slope, [`OpError::DType`] for [other types](crate#types).
pub fn leaky_relu_tangent(t: impl Into<Node>, y: &Tensor, slope: f64) -> Result<Node> {
    const OP: &str = "leaky_relu_tangent";
    let (t, y) = (t.into().contiguous()?, y.contiguous()?);
    let activation = Activation::LeakyRelu(slope);
    activation.check(OP)?;
    same_shape(OP, &t, &Node::from(&y))?;
    let out = activation.gradient(&y, t.value())?;
    Node::new(out, [&t], move |grad| Ok([Some(activation.gradient(&y, grad)?)]))
}

/// x · Φ(x) with the normal distribution's Φ (the exact form, not the tanh one), any shape.
///
/// In f32, Φ is within 3e-7; in f64, within 1e-15.
///
/// # Errors
/// [`OpError::DType`] for [other types](crate#types).
///
/// Source: Hendrycks & Gimpel 2016, arXiv 1606.08415.
pub fn gelu(x: impl Into<Node>) -> Result<Node> {
    apply(x, Gelu)
}

/// x · sigmoid(x), any shape.
///
/// # Errors
/// [`OpError::DType`] for [other types](crate#types).
pub fn silu(x: impl Into<Node>) -> Result<Node> {
    apply(x, Silu)
}

/// 1 / (1 + e^-x), any shape.
///
/// # Errors
/// [`OpError::DType`] for [other types](crate#types).
pub fn sigmoid(x: impl Into<Node>) -> Result<Node> {
    apply(x, Sigmoid)
}

/// Hyperbolic tangent, any shape.
///
/// # Errors
/// [`OpError::DType`] for [other types](crate#types).
pub fn tanh(x: impl Into<Node>) -> Result<Node> {
    apply(x, Tanh)
}

/// `x` · silu(`z`), both of the same shape.
///
/// # Errors
/// [`OpError::Shape`] if the shapes differ, [`OpError::DType`] for [other types](crate#types).
pub fn silu_gate(x: impl Into<Node>, z: impl Into<Node>) -> Result<Node> {
    let (x, z) = (x.into().contiguous()?, z.into().contiguous()?);
    same_shape(SiluGate::NAME, &x, &z)?;
    let (xv, zv) = (x.value().clone(), z.value().clone());
    let y = zip2::<SiluGate>(&xv, &zv)?;
    let (for_x, for_z) = (x.is_tracked(), z.is_tracked());
    Node::new(y, [&x, &z], move |grad| {
        let dx = for_x.then(|| zip2::<SiluGate>(grad, &zv)).transpose()?;
        let dz = for_z.then(|| zip3::<GateGrad>(grad, &xv, &zv)).transpose()?;
        Ok([dx, dz])
    })
}

fn apply<U: Unary>(x: impl Into<Node>, u: U) -> Result<Node> {
    let x = x.into().contiguous()?;
    let y = map(u, x.value())?;
    let kept = if U::FROM_OUTPUT { y.clone() } else { x.value().clone() };
    Node::new(y, [&x], move |grad| Ok([Some(map_gradient(u, &kept, grad)?)]))
}

/// Functions whose f32 form has to be written so that it vectorises.
trait Special: Real {
    /// |x|, or less where the result is 0 anyway, and the normal distribution's Φ(-|x|).
    fn tail(self) -> (Self, Self);
    /// Φ(-a) - a · φ(a), with the density φ, given what [`Special::tail`] returned.
    fn tail_slope(a: Self, tail: Self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
}

impl Special for f32 {
    /// 2^-p with a polynomial p, fitted so that the largest error of the power is least: no division.
    #[inline(always)]
    fn tail(self) -> (f32, f32) {
        // Where the power comes to 0.
        const END: f32 = 11.05;
        let a = self.abs();
        let a = if END < a { END } else { a };
        let coefficients = [
            1.388_113_8e-6,
            -2.381_705_8e-5,
            1.204_469_4e-4,
            2.765_189_3e-4,
            -7.221_747e-3,
            5.259_021e-2,
            0.459_181_67,
            1.151_108,
            0.999_999_94,
        ];
        (a, exp2_of_negative(polynomial(a, coefficients)))
    }

    /// As a multiple of the tail, which is a polynomial fitted in the same way.
    #[inline(always)]
    fn tail_slope(a: f32, tail: f32) -> f32 {
        let coefficients = [
            -1.096_034_5e-5,
            1.402_583_3e-4,
            -5.618_117e-4,
            -9.198_586e-4,
            2.007_982_7e-2,
            -0.109_449_37,
            -0.636_520_3,
            -0.797_892_87,
            1.000_000_1,
        ];
        polynomial(a, coefficients) * tail
    }

    /// Cephes `tanhf`: an odd polynomial below 0.625, else by e^2x.
    #[inline(always)]
    fn tanh(self) -> f32 {
        let z = self * self;
        let p = polynomial(z, [-5.704_988_7e-3, 2.063_908_8e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1]);
        let small = f32::mul_add(p * z, self, self);
        let large = (1.0 - 2.0 / (Real::exp(2.0 * self.abs()) + 1.0)).copysign(self);
        if self.abs() < 0.625 { small } else { large }
    }
}

impl Special for f64 {
    #[inline(always)]
    fn tail(self) -> (f64, f64) {
        let a = if 40.0 < self.abs() { 40.0 } else { self.abs() };
        (a, 0.5 * libm::erfc(a * std::f64::consts::FRAC_1_SQRT_2))
    }

    #[inline(always)]
    fn tail_slope(a: f64, tail: f64) -> f64 {
        const INV_SQRT_TAU: f64 = 0.5 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
        tail - a * (-0.5 * a * a).exp() * INV_SQRT_TAU
    }

    #[inline(always)]
    fn tanh(self) -> f64 {
        f64::tanh(self)
    }
}

/// 1 / (1 + e^-x) of one number.
#[inline(always)]
pub fn logistic<T: Real>(x: T) -> T {
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
    /// Its number in `pointwise.cu`.
    const CODE: usize;
    /// Whether [`Unary::derivative`] takes the output rather than the input.
    const FROM_OUTPUT: bool = false;
    /// Its parameters, which only a ramp has.
    fn parameters(self) -> LeakyRelu {
        LeakyRelu::IDENTITY
    }
    fn value<T: Special>(self, x: T) -> T;
    fn derivative<T: Special>(self, v: T) -> T;
}

/// [`Unary::value`] of every element.
fn map<U: Unary>(u: U, x: &Tensor) -> Result<Tensor> {
    if applies(x) {
        return cuda::map(U::CODE, u.parameters(), x);
    }
    let shape = x.shape();
    with_slices!(U::NAME, [x], T => {
        let out = fill_chunks(x.len(), CHUNK, #[inline(always)] |start, out| {
            let (x, u) = (&x[start..start + out.len()], u);
            for (out, &x) in out.iter_mut().zip(x) {
                *out = u.value::<T>(x);
            }
        });
        Ok(tensor(out, shape))
    })
}

/// [`Unary::derivative`] of every element of `v`, times that of `g`.
fn map_gradient<U: Unary>(u: U, v: &Tensor, g: &Tensor) -> Result<Tensor> {
    if applies(v) {
        return cuda::map_gradient(U::CODE, u.parameters(), v, g);
    }
    let shape = v.shape();
    with_slices!(U::NAME, [v, g], T => {
        let out = fill_chunks(v.len(), CHUNK, #[inline(always)] |start, out| {
            let (n, u) = (out.len(), u);
            let (v, g) = (&v[start..start + n], &g[start..start + n]);
            for ((out, &v), &g) in out.iter_mut().zip(v).zip(g) {
                *out = g * u.derivative::<T>(v);
            }
        });
        Ok(tensor(out, shape))
    })
}

#[derive(Clone, Copy)]
struct Relu;
impl Unary for Relu {
    const NAME: &'static str = "relu";
    const CODE: usize = 0;
    // Its sign is that of the input.
    const FROM_OUTPUT: bool = true;
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

impl Unary for LeakyRelu {
    const NAME: &'static str = "activation";
    const CODE: usize = 1;
    const FROM_OUTPUT: bool = true;
    fn parameters(self) -> LeakyRelu {
        self
    }
    #[inline(always)]
    fn value<T: Special>(self, x: T) -> T {
        self.of().at(x)
    }
    #[inline(always)]
    fn derivative<T: Special>(self, y: T) -> T {
        self.of().through(T::ONE, y)
    }
}

#[derive(Clone, Copy)]
struct Gelu;
impl Unary for Gelu {
    const NAME: &'static str = "gelu";
    const CODE: usize = 2;
    #[inline(always)]
    fn value<T: Special>(self, x: T) -> T {
        // x · (1 - tail) above 0, x · tail below.
        let (a, tail) = x.tail();
        (-a).mul_add(tail, Relu.value(x))
    }
    #[inline(always)]
    fn derivative<T: Special>(self, x: T) -> T {
        let (a, tail) = x.tail();
        let slope = T::tail_slope(a, tail);
        if x > T::ZERO { T::ONE - slope } else { slope }
    }
}

#[derive(Clone, Copy)]
struct Silu;
impl Unary for Silu {
    const NAME: &'static str = "silu";
    const CODE: usize = 3;
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
    const CODE: usize = 4;
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
    const CODE: usize = 5;
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
}

struct GateGrad;
impl Ternary for GateGrad {
    const NAME: &'static str = "silu_gate_gradient";
    #[inline(always)]
    fn eval<T: Real>(grad: T, x: T, z: T) -> T {
        grad * x * silu_slope(z)
    }
}

mod cuda {
    use super::LeakyRelu;
    use crate::pointwise::cuda::over;
    use candle_core::{Result, Tensor};
    use colormamba_cuda::DeviceMemory;

    pub(super) fn map(function: usize, parameters: LeakyRelu, x: &Tensor) -> Result<Tensor> {
        let mut y = DeviceMemory::like(x)?;
        let launch = over("map", x).input(x).output(&mut y).size(x.elem_count()).size(function);
        parameters.pass(launch).run()?;
        y.tensor(x.shape())
    }

    pub(super) fn map_gradient(function: usize, parameters: LeakyRelu, kept: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let mut dx = DeviceMemory::like(kept)?;
        let launch = over("map_gradient", kept).input(kept).input(grad).output(&mut dx);
        parameters.pass(launch.size(kept.elem_count()).size(function)).run()?;
        dx.tensor(kept.shape())
    }
}
