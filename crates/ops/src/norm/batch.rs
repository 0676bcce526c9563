//! Batch norm.

use super::{Moments, add_pairs, check_channels, check_image};
use crate::Node;
use crate::pointwise::{fill_rows, over_pieces, sum_pairs};
use candle_core::{DType, Result, Tensor};
use colormamba_cpu::{Real, tensor, with_slices};
use colormamba_cuda::applies;
use rayon::prelude::*;
use std::ops::Range;

/// What a batch looked like, per channel; detached from the graph.
#[derive(Clone, Debug)]
pub struct BatchStats {
    /// Mean over batch and pixels, `(C)`.
    pub mean: Tensor,
    /// Biased variance over batch and pixels, `(C)`.
    pub var: Tensor,
}

/// Each channel of `x` `(B, C, H, W)` brought to mean 0 and variance 1 over batch and pixels, times `w` `(C)`, plus `b` `(C)`.
///
/// The gradient goes through the statistics; those returned, for a running average, are detached.
///
/// # Errors
/// [`Shape`](crate::OpError::Shape) if the shapes do not fit, [`DType`](crate::OpError::DType) for [other types](crate#types).
///
/// Source: Ioffe & Szegedy 2015, arXiv 1502.03167.
pub fn batch_norm_train(x: impl Into<Node>, w: &Tensor, b: &Tensor, eps: f64) -> Result<(Node, BatchStats)> {
    let x = x.into().contiguous()?;
    let (c, plane) = check_image("batch_norm_train", &x)?;
    check_channels("batch_norm_train", &x, c, &[w, b])?;
    if applies(x.value()) {
        let stats = cuda::moments(x.value(), c, plane)?;
        let y = cuda::BatchNorm { stats: stats.clone(), eps, plane, train: true }.apply(&x, w, b)?;
        return Ok((y, stats));
    }
    let moments = channel_moments(x.value(), c, plane)?;
    let (mean, var): (Vec<f64>, Vec<f64>) = moments.iter().map(|m| (m.mean, m.variance())).unzip();
    let stats = BatchStats { mean: vector(&mean, x.dtype())?, var: vector(&var, x.dtype())? };
    let y = BatchNorm::new(mean, var, eps, plane, true).apply(&x, w, b)?;
    Ok((y, stats))
}

/// ([`batch_norm_train`]'s formula with given statistics) `x` `(B, C, H, W)`; `mean`, `var`, `w`, `b` `(C)`.
///
/// `mean` and `var` count as constants: no gradient reaches them.
///
/// # Errors
/// [`Shape`](crate::OpError::Shape) if the shapes do not fit, [`DType`](crate::OpError::DType) for [other types](crate#types).
pub fn batch_norm_eval(
    x: impl Into<Node>,
    mean: &Tensor,
    var: &Tensor,
    w: &Tensor,
    b: &Tensor,
    eps: f64,
) -> Result<Node> {
    let x = x.into().contiguous()?;
    let (c, plane) = check_image("batch_norm_eval", &x)?;
    check_channels("batch_norm_eval", &x, c, &[mean, var, w, b])?;
    if applies(x.value()) {
        let stats = BatchStats { mean: mean.detach().contiguous()?, var: var.detach().contiguous()? };
        return cuda::BatchNorm { stats, eps, plane, train: false }.apply(&x, w, b);
    }
    let wide = |x: &Tensor| x.to_dtype(DType::F64)?.to_vec1::<f64>();
    BatchNorm::new(wide(mean)?, wide(var)?, eps, plane, false).apply(&x, w, b)
}

fn vector(values: &[f64], dtype: DType) -> Result<Tensor> {
    Tensor::new(values, &candle_core::Device::Cpu)?.to_dtype(dtype)
}

/// What `f` makes of the pieces of each channel's planes (as ranges of all elements), joined in order.
fn per_channel<R: Copy + Default + Send>(
    n: usize,
    c: usize,
    plane: usize,
    f: impl Fn(Range<usize>) -> R + Sync,
    join: impl Fn(R, R) -> R + Sync,
) -> Vec<R> {
    let of_plane = |i: usize| {
        over_pieces(
            plane,
            #[inline(always)]
            |piece| f(i * plane + piece.start..i * plane + piece.end),
            &join,
        )
    };
    let planes: Vec<R> = (0..n / plane.max(1)).into_par_iter().map(of_plane).collect();
    let of_channel = |channel| planes.iter().skip(channel).step_by(c).copied().reduce(&join).unwrap_or_default();
    (0..c).map(of_channel).collect()
}

