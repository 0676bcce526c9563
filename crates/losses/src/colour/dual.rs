//! Numbers that carry their derivatives: a function of a pixel is written once, for any [`Differentiable`], and its gradient is
//! exact.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// A number to compute with: an f64, or one with derivatives. Where a function has no derivative, or an infinite one, that
/// of the methods here is 0.
pub(crate) trait Differentiable:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + Add<f64, Output = Self>
    + Sub<f64, Output = Self>
    + Mul<f64, Output = Self>
    + Div<f64, Output = Self>
{
    /// A constant.
    fn constant(value: f64) -> Self;

    /// Without its derivatives.
    fn value(self) -> f64;

    /// f(self), given f and f' there.
    fn chain(self, value: f64, slope: f64) -> Self;

    /// f(self, other), given f and its two derivatives there.
    fn chain2(self, other: Self, value: f64, by_self: f64, by_other: f64) -> Self;

    /// Its square root, with derivative 0 at 0.
    #[inline(always)]
    fn sqrt(self) -> Self {
        let root = self.value().sqrt();
        self.chain(root, if root > 0.0 { 0.5 / root } else { 0.0 })
    }

    /// Its cube root, with derivative 0 at 0.
    #[inline(always)]
    fn cbrt(self) -> Self {
        let root = self.value().cbrt();
        self.chain(root, if root != 0.0 { 1.0 / (3.0 * root * root) } else { 0.0 })
    }

    /// self^exponent for self ≥ 0, with derivative 0 at 0.
    #[inline(always)]
    fn powf(self, exponent: f64) -> Self {
        let x = self.value();
        let power = x.powf(exponent);
        self.chain(power, if x > 0.0 { exponent * power / x } else { 0.0 })
    }

    /// self^7.
    #[inline(always)]
    fn seventh(self) -> Self {
        let x = self.value();
        let sixth = (x * x * x) * (x * x * x);
        self.chain(sixth * x, 7.0 * sixth)
    }

    /// e^self.
    #[inline(always)]
    fn exp(self) -> Self {
        let power = self.value().exp();
        self.chain(power, power)
    }

    /// Sine and cosine.
    #[inline(always)]
    fn sin_cos(self) -> (Self, Self) {
        let (sin, cos) = self.value().sin_cos();
        (self.chain(sin, cos), self.chain(cos, -sin))
    }

    /// The angle of the point (x, self) in (-π, π], with derivative 0 at the origin.
    #[inline(always)]
    fn atan2(self, x: Self) -> Self {
        let (y_value, x_value) = (self.value(), x.value());
        let square = x_value * x_value + y_value * y_value;
        let scale = if square > 0.0 { 1.0 / square } else { 0.0 };
        self.chain2(x, y_value.atan2(x_value), x_value * scale, -y_value * scale)
    }

    /// The larger of it and 0, with derivative 1 at 0.
    #[inline(always)]
    fn positive(self) -> Self {
        if self.value() < 0.0 { Self::constant(0.0) } else { self }
    }
}

impl Differentiable for f64 {
    #[inline(always)]
    fn constant(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn value(self) -> f64 {
        self
    }
    #[inline(always)]
    fn chain(self, value: f64, _: f64) -> Self {
        value
    }
    #[inline(always)]
    fn chain2(self, _: Self, value: f64, _: f64, _: f64) -> Self {
        value
    }
}

/// A number with its derivatives by the three channels of a pixel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dual {
    pub(crate) value: f64,
    pub(crate) slopes: [f64; 3],
}

impl Dual {
    /// The three channels of a pixel, each with derivative 1 by itself.
    #[inline(always)]
    pub(crate) fn pixel(values: [f64; 3]) -> [Self; 3] {
        let [r, g, b] = values;
        [
            Self { value: r, slopes: [1.0, 0.0, 0.0] },
            Self { value: g, slopes: [0.0, 1.0, 0.0] },
            Self { value: b, slopes: [0.0, 0.0, 1.0] },
        ]
    }
}

impl Differentiable for Dual {
    #[inline(always)]
    fn constant(value: f64) -> Self {
        Self { value, slopes: [0.0; 3] }
    }
    #[inline(always)]
    fn value(self) -> f64 {
        self.value
    }
    #[inline(always)]
    fn chain(self, value: f64, slope: f64) -> Self {
        let [r, g, b] = self.slopes;
        Self { value, slopes: [slope * r, slope * g, slope * b] }
    }
    #[inline(always)]
    fn chain2(self, other: Self, value: f64, by_self: f64, by_other: f64) -> Self {
        let ([r, g, b], [x, y, z]) = (self.slopes, other.slopes);
        let slopes = [by_self * r + by_other * x, by_self * g + by_other * y, by_self * b + by_other * z];
        Self { value, slopes }
    }
}

impl Add for Dual {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.chain2(other, self.value + other.value, 1.0, 1.0)
    }
}

impl Sub for Dual {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.chain2(other, self.value - other.value, 1.0, -1.0)
    }
}

impl Mul for Dual {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.chain2(other, self.value * other.value, other.value, self.value)
    }
}

impl Div for Dual {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        let quotient = self.value / other.value;
        self.chain2(other, quotient, 1.0 / other.value, -quotient / other.value)
    }
}

impl Neg for Dual {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        self.chain(-self.value, -1.0)
    }
}

impl Add<f64> for Dual {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: f64) -> Self {
        Self { value: self.value + other, slopes: self.slopes }
    }
}

impl Sub<f64> for Dual {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: f64) -> Self {
        Self { value: self.value - other, slopes: self.slopes }
    }
}

impl Mul<f64> for Dual {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: f64) -> Self {
        self.chain(self.value * other, other)
    }
}

impl Div<f64> for Dual {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: f64) -> Self {
        self.chain(self.value / other, 1.0 / other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses every operation once.
    fn everything<N: Differentiable>([x, y, z]: [N; 3]) -> N {
        let (sin, cos) = (x * y - z).sin_cos();
        let angle = (y - 2.0).atan2(x + z);
        let roots = (x * x + y).sqrt() + (z + 0.5).cbrt() / 3.0;
        sin * cos * 2.0 + angle.exp() / roots - (-z).positive() + x.positive().powf(2.4) + y.seventh()
    }

    #[test]
    fn derivatives_are_those_of_finite_differences_and_values_those_without() {
        let at = [0.7, 0.9, 0.4];
        let dual = everything(Dual::pixel(at));
        assert_eq!(dual.value, everything(at));
        for channel in 0..3 {
            let moved = |by: f64| {
                let mut moved = at;
                moved[channel] += by;
                everything(moved)
            };
            let numeric = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            assert!((numeric - dual.slopes[channel]).abs() < 1e-8, "{channel}: {numeric} and {}", dual.slopes[channel]);
        }
    }

    #[test]
    fn derivatives_at_zero_are_zero() {
        let [zero, other, _] = Dual::pixel([0.0; 3]);
        for dual in [zero.sqrt(), zero.cbrt(), zero.powf(0.4), zero.atan2(other)] {
            assert_eq!((dual.value, dual.slopes), (0.0, [0.0; 3]));
        }
    }
}
