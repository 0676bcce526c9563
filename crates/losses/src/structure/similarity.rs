//! SSIM and its factors at one pixel, as what they lack to 1.
//!
//! With d = p − t and μ, v the mean and the variance in a window, all of them are fractions of numbers that are 0 where d is:
//! 1 − l = μ_d²/(μ_p² + μ_t² + C1) and 1 − c·s = v_d/(v_p + v_t + C2). So they keep their digits near identity, and are
//! exactly 0 there.

use colormamba_cpu::Real;
use serde::{Deserialize, Serialize};

/// σ = √(v + NOISE), as if both images had the same noise of this variance: a fortieth of a step of 8-bit images. Without it
/// σ has no gradient where an image is constant.
const NOISE: f64 = 1e-8;

/// Which factors of SSIM count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Their product: SSIM.
    All,
    /// l.
    Luminance,
    /// c.
    Contrast,
    /// s.
    Structure,
    /// c · s.
    ContrastStructure,
}

/// Which factors of SSIM, with their constants.
#[derive(Clone, Copy)]
pub(crate) struct Similarity {
    part: Part,
    c1: f64,
    c2: f64,
}

impl Similarity {
    /// For values of the range `range`.
    pub(crate) fn new(part: Part, range: f64) -> Self {
        Self { part, c1: (0.01 * range).powi(2), c2: (0.03 * range).powi(2) }
    }

    /// A row of dissimilarities. `means`: in its place come the gradients by these.
    #[inline(always)]
    pub(crate) fn row<T: Real>(self, means: Means<'_, T>, out: &mut [T]) {
        let (c1, c2) = (T::of(self.c1), T::of(self.c2));
        let (c3, noise) = (T::of(self.c2 / 2.0), T::of(NOISE));
        match self.part {
            Part::All => means.replace(
                out,
                #[inline(always)]
                |w| whole(w, c1, c2),
            ),
            Part::Luminance => means.replace(
                out,
                #[inline(always)]
                |w| luminance(w, c1),
            ),
            Part::Contrast => means.replace(
                out,
                #[inline(always)]
                |w| contrast(w, c2, noise),
            ),
            Part::Structure => means.replace(
                out,
                #[inline(always)]
                |w| structure(w, c3, noise),
            ),
            Part::ContrastStructure => means.replace(
                out,
                #[inline(always)]
                |w| contrast_structure(w, c2),
            ),
        }
    }
}

/// Rows of window means.
pub(crate) struct Means<'a, T> {
    /// Means of d, of d² and of d·t: three rows, one after the other.
    pub(crate) moments: &'a mut [T],
    /// Means of t.
    pub(crate) target: &'a [T],
    /// Variances of t.
    pub(crate) variance: &'a [T],
}

impl<T: Real> Means<'_, T> {
    #[inline(always)]
    fn replace(self, out: &mut [T], part: impl Fn(Window<T>) -> Dissimilarity<T>) {
        let n = out.len();
        let (mean, rest) = self.moments.split_at_mut(n);
        let (square, product) = rest.split_at_mut(n);
        let (product, target, variance) = (&mut product[..n], &self.target[..n], &self.variance[..n]);
        for i in 0..n {
            let window = Window::new([mean[i], square[i], product[i]], target[i], variance[i]);
            let result = part(window);
            out[i] = result.value;
            [mean[i], square[i], product[i]] = result.gradient(&window);
        }
    }
}

/// Means μ and variances v in one window.
#[derive(Clone, Copy)]
struct Window<T> {
    mean_d: T,
    mean_p: T,
    mean_t: T,
    var_d: T,
    var_p: T,
    var_t: T,
}

impl<T: Real> Window<T> {
    #[inline(always)]
    fn new([d, dd, dt]: [T; 3], t: T, var_t: T) -> Self {
        let var_d = above_zero(dd - d * d);
        let covariance = dt - d * t;
        let var_p = above_zero(var_t + covariance + covariance + var_d);
        Self { mean_d: d, mean_p: t + d, mean_t: t, var_d, var_p, var_t }
    }
}

