//! Fused means over two tensors of the same shape: squared and absolute distance, cosine along the channels.
//!
//! The second tensor is a target and takes no gradient.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, WithDType, bail};
use colormamba_ops::cpu::{Real, slice, vectorize};
use colormamba_ops::dispatch_real;
use rayon::prelude::*;

/// Elements that are summed up at a time; fixed, so that a sum does not depend on the number of threads.
pub(crate) const CHUNK: usize = 1 << 14;

/// How far apart two numbers are.
#[derive(Clone, Copy)]
pub(crate) enum Distance {
    /// (p - t)².
    Squared,
    /// |p - t|.
    Absolute,
}

impl Distance {
    #[inline(always)]
    fn value(self, d: f64) -> f64 {
        match self {
            Self::Squared => d * d,
            Self::Absolute => d.abs(),
        }
    }

    /// Derivative by p; 0 at the kink of the absolute value.
    #[inline(always)]
    fn slope(self, d: f64) -> f64 {
        match self {
            Self::Squared => 2.0 * d,
            Self::Absolute => f64::from(d > 0.0) - f64::from(d < 0.0),
        }
    }
}

/// The mean distance over all elements, a scalar.
pub(crate) fn mean_distance(pred: &Tensor, target: &Tensor, distance: Distance) -> Result<Tensor> {
    pred.contiguous()?.apply_op2(&target.contiguous()?, MeanDistance(distance))
}

/// 1 - the cosine between the channel vectors of two `(B, C, H, W)` tensors, averaged over batch and positions; a scalar.
///
/// The difference is taken in f64, before the mean: in f32 it would lose the digits that cosines near 1 have in common.
pub(crate) fn mean_cosine_distance(pred: &Tensor, target: &Tensor) -> Result<Tensor> {
    pred.contiguous()?.apply_op2(&target.contiguous()?, MeanCosineDistance)
}

struct MeanDistance(Distance);

impl CustomOp2 for MeanDistance {
    fn name(&self) -> &'static str {
        "mean distance"
    }

    fn cpu_fwd(&self, p: &CpuStorage, pl: &Layout, t: &CpuStorage, tl: &Layout) -> Result<(CpuStorage, Shape)> {
        dispatch_real!(self.name(), p, T => {
            let (p, t) = (slice::<T>(self.name(), p, pl)?, slice::<T>(self.name(), t, tl)?);
            let sum_of = |(p, t): (&[T], &[T])| -> f64 {
                vectorize(#[inline(always)] || p.iter().zip(t).map(|(p, t)| self.0.value(p.wide() - t.wide())).sum())
            };
            let sums: Vec<f64> = p.par_chunks(CHUNK).zip(t.par_chunks(CHUNK)).map(sum_of).collect();
            let mean = sums.iter().sum::<f64>() / p.len() as f64;
            Ok((T::to_cpu_storage_owned(vec![T::of(mean)]), Shape::from(())))
        })
    }

    fn bwd(&self, p: &Tensor, t: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(p.apply_op3_no_bwd(t, &grad.contiguous()?, &MeanDistanceGradient(self.0))?), None))
    }
}

struct MeanDistanceGradient(Distance);

impl CustomOp3 for MeanDistanceGradient {
    fn name(&self) -> &'static str {
        "gradient of mean distance"
    }

    fn cpu_fwd(
        &self,
        p: &CpuStorage,
        pl: &Layout,
        t: &CpuStorage,
        tl: &Layout,
        g: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        dispatch_real!(self.name(), p, T => {
            let (p, t) = (slice::<T>(self.name(), p, pl)?, slice::<T>(self.name(), t, tl)?);
            let scale = slice::<T>(self.name(), g, gl)?[0].wide() / p.len() as f64;
            let mut out = vec![T::ZERO; p.len()];
            let chunks = out.par_chunks_mut(CHUNK).zip(p.par_chunks(CHUNK)).zip(t.par_chunks(CHUNK));
            chunks.for_each(|((out, p), t)| {
                vectorize(#[inline(always)] || {
                    for ((out, p), t) in out.iter_mut().zip(p).zip(t) {
                        *out = T::of(scale * self.0.slope(p.wide() - t.wide()));
                    }
                })
            });
            Ok((T::to_cpu_storage_owned(out), pl.shape().clone()))
        })
    }
}