fn channel_moments(x: &Tensor, c: usize, plane: usize) -> Result<Vec<Moments>> {
    with_slices!("batch_norm_train", [x], T => {
        Ok(per_channel(x.len(), c, plane, #[inline(always)] |piece| Moments::of::<T>(&x[piece]), Moments::join))
    })
}

/// (x − mean) · rstd · w + b; in training, mean and variance are x's own, and its gradient knows that.
struct BatchNorm {
    mean: Vec<f64>,
    rstd: Vec<f64>,
    plane: usize,
    train: bool,
}

impl BatchNorm {
    fn new(mean: Vec<f64>, var: Vec<f64>, eps: f64, plane: usize, train: bool) -> Self {
        let rstd = var.into_iter().map(|var| 1.0 / (var + eps).sqrt()).collect();
        Self { mean, rstd, plane, train }
    }

    fn apply(self, x: &Node, w: &Tensor, b: &Tensor) -> Result<Node> {
        let (w, b) = (Node::from(w).contiguous()?, Node::from(b).contiguous()?);
        let (xv, wv) = (x.value().clone(), w.value().clone());
        let y = self.forward(&xv, &wv, b.value())?;
        let (for_x, for_w, for_b) = (x.is_tracked(), w.is_tracked(), b.is_tracked());
        Node::new(y, [x, &w, &b], move |grad| {
            let [dx, dw, db] = self.gradients(&xv, &wv, grad)?;
            Ok([for_x.then_some(dx), for_w.then_some(dw), for_b.then_some(db)])
        })
    }

    fn forward(&self, x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
        let shape = x.shape();
        with_slices!("batch_norm", [x, w, b], T => {
            let out = fill_rows(x.len(), self.plane, #[inline(always)] |start, out| {
                let channel = start / self.plane % w.len();
                let (mean, b) = (T::of(self.mean[channel]), b[channel]);
                let scale = T::of(self.rstd[channel]) * w[channel];
                for (out, &x) in out.iter_mut().zip(&x[start..]) {
                    *out = (x - mean).mul_add(scale, b);
                }
            });
            Ok(tensor(out, shape))
        })
    }

    /// Those of x, w and b.
    fn gradients(&self, x: &Tensor, w: &Tensor, grad: &Tensor) -> Result<[Tensor; 3]> {
        let shape = x.shape();
        with_slices!("batch_norm", [x, w, grad], T => {
            let sums = self.gradient_sums::<T>(x, grad, w.len());
            let dx = self.input_gradient(x, w, grad, &sums);
            let (db, dw): (Vec<T>, Vec<T>) = sums.iter().map(|s| (T::of(s.0), T::of(s.1))).unzip();
            Ok([tensor(dx, shape), tensor(dw, w.len()), tensor(db, w.len())])
        })
    }

    /// For each channel, the sums of the gradient and of its products with the normalised x.
    fn gradient_sums<T: Real>(&self, x: &[T], g: &[T], c: usize) -> Vec<(f64, f64)> {
        per_channel(
            x.len(),
            c,
            self.plane,
            #[inline(always)]
            |piece| {
                let channel = piece.start / self.plane % c;
                let (mean, rstd) = (T::of(self.mean[channel]), T::of(self.rstd[channel]));
                sum_pairs(
                    &x[piece.clone()],
                    &g[piece],
                    #[inline(always)]
                    |x, g| (g, g * ((x - mean) * rstd)),
                )
            },
            add_pairs,
        )
    }

    fn input_gradient<T: Real>(&self, x: &[T], w: &[T], g: &[T], sums: &[(f64, f64)]) -> Vec<T> {
        let c = w.len();
        // Given statistics do not move with x.
        let share = if self.train { c as f64 / x.len() as f64 } else { 0.0 };
        fill_rows(
            x.len(),
            self.plane,
            #[inline(always)]
            |start, dx| {
                let channel = start / self.plane % c;
                let (mean, rstd) = (T::of(self.mean[channel]), T::of(self.rstd[channel]));
                let (sum, dot) = (T::of(sums[channel].0 * share), T::of(sums[channel].1 * share));
                let scale = rstd * w[channel];
                for ((dx, &x), &g) in dx.iter_mut().zip(&x[start..]).zip(&g[start..]) {
                    *dx = scale * (g - sum - (x - mean) * rstd * dot);
                }
            },
        )
    }
}

mod cuda {
    use super::BatchStats;
    use crate::Node;
    use crate::kernels::PLANES;
    use crate::pointwise::cuda::over_elements;
    use candle_core::{Result, Tensor};
    use colormamba_cuda::{DeviceMemory, Launch, threads_for};

    pub(super) fn moments(x: &Tensor, c: usize, plane: usize) -> Result<BatchStats> {
        let (mut mean, mut var) = (DeviceMemory::statistics(x, c)?, DeviceMemory::statistics(x, c)?);
        let launch = Launch::new(&PLANES, "batch_moments", x).blocks([c, 1, 1], threads_for(plane));
        let launch = launch.input(x).output(&mut mean).output(&mut var);
        launch.sizes([x.elem_count() / (c * plane).max(1), c, plane]).run()?;
        Ok(BatchStats { mean: mean.tensor(c)?, var: var.tensor(c)? })
    }

    /// As the CPU's, with statistics that stay on the GPU.
    pub(super) struct BatchNorm {
        pub stats: BatchStats,
        pub eps: f64,
        pub plane: usize,
        pub train: bool,
    }

    impl BatchNorm {
        pub fn apply(self, x: &Node, w: &Tensor, b: &Tensor) -> Result<Node> {
            let (w, b) = (Node::from(w).contiguous()?, Node::from(b).contiguous()?);
            let (xv, wv) = (x.value().clone(), w.value().clone());
            let y = self.forward(&xv, &wv, b.value())?;
            let (for_x, for_w, for_b) = (x.is_tracked(), w.is_tracked(), b.is_tracked());
            Node::new(y, [x, &w, &b], move |grad| {
                let (dw, db) = self.sums(&xv, grad)?;
                let dx = for_x.then(|| self.input_gradient(&xv, &wv, (&dw, &db), grad)).transpose()?;
                Ok([dx, for_w.then_some(dw), for_b.then_some(db)])
            })
        }

        fn forward(&self, x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
            let (n, c) = (x.elem_count(), w.elem_count());
            let mut y = DeviceMemory::like(x)?;
            let launch = over_elements(&PLANES, "batch_norm", x, n).input(x).input(&self.stats.mean);
            let launch = launch.input(&self.stats.var).input(w).input(b).output(&mut y);
            launch.sizes([n, c, self.plane]).number(self.eps).run()?;
            y.tensor(x.shape())
        }

        /// The gradients of weight and bias.
        fn sums(&self, x: &Tensor, grad: &Tensor) -> Result<(Tensor, Tensor)> {
            let c = self.stats.mean.elem_count();
            let (mut dw, mut db) = (DeviceMemory::statistics(x, c)?, DeviceMemory::statistics(x, c)?);
            let launch = Launch::new(&PLANES, "batch_norm_sums", x).blocks([c, 1, 1], threads_for(self.plane));
            let launch = launch.input(x).input(grad).input(&self.stats.mean).input(&self.stats.var);
            let batch = x.elem_count() / (c * self.plane).max(1);
            launch.output(&mut dw).output(&mut db).sizes([batch, c, self.plane]).number(self.eps).run()?;
            Ok((dw.tensor(c)?, db.tensor(c)?))
        }

        fn input_gradient(&self, x: &Tensor, w: &Tensor, sums: (&Tensor, &Tensor), grad: &Tensor) -> Result<Tensor> {
            let (n, c) = (x.elem_count(), w.elem_count());
            // Given statistics do not move with x.
            let count = if self.train { n / c.max(1) } else { 0 };
            let mut dx = DeviceMemory::like(x)?;
            let launch = over_elements(&PLANES, "batch_norm_gradient", x, n).input(x).input(grad);
            let launch = launch.input(&self.stats.mean).input(&self.stats.var).input(w).input(sums.0).input(sums.1);
            launch.output(&mut dx).sizes([n, c, self.plane, count]).number(self.eps).run()?;
            dx.tensor(x.shape())
        }
    }
}