/// A variance that rounding may have made negative; a NaN stays one.
#[inline(always)]
pub(crate) fn above_zero<T: Real>(variance: T) -> T {
    if variance < T::ZERO { T::ZERO } else { variance }
}

/// 1 less a factor of SSIM, with its derivatives by μ_d (of d and p at once), v_d and v_p.
struct Dissimilarity<T> {
    value: T,
    by_mean: T,
    by_var_d: T,
    by_var_p: T,
}

impl<T: Real> Dissimilarity<T> {
    /// The gradient by the means of d, d² and d·t: v_d is that of d² less μ_d², and v_p = v_t + 2 cov(d, t) + v_d.
    #[inline(always)]
    fn gradient(self, window: &Window<T>) -> [T; 3] {
        let square = self.by_var_d + self.by_var_p;
        let product = self.by_var_p + self.by_var_p;
        let mean = self.by_mean - (window.mean_d + window.mean_d) * square - window.mean_t * product;
        [mean, square, product]
    }
}

/// 1 − l · c · s.
#[inline(always)]
fn whole<T: Real>(w: Window<T>, c1: T, c2: T) -> Dissimilarity<T> {
    let (l, cs) = (luminance(w, c1), contrast_structure(w, c2));
    let (left_l, left_cs) = (T::ONE - l.value, T::ONE - cs.value);
    Dissimilarity {
        value: l.value + left_l * cs.value,
        by_mean: l.by_mean * left_cs,
        by_var_d: cs.by_var_d * left_l,
        by_var_p: cs.by_var_p * left_l,
    }
}

/// 1 − l, with l = (2 μ_p μ_t + C1)/(μ_p² + μ_t² + C1).
#[inline(always)]
fn luminance<T: Real>(w: Window<T>, c1: T) -> Dissimilarity<T> {
    let scale = T::ONE / (w.mean_p * w.mean_p + w.mean_t * w.mean_t + c1);
    let value = w.mean_d * w.mean_d * scale;
    let half = (w.mean_d - value * w.mean_p) * scale;
    Dissimilarity { value, by_mean: half + half, by_var_d: T::ZERO, by_var_p: T::ZERO }
}

/// 1 − c · s, with c · s = (2 cov(p, t) + C2)/(v_p + v_t + C2).
#[inline(always)]
fn contrast_structure<T: Real>(w: Window<T>, c2: T) -> Dissimilarity<T> {
    let scale = T::ONE / (w.var_p + w.var_t + c2);
    let value = w.var_d * scale;
    Dissimilarity { value, by_mean: T::ZERO, by_var_d: scale, by_var_p: -value * scale }
}

/// 1 − c, with c = (2 σ_p σ_t + C2)/(σ_p² + σ_t² + C2).
#[inline(always)]
fn contrast<T: Real>(w: Window<T>, c2: T, noise: T) -> Dissimilarity<T> {
    let (p, t) = ((w.var_p + noise).sqrt(), (w.var_t + noise).sqrt());
    let scale = T::ONE / (p * p + t * t + c2);
    let apart = p - t;
    let value = apart * apart * scale;
    Dissimilarity { value, by_mean: T::ZERO, by_var_d: T::ZERO, by_var_p: (apart - value * p) * scale / p }
}

/// 1 − s, with s = (cov(p, t) + C3)/(σ_p σ_t + C3): σ_p σ_t − cov is half of v_d − (σ_p − σ_t)².
#[inline(always)]
fn structure<T: Real>(w: Window<T>, c3: T, noise: T) -> Dissimilarity<T> {
    let (p, t) = ((w.var_p + noise).sqrt(), (w.var_t + noise).sqrt());
    let scale = T::ONE / (p * t + c3);
    let half = T::of(0.5);
    let apart = p - t;
    let value = above_zero(half * (w.var_d - apart * apart)) * scale;
    let by_p = -(apart + value * t) * scale;
    Dissimilarity { value, by_mean: T::ZERO, by_var_d: half * scale, by_var_p: half * by_p / p }
}
