//! Structural similarity of blurred images: the part between the Gaussian window and the mean, fused.
//!
//! With a blur G, SSIM needs G p, G p², G pt of the prediction and G t, G t² of the target. They are stacked along the
//! batch, so one call of the separable filter blurs them all.

use crate::distance::CHUNK;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, WithDType};
use colormamba_ops::cpu::{Real, slice, vectorize};
use colormamba_ops::dispatch_real;
use rayon::prelude::*;

/// `[p, p², p t]` along the first dimension: `(B, ..)` to `(3B, ..)`. The target takes no gradient.
pub(crate) fn moments(pred: &Tensor, target: &Tensor) -> Result<Tensor> {
    pred.contiguous()?.apply_op2(&target.contiguous()?, Moments)
}

/// Means over all pixels of SSIM and of its contrast-structure factor, as a tensor of these two, for values of the range
/// `range`. `pred`: blurred [`moments`]; `target`: blurred `[t, t²]`, stacked the same way.
pub(crate) fn similarity_means(pred: &Tensor, target: &Tensor, range: f64) -> Result<Tensor> {
    let constants = Constants { c1: (0.01 * range).powi(2), c2: (0.03 * range).powi(2) };
    pred.contiguous()?.apply_op2(&target.contiguous()?, SimilarityMeans(constants))
}

fn with_batch(layout: &Layout, batch: usize) -> Shape {
    let mut dims = layout.dims().to_vec();
    dims[0] = batch;
    Shape::from(dims)
}

struct Moments;

impl CustomOp2 for Moments {
    fn name(&self) -> &'static str {
        "moments"
    }

    fn cpu_fwd(&self, p: &CpuStorage, pl: &Layout, t: &CpuStorage, tl: &Layout) -> Result<(CpuStorage, Shape)> {
        dispatch_real!(self.name(), p, T => {
            let (p, t) = (slice::<T>(self.name(), p, pl)?, slice::<T>(self.name(), t, tl)?);
            let mut out = vec![T::ZERO; 3 * p.len()];
            let (first, rest) = out.split_at_mut(p.len());
            first.copy_from_slice(p);
            let (square, product) = rest.split_at_mut(p.len());
            let chunks = square.par_chunks_mut(CHUNK).zip(product.par_chunks_mut(CHUNK));
            chunks.zip(p.par_chunks(CHUNK)).zip(t.par_chunks(CHUNK)).for_each(|(((square, product), p), t)| {
                for (i, (&p, &t)) in p.iter().zip(t).enumerate() {
                    square[i] = p * p;
                    product[i] = p * t;
                }
            });
            Ok((T::to_cpu_storage_owned(out), with_batch(pl, 3 * pl.dims()[0])))
        })
    }

    fn bwd(&self, p: &Tensor, t: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(p.apply_op3_no_bwd(t, &grad.contiguous()?, &MomentsGradient)?), None))
    }
}

struct MomentsGradient;

impl CustomOp3 for MomentsGradient {
    fn name(&self) -> &'static str {
        "gradient of moments"
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
            let g = slice::<T>(self.name(), g, gl)?;
            let (first, square, product) = (&g[..p.len()], &g[p.len()..2 * p.len()], &g[2 * p.len()..]);
            let mut out = vec![T::ZERO; p.len()];
            out.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, out)| {
                let start = chunk * CHUNK;
                for (i, out) in (start..).zip(out) {
                    *out = first[i] + (p[i] + p[i]) * square[i] + t[i] * product[i];
                }
            });
            Ok((T::to_cpu_storage_owned(out), pl.shape().clone()))
        })
    }
}

#[derive(Clone, Copy)]
struct Constants {
    c1: f64,
    c2: f64,
}

/// SSIM at one pixel: luminance `l` and contrast-structure `cs` with their denominators.
struct Pixel {
    p: f64,
    t: f64,
    l: f64,
    l_below: f64,
    cs: f64,
    cs_below: f64,
}

impl Constants {
    /// `pred`: blurred p, p², pt; `target`: blurred t, t².
    #[inline(always)]
    fn pixel(self, pred: [f64; 3], target: [f64; 2]) -> Pixel {
        let ([p, pp, pt], [t, tt]) = (pred, target);
        let l_below = p * p + t * t + self.c1;
        let cs_below = (pp - p * p) + (tt - t * t) + self.c2;
        let l = (2.0 * p * t + self.c1) / l_below;
        let cs = (2.0 * (pt - p * t) + self.c2) / cs_below;
        Pixel { p, t, l, l_below, cs, cs_below }
    }
}

