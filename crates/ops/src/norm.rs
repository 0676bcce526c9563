//! Normalisations. Statistics are summed in f64 whatever the type; the variance is the biased one, eps goes under the root.

use crate::cpu::{Real, buffer, slice, vectorize};
use crate::dispatch_real;
use crate::pointwise::{Grads3, add_up, fill_rows, rows_per_chunk, sum_pairs, to_storage};
use crate::{Activation, OpError};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// Each plane of `x` `(B, C, H, W)` brought to mean 0 and variance 1, then `act`; no parameters.
///
/// A constant plane becomes 0 (and its gradient is finite, by `eps`).
///
/// # Errors
/// [`OpError::Shape`] unless of rank 4, [`OpError::DType`] unless f32 or f64.
///
/// Source: Ulyanov et al. 2016, arXiv 1607.08022.
pub fn instance_norm(x: &Tensor, eps: f64, act: Activation) -> Result<Tensor> {
    if x.rank() != 4 {
        return Err(OpError::shape("instance_norm", "(B, C, H, W)", x.shape()));
    }
    x.contiguous()?.apply_op1(InstanceNorm { eps, slope: act.slope() })
}

/// Each row of `x` `(.., C)` brought to mean 0 and variance 1, times `w` `(C)`, plus `b` `(C)`.
///
/// # Errors
/// [`OpError::Shape`] if the shapes do not fit, [`OpError::DType`] unless f32 or f64.
///
/// Source: Ba et al. 2016, arXiv 1607.06450.
pub fn layer_norm(x: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Result<Tensor> {
    let Some(&c) = x.dims().last() else {
        return Err(OpError::shape("layer_norm", "(.., C)", x.shape()));
    };
    check_channels("layer_norm", c, &[w, b])?;
    x.contiguous()?.apply_op3(&w.contiguous()?, &b.contiguous()?, LayerNorm { eps })
}

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
/// [`OpError::Shape`] if the shapes do not fit, [`OpError::DType`] unless f32 or f64.
///
/// Source: Ioffe & Szegedy 2015, arXiv 1502.03167.
pub fn batch_norm_train(x: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Result<(Tensor, BatchStats)> {
    let c = check_image("batch_norm_train", x)?;
    check_channels("batch_norm_train", c, &[w, b])?;
    let x = x.contiguous()?;
    let stats = x.apply_op1_no_bwd(&ChannelStats)?;
    let (mean, var) = (stats.get(0)?, stats.get(1)?);
    let op = BatchNorm::new(&mean, &var, eps, true)?;
    let y = x.apply_op3(&w.contiguous()?, &b.contiguous()?, op)?;
    Ok((y, BatchStats { mean: mean.to_dtype(x.dtype())?, var: var.to_dtype(x.dtype())? }))
}

/// ([`batch_norm_train`]'s formula with given statistics) `x` `(B, C, H, W)`; `mean`, `var`, `w`, `b` `(C)`.
///
/// `mean` and `var` count as constants: no gradient reaches them.
///
/// # Errors
/// [`OpError::Shape`] if the shapes do not fit, [`OpError::DType`] unless f32 or f64.
pub fn batch_norm_eval(x: &Tensor, mean: &Tensor, var: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Result<Tensor> {
    let c = check_image("batch_norm_eval", x)?;
    check_channels("batch_norm_eval", c, &[mean, var, w, b])?;
    let op = BatchNorm::new(mean, var, eps, false)?;
    x.contiguous()?.apply_op3(&w.contiguous()?, &b.contiguous()?, op)
}

fn check_image(op: &'static str, x: &Tensor) -> Result<usize> {
    match x.dims() {
        [_, c, _, _] => Ok(*c),
        _ => Err(OpError::shape(op, "(B, C, H, W)", x.shape())),
    }
}

fn check_channels(op: &'static str, c: usize, vectors: &[&Tensor]) -> Result<()> {
    match vectors.iter().find(|v| v.dims() != [c]) {
        Some(v) => Err(OpError::shape(op, format!("({c}), one value a channel"), v.shape())),
        None => Ok(()),
    }
}

/// Mean and biased variance. Shifted by the first value, so that a large mean cancels no digits.
#[inline(always)]
fn moments<T: Real>(x: &[T]) -> (f64, f64) {
    let shift = x[0].wide();
    let (sum, squares) = sum_pairs(
        x,
        x,
        #[inline(always)]
        |x, _| {
            let d = x.wide() - shift;
            (d, d * d)
        },
    );
    finish(sum, squares, x.len(), shift)
}

/// Mean and variance of `n` values from the sums of their distances from `shift` and of the squares of these.
#[inline(always)]
fn finish(sum: f64, squares: f64, n: usize, shift: f64) -> (f64, f64) {
    let mean = sum / n as f64;
    (mean + shift, (squares / n as f64 - mean * mean).max(0.0))
}

/// Mean and 1/√(variance + eps).
#[inline(always)]
fn mean_rstd<T: Real>(x: &[T], eps: f64) -> (T, T) {
    let (mean, var) = moments(x);
    (T::of(mean), T::of(1.0 / (var + eps).sqrt()))
}

struct InstanceNorm {
    eps: f64,
    slope: f64,
}
/// For arguments (x, grad).
struct InstanceNormGrad {
    eps: f64,
    slope: f64,
}

impl CustomOp1 for InstanceNorm {
    fn name(&self) -> &'static str {
        "instance_norm"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, _, h, w) = l.shape().dims4()?;
        dispatch_real!("instance_norm", s, T => {
            let x = slice::<T>("instance_norm", s, l)?;
            let out = fill_rows(x.len(), h * w, #[inline(always)] |start, out| {
                let (x, slope) = (&x[start..start + out.len()], T::of(self.slope));
                let (mean, rstd) = mean_rstd::<T>(x, self.eps);
                for (out, &x) in out.iter_mut().zip(x) {
                    let y = (x - mean) * rstd;
                    *out = if y > T::ZERO { y } else { slope * y };
                }
            });
            Ok((to_storage(out), l.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let op = InstanceNormGrad { eps: self.eps, slope: self.slope };
        x.apply_op2_no_bwd(&grad.contiguous()?, &op).map(Some)
    }
}

impl CustomOp2 for InstanceNormGrad {
    fn name(&self) -> &'static str {
        "instance_norm"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, _, h, w) = l1.shape().dims4()?;
        dispatch_real!("instance_norm", s1, T => {
            let (x, g) = (slice::<T>("instance_norm", s1, l1)?, slice::<T>("instance_norm", s2, l2)?);
            let out = fill_rows(x.len(), h * w, #[inline(always)] |start, out| {
                let end = start + out.len();
                instance_grad::<T>(&x[start..end], &g[start..end], self.eps, T::of(self.slope), out);
            });
            Ok((to_storage(out), l1.shape().clone()))
        })
    }
}

/// The gradient for one plane. The activation's derivative follows from the sign of the normalised value, which is
/// computed as in the forward pass, to the bit.
#[inline(always)]
fn instance_grad<T: Real>(x: &[T], g: &[T], eps: f64, slope: T, out: &mut [T]) {
    let (mean, rstd) = mean_rstd::<T>(x, eps);
    let (sum, dot) = sum_pairs(
        x,
        g,
        #[inline(always)]
        |x, g| {
            let y = (x - mean) * rstd;
            let g = through(g, y, slope);
            (g.wide(), (g * y).wide())
        },
    );
    let n = x.len() as f64;
    let (sum, dot) = (T::of(sum / n), T::of(dot / n));
    for ((out, &x), &g) in out.iter_mut().zip(x).zip(g) {
        let y = (x - mean) * rstd;
        *out = rstd * (through(g, y, slope) - sum - y * dot);
    }
}

/// The gradient at the activation's input `y` from that at its output.
#[inline(always)]
fn through<T: Real>(g: T, y: T, slope: T) -> T {
    if y > T::ZERO { g } else { slope * g }
}

struct LayerNorm {
    eps: f64,
}
/// The gradients of x, w and b in one vector, for arguments (x, w, grad).
struct LayerNormGrad {
    eps: f64,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        dispatch_real!("layer_norm", s1, T => {
            let (x, w) = (slice::<T>("layer_norm", s1, l1)?, slice::<T>("layer_norm", s2, l2)?);
            let b = slice::<T>("layer_norm", s3, l3)?;
            let out = fill_rows(x.len(), w.len(), #[inline(always)] |start, out| {
                let x = &x[start..start + out.len()];
                let (mean, rstd) = mean_rstd::<T>(x, self.eps);
                for (((out, &x), &w), &b) in out.iter_mut().zip(x).zip(w).zip(b) {
                    *out = ((x - mean) * rstd).mul_add(w, b);
                }
            });
            Ok((to_storage(out), l1.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, b: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Grads3> {
        let packed = x.apply_op3_no_bwd(w, &grad.contiguous()?, &LayerNormGrad { eps: self.eps })?;
        unpack(&packed, x, w, b)
    }
}

/// The gradients packed as x, w, b; those of untracked arguments are dropped.
fn unpack(packed: &Tensor, x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Grads3> {
    let (n, c) = (x.elem_count(), w.elem_count());
    let dx = x.track_op().then(|| packed.narrow(0, 0, n)?.reshape(x.shape())).transpose()?;
    let dw = w.track_op().then(|| packed.narrow(0, n, c)).transpose()?;
    let db = b.track_op().then(|| packed.narrow(0, n + c, c)).transpose()?;
    Ok((dx, dw, db))
}

impl CustomOp3 for LayerNormGrad {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        dispatch_real!("layer_norm", s1, T => {
            let (x, w) = (slice::<T>("layer_norm", s1, l1)?, slice::<T>("layer_norm", s2, l2)?);
            let packed = layer_norm_grads::<T>(x, w, slice::<T>("layer_norm", s3, l3)?, self.eps);
            let shape = Shape::from(packed.len());
            Ok((to_storage(packed), shape))
        })
    }
}

fn layer_norm_grads<T: Real>(x: &[T], w: &[T], g: &[T], eps: f64) -> Vec<T> {
    let (n, c) = (x.len(), w.len());
    if n == 0 {
        return vec![T::ZERO; 2 * c];
    }
    let mut packed = buffer(n + 2 * c);
    let chunk = rows_per_chunk(c) * c;
    let (dx, dparams) = packed.split_at_mut(n);
    let grad_chunk = |(i, dx): (usize, &mut [T])| {
        vectorize(
            #[inline(always)]
            || {
                let mut sums = vec![T::ZERO; 2 * c];
                let (dw, db) = sums.split_at_mut(c);
                for (j, dx) in dx.chunks_exact_mut(c).enumerate() {
                    let start = i * chunk + j * c;
                    layer_norm_grad_row(&x[start..start + c], w, &g[start..start + c], eps, dx, dw, db);
                }
                sums
            },
        )
    };
    let partials: Vec<Vec<T>> = dx.par_chunks_mut(chunk).enumerate().map(grad_chunk).collect();
    add_up(&partials, dparams);
    packed
}

/// Writes one row's gradient and adds the row's part of those of w and b.
#[inline(always)]
fn layer_norm_grad_row<T: Real>(x: &[T], w: &[T], g: &[T], eps: f64, dx: &mut [T], dw: &mut [T], db: &mut [T]) {
    let (mean, rstd) = mean_rstd::<T>(x, eps);
    // dx holds g · w until the sums over the row are known.
    for ((dx, &g), &w) in dx.iter_mut().zip(g).zip(w) {
        *dx = g * w;
    }
    let (sum, dot) = sum_pairs(
        x,
        dx,
        #[inline(always)]
        |x, g| (g.wide(), (g * ((x - mean) * rstd)).wide()),
    );
    let n = x.len() as f64;
    let (sum, dot) = (T::of(sum / n), T::of(dot / n));
    for ((dx, &x), (&g, (dw, db))) in dx.iter_mut().zip(x).zip(g.iter().zip(dw.iter_mut().zip(db))) {
        let y = (x - mean) * rstd;
        *dx = rstd * (*dx - sum - y * dot);
        *dw = g.mul_add(y, *dw);
        *db += g;
    }
}

/// Mean and biased variance per channel of `(B, C, H, W)`, as f64 `(2, C)`.
struct ChannelStats;

impl CustomOp1 for ChannelStats {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, c, h, w) = l.shape().dims4()?;
        dispatch_real!("batch_norm", s, T => {
            let x = slice::<T>("batch_norm", s, l)?;
            let stats: Vec<(f64, f64)> = (0..c).into_par_iter().map(|channel| {
                let shift = x.get(channel * h * w).map_or(0.0, |x| x.wide());
                let (sum, squares) = channel_sums::<T>(x, x, channel, c, h * w, #[inline(always)] |x, _| {
                    let d = x.wide() - shift;
                    (d, d * d)
                });
                finish(sum, squares, b * h * w, shift)
            }).collect();
            let (mean, var): (Vec<f64>, Vec<f64>) = stats.into_iter().unzip();
            Ok((CpuStorage::F64([mean, var].concat()), Shape::from((2, c))))
        })
    }
}

/// Both sums of `f` over all pairs of elements of a channel.
fn channel_sums<T: Real>(
    a: &[T],
    b: &[T],
    channel: usize,
    channels: usize,
    plane: usize,
    f: impl Fn(T, T) -> (f64, f64),
) -> (f64, f64) {
    let planes = (0..a.len() / (channels * plane).max(1)).map(|batch| (batch * channels + channel) * plane);
    planes.fold((0.0, 0.0), |(p, q), at| {
        let (u, v) = vectorize(
            #[inline(always)]
            || sum_pairs(&a[at..at + plane], &b[at..at + plane], &f),
        );
        (p + u, q + v)
    })
}

/// (x − mean) · rstd · w + b; in training, mean and variance are x's own, and its gradient knows that.
struct BatchNorm {
    mean: Vec<f64>,
    rstd: Vec<f64>,
    train: bool,
}
/// The gradients of x, w and b in one vector, for arguments (x, w, grad).
struct BatchNormGrad<'a>(&'a BatchNorm);