/// Norms below this count as this (torch's `cosine_similarity`): a zero vector is orthogonal to everything.
const SMALLEST_NORM: f64 = 1e-8;

/// What the cosine at one position needs.
#[derive(Clone, Copy, Default)]
struct Products {
    pt: f64,
    pp: f64,
    tt: f64,
}

impl Products {
    fn norms(self) -> (f64, f64) {
        (self.pp.sqrt().max(SMALLEST_NORM), self.tt.sqrt().max(SMALLEST_NORM))
    }

    fn cosine(self) -> f64 {
        let (p, t) = self.norms();
        self.pt / (p * t)
    }

    /// The gradient of the cosine by p is `a t - b p`: this is (a, b).
    fn gradient(self) -> (f64, f64) {
        let (p, t) = self.norms();
        let clamped = self.pp.sqrt() <= SMALLEST_NORM;
        (1.0 / (p * t), if clamped { 0.0 } else { self.cosine() / (p * p) })
    }
}

/// The products at every position of one image `(C, positions)`.
fn products<T: Real>(p: &[T], t: &[T], positions: usize) -> Vec<Products> {
    let mut out = vec![Products::default(); positions];
    for (p, t) in p.chunks_exact(positions).zip(t.chunks_exact(positions)) {
        vectorize(
            #[inline(always)]
            || {
                for ((out, p), t) in out.iter_mut().zip(p).zip(t) {
                    let (p, t) = (p.wide(), t.wide());
                    *out = Products { pt: out.pt + p * t, pp: out.pp + p * p, tt: out.tt + t * t };
                }
            },
        );
    }
    out
}

fn image_dims(op: &str, layout: &Layout) -> Result<(usize, usize)> {
    match layout.dims() {
        [_, c, h, w] if c * h * w > 0 => Ok((*c, h * w)),
        dims => bail!("{op}: expected (B, C, H, W), got {dims:?}"),
    }
}

struct MeanCosineDistance;

impl CustomOp2 for MeanCosineDistance {
    fn name(&self) -> &'static str {
        "mean cosine distance"
    }

    fn cpu_fwd(&self, p: &CpuStorage, pl: &Layout, t: &CpuStorage, tl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (channels, positions) = image_dims(self.name(), pl)?;
        dispatch_real!(self.name(), p, T => {
            let (p, t) = (slice::<T>(self.name(), p, pl)?, slice::<T>(self.name(), t, tl)?);
            let size = channels * positions;
            let sum_of =
                |(p, t): (&[T], &[T])| -> f64 { products(p, t, positions).iter().map(|v| 1.0 - v.cosine()).sum() };
            let sums: Vec<f64> = p.par_chunks(size).zip(t.par_chunks(size)).map(sum_of).collect();
            let mean = sums.iter().sum::<f64>() / (sums.len() * positions) as f64;
            Ok((T::to_cpu_storage_owned(vec![T::of(mean)]), Shape::from(())))
        })
    }

    fn bwd(&self, p: &Tensor, t: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(p.apply_op3_no_bwd(t, &grad.contiguous()?, &CosineGradient)?), None))
    }
}

struct CosineGradient;

impl CustomOp3 for CosineGradient {
    fn name(&self) -> &'static str {
        "gradient of mean cosine distance"
    }

    fn cpu_fwd(
        &self,
        p: &CpuStorage,
        pl: &Layout,
        t: &CpuStorage,
        tl: &Layout,
        g: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (channels, positions) = image_dims(self.name(), pl)?;
        dispatch_real!(self.name(), p, T => {
            let (p, t) = (slice::<T>(self.name(), p, pl)?, slice::<T>(self.name(), t, tl)?);
            let size = channels * positions;
            let scale = slice::<T>(self.name(), g, gl)?[0].wide() / (p.len() / channels) as f64;
            let mut out = vec![T::ZERO; p.len()];
            let images = out.par_chunks_mut(size).zip(p.par_chunks(size)).zip(t.par_chunks(size));
            images.for_each(|((out, p), t)| {
                let factors: Vec<(f64, f64)> = products(p, t, positions).iter().map(|v| v.gradient()).collect();
                for (i, out) in out.iter_mut().enumerate() {
                    let (a, b) = factors[i % positions];
                    *out = T::of(scale * (b * p[i].wide() - a * t[i].wide()));
                }
            });
            Ok((T::to_cpu_storage_owned(out), pl.shape().clone()))
        })
    }
}
