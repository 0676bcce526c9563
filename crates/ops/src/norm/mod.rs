//! Normalisations. The variance is the biased one, eps goes under the root.

mod batch;
mod instance;
mod layer;
mod spade;

pub use batch::{BatchStats, batch_norm_eval, batch_norm_train};
pub use instance::instance_norm;
pub use layer::layer_norm;
pub use spade::spade_norm;

use crate::operands::check_type;
use crate::pointwise::{over_pieces, sum};
use crate::{Node, OpError};
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, tensor};

/// Channels, and elements of a plane.
fn check_image(op: &'static str, x: &Node) -> Result<(usize, usize)> {
    match x.dims() {
        [_, c, h, w] => Ok((*c, h * w)),
        _ => Err(OpError::shape(op, "(B, C, H, W)", x.shape())),
    }
}

/// Checks that each of some vectors has a value for each of `c` channels, and fits the type of `x`.
fn check_channels(op: &'static str, x: &Node, c: usize, vectors: &[&Tensor]) -> Result<()> {
    if let Some(v) = vectors.iter().find(|v| v.dims() != [c]) {
        return Err(OpError::shape(op, format!("({c}), one value a channel"), v.shape()));
    }
    vectors.iter().try_for_each(|v| check_type(op, x.value(), "vector of channels", v))
}

/// Of some values: their number, their mean, and the sum of the squares of their distances from it.
#[derive(Clone, Copy, Default)]
struct Moments {
    n: f64,
    pub mean: f64,
    squares: f64,
}

impl Moments {
    /// In two passes, so that a large mean cancels no digits.
    #[inline(always)]
    pub fn of<T: Real>(x: &[T]) -> Self {
        let mean = mean(x);
        Self { n: x.len() as f64, mean, squares: squares(x, T::of(mean)) }
    }

    /// Those of both together. Source: Chan et al. 1983, The American Statistician 37(3), equation 2.1.
    pub fn join(self, other: Self) -> Self {
        let n = self.n + other.n;
        let (apart, share) = (other.mean - self.mean, other.n / n);
        Self {
            n,
            mean: self.mean + apart * share,
            squares: self.squares + other.squares + apart * apart * self.n * share,
        }
    }

    #[inline(always)]
    pub fn variance(self) -> f64 {
        self.squares / self.n
    }
}

/// The differences from the first are summed: these are exact where values are close to each other.
#[inline(always)]
fn mean<T: Real>(x: &[T]) -> f64 {
    let first = x[0];
    let sum = sum(
        x,
        x,
        #[inline(always)]
        |x, _| x - first,
    );
    first.wide() + sum * (1.0 / x.len() as f64)
}

/// Σ (x − mean)²
#[inline(always)]
fn squares<T: Real>(x: &[T], mean: T) -> f64 {
    sum(
        x,
        x,
        #[inline(always)]
        |x, _| (x - mean) * (x - mean),
    )
}

/// 1/√(variance + eps)
#[inline(always)]
fn rstd<T: Real>(variance: f64, eps: f64) -> T {
    T::of(1.0 / (variance + eps).sqrt())
}

/// Mean and 1/√(variance + eps) of a plane.
fn plane_mean_rstd<T: Real>(x: &[T], eps: f64) -> [T; 2] {
    let moments = over_pieces(
        x.len(),
        #[inline(always)]
        |piece| Moments::of(&x[piece]),
        Moments::join,
    );
    [T::of(moments.mean), rstd(moments.variance(), eps)]
}

/// Pairs of sums, added.
fn add_pairs(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    (a.0 + b.0, a.1 + b.1)
}

/// A tensor `(n, 2)`.
fn pairs<T: Real>(pairs: Vec<[T; 2]>) -> Tensor {
    let n = pairs.len();
    tensor(pairs.into_flattened(), (n, 2))
}