impl Pixel {
    /// Gradient by blurred p, p² and pt of `by_ssim · l · cs + by_cs · cs`.
    #[inline(always)]
    fn gradient(&self, by_ssim: f64, by_cs: f64) -> [f64; 3] {
        let by_cs = (by_ssim * self.l + by_cs) / self.cs_below;
        let by_l = by_ssim * self.cs / self.l_below;
        let by_mean = 2.0 * by_cs * (self.cs * self.p - self.t) + 2.0 * by_l * (self.t - self.p * self.l);
        [by_mean, -by_cs * self.cs, 2.0 * by_cs]
    }
}

/// Blurred images, one block a moment.
struct Blurred<'a, T> {
    pred: &'a [T],
    target: &'a [T],
    pixels: usize,
}

impl<'a, T: Real> Blurred<'a, T> {
    fn new(op: &'static str, (p, pl): (&'a CpuStorage, &Layout), (t, tl): (&'a CpuStorage, &Layout)) -> Result<Self> {
        let (pred, target) = (slice::<T>(op, p, pl)?, slice::<T>(op, t, tl)?);
        Ok(Self { pred, target, pixels: pred.len() / 3 })
    }

    #[inline(always)]
    fn pixel(&self, i: usize, constants: Constants) -> Pixel {
        let (p, t, n) = (self.pred, self.target, self.pixels);
        constants.pixel([p[i].wide(), p[n + i].wide(), p[2 * n + i].wide()], [t[i].wide(), t[n + i].wide()])
    }
}

struct SimilarityMeans(Constants);

impl CustomOp2 for SimilarityMeans {
    fn name(&self) -> &'static str {
        "similarity means"
    }

    fn cpu_fwd(&self, p: &CpuStorage, pl: &Layout, t: &CpuStorage, tl: &Layout) -> Result<(CpuStorage, Shape)> {
        dispatch_real!(self.name(), p, T => {
            let blurred = Blurred::<T>::new(self.name(), (p, pl), (t, tl))?;
            let n = blurred.pixels;
            let sum_of = |chunk: usize| {
                let range = chunk * CHUNK..n.min((chunk + 1) * CHUNK);
                vectorize(#[inline(always)] || {
                    let pixels = range.map(|i| blurred.pixel(i, self.0));
                    pixels.fold([0.0, 0.0], |[ssim, cs], v| [ssim + v.l * v.cs, cs + v.cs])
                })
            };
            let sums: Vec<[f64; 2]> = (0..n.div_ceil(CHUNK)).into_par_iter().map(sum_of).collect();
            let mean = |k: usize| T::of(sums.iter().map(|s| s[k]).sum::<f64>() / n as f64);
            Ok((T::to_cpu_storage_owned(vec![mean(0), mean(1)]), Shape::from(2)))
        })
    }

    fn bwd(&self, p: &Tensor, t: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(p.apply_op3_no_bwd(t, &grad.contiguous()?, &SimilarityGradient(self.0))?), None))
    }
}

struct SimilarityGradient(Constants);

impl CustomOp3 for SimilarityGradient {
    fn name(&self) -> &'static str {
        "gradient of similarity means"
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
            let blurred = Blurred::<T>::new(self.name(), (p, pl), (t, tl))?;
            let n = blurred.pixels;
            let g = slice::<T>(self.name(), g, gl)?;
            let (by_ssim, by_cs) = (g[0].wide() / n as f64, g[1].wide() / n as f64);
            let mut out = vec![T::ZERO; 3 * n];
            let (mean, rest) = out.split_at_mut(n);
            let (square, product) = rest.split_at_mut(n);
            let chunks = mean.par_chunks_mut(CHUNK).zip(square.par_chunks_mut(CHUNK));
            chunks.zip(product.par_chunks_mut(CHUNK)).enumerate().for_each(|(chunk, ((mean, square), product))| {
                vectorize(#[inline(always)] || {
                    for i in 0..mean.len() {
                        let gradient = blurred.pixel(chunk * CHUNK + i, self.0).gradient(by_ssim, by_cs);
                        [mean[i], square[i], product[i]] = gradient.map(T::of);
                    }
                })
            });
            Ok((T::to_cpu_storage_owned(out), pl.shape().clone()))
        })
    }
}