impl BatchNorm {
    fn new(mean: &Tensor, var: &Tensor, eps: f64, train: bool) -> Result<Self> {
        let wide = |x: &Tensor| x.to_dtype(candle_core::DType::F64)?.to_vec1::<f64>();
        let rstd = wide(var)?.into_iter().map(|var| 1.0 / (var + eps).sqrt()).collect();
        Ok(Self { mean: wide(mean)?, rstd, train })
    }

    fn grads<T: Real>(&self, x: &[T], w: &[T], g: &[T], plane: usize) -> Vec<T> {
        let c = w.len();
        let sums: Vec<(f64, f64)> = (0..c)
            .into_par_iter()
            .map(|channel| {
                let (mean, rstd) = (T::of(self.mean[channel]), T::of(self.rstd[channel]));
                channel_sums(
                    x,
                    g,
                    channel,
                    c,
                    plane,
                    #[inline(always)]
                    |x, g| (g.wide(), (g * ((x - mean) * rstd)).wide()),
                )
            })
            .collect();
        let n = (x.len() / c.max(1)) as f64;
        let mut packed = fill_rows(
            x.len(),
            plane,
            #[inline(always)]
            |start, dx| {
                let channel = start / plane % c;
                let (mean, rstd) = (T::of(self.mean[channel]), T::of(self.rstd[channel]));
                let share = if self.train { 1.0 / n } else { 0.0 };
                let (sum, dot) = (T::of(sums[channel].0 * share), T::of(sums[channel].1 * share));
                let scale = rstd * w[channel];
                for ((dx, &x), &g) in dx.iter_mut().zip(&x[start..]).zip(&g[start..]) {
                    *dx = scale * (g - sum - (x - mean) * rstd * dot);
                }
            },
        );
        packed.extend(sums.iter().map(|s| T::of(s.1)));
        packed.extend(sums.iter().map(|s| T::of(s.0)));
        packed
    }
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, c, height, width) = l1.shape().dims4()?;
        let plane = height * width;
        dispatch_real!("batch_norm", s1, T => {
            let (x, w) = (slice::<T>("batch_norm", s1, l1)?, slice::<T>("batch_norm", s2, l2)?);
            let b = slice::<T>("batch_norm", s3, l3)?;
            let out = fill_rows(x.len(), plane, #[inline(always)] |start, out| {
                let channel = start / plane % c;
                let (mean, b) = (T::of(self.mean[channel]), b[channel]);
                let scale = T::of(self.rstd[channel]) * w[channel];
                for (out, &x) in out.iter_mut().zip(&x[start..]) {
                    *out = (x - mean).mul_add(scale, b);
                }
            });
            Ok((to_storage(out), l1.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, b: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Grads3> {
        let packed = x.apply_op3_no_bwd(w, &grad.contiguous()?, &BatchNormGrad(self))?;
        unpack(&packed, x, w, b)
    }
}

impl CustomOp3 for BatchNormGrad<'_> {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, _, height, width) = l1.shape().dims4()?;
        dispatch_real!("batch_norm", s1, T => {
            let (x, w) = (slice::<T>("batch_norm", s1, l1)?, slice::<T>("batch_norm", s2, l2)?);
            let packed = self.0.grads::<T>(x, w, slice::<T>("batch_norm", s3, l3)?, height * width);
            let shape = Shape::from(packed.len());
            Ok((to_storage(packed), shape))
        })
    }
}
