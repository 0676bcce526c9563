//! The term `feature_cosine`.

use crate::definition::{Definition, Family, Features};
use crate::scalar::{number, scalar};
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};
use candle_core::{Result as CandleResult, Tensor};
use colormamba_cpu::{Real, Shared, tensor, vectorize, with_slices};
use colormamba_cuda::applies;
use colormamba_ops::{Node, OpError};
use rayon::prelude::*;
use std::ops::Range;

const ABOUT: About = About {
    name: "feature_cosine",
    formula: "1 − ⟨φ(p)·φ(t) / (‖φ(p)‖ ‖φ(t)‖)⟩ along the channels, φ the first four blocks of a fixed auto-encoder",
    range: "0 to 2",
    source: "ColorMamba, arXiv 2408.08087, with the auto-encoder of GAN-STFM, doi:10.1109/TGRS.2021.3050551",
    options: "",
};

const OP: &str = "mean cosine distance";
/// Norms below this count as this (torch's `cosine_similarity`): a zero vector is orthogonal to everything.
const SMALLEST_NORM: f64 = 1e-8;
/// Positions of a task; fixed, so that a sum does not depend on the number of threads.
const BLOCK: usize = 512;

pub(crate) struct FeatureCosine;

impl Definition for FeatureCosine {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn family(&self) -> Family {
        Family::Feature
    }

    fn channels(&self) -> Channels {
        Channels::OneOrThree
    }

    fn smallest_side(&self) -> usize {
        1
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn features(&self) -> Option<Features> {
        Some(Features::Autoencoder)
    }

    fn against(&self, target: &View) -> Result<Comparison, LossError> {
        let target = target.autoencoder()?.value().clone();
        Ok(Box::new(move |pred| Ok(mean_cosine_distance(pred.autoencoder()?, &target)?)))
    }
}

/// 1 − the cosine between the channel vectors of two `(B, C, H, W)` tensors, averaged over batch and positions; an f64
/// scalar. `t` takes no gradient.
///
/// The difference is taken in f64, before the mean: in f32 it would lose the digits that cosines near 1 have in common.
fn mean_cosine_distance(p: &Node, t: &Tensor) -> CandleResult<Node> {
    let p = p.contiguous()?;
    let (pv, t) = (p.value().clone(), t.contiguous()?);
    let &[batch, channels, h, w] = pv.dims() else {
        return Err(OpError::shape(OP, "(B, C, H, W)", pv.shape()));
    };
    let layout = Layout { batch, channels, positions: h * w };
    if applies(&pv) {
        let (mean, factors) = cuda::mean(layout, &pv, &t)?;
        return Node::new(mean, [&p], move |grad| Ok([Some(cuda::gradient(layout, &pv, &t, &factors, grad)?)]));
    }
    let count = (batch * h * w) as f64;
    let mean = total(layout, &pv, &t)? / count;
    Node::new(scalar(mean), [&p], move |grad| Ok([Some(gradient(layout, &pv, &t, number(grad)? / count)?)]))
}

/// The sum over batch and positions.
fn total(layout: Layout, p: &Tensor, t: &Tensor) -> CandleResult<f64> {
    with_slices!(OP, [p, t], T => {
        let sums = layout.each_block(|image, block| {
            let products = layout.products(p, t, image, block);
            products.iter().map(|products| products.distance()).sum::<f64>()
        });
        Ok(sums.iter().sum())
    })
}

/// `scale` times the gradient of [`total`] by `p`.
fn gradient(layout: Layout, p: &Tensor, t: &Tensor, scale: f64) -> CandleResult<Tensor> {
    let shape = p.shape();
    with_slices!(OP, [p, t], T => {
        let mut out = vec![T::ZERO; p.len()];
        let shared = Shared::new(&mut out);
        layout.each_block(|image, block| {
            let products = layout.products(p, t, image, block.clone());
            let factors: Vec<(f64, f64)> = products.iter().map(|products| products.gradient()).collect();
            for at in layout.channels(image, block) {
                // SAFETY: blocks differ in positions or image.
                let out = unsafe { shared.slice(at.clone()) };
                vectorize(
                    #[inline(always)]
                    || {
                        for (((out, p), t), (a, b)) in out.iter_mut().zip(&p[at.clone()]).zip(&t[at]).zip(&factors) {
                            *out = T::of(scale * (b * p.wide() - a * t.wide()));
                        }
                    },
                );
            }
        });
        Ok(tensor(out, shape))
    })
}

#[derive(Clone, Copy)]
struct Layout {
    batch: usize,
    channels: usize,
    /// Height times width.
    positions: usize,
}

impl Layout {
    /// What `f(image, positions)` makes of each block of positions, in their order.
    fn each_block<R: Send>(self, f: impl Fn(usize, Range<usize>) -> R + Sync) -> Vec<R> {
        let blocks = self.positions.div_ceil(BLOCK);
        let block = |i: usize| {
            let first = i % blocks * BLOCK;
            f(i / blocks, first..(first + BLOCK).min(self.positions))
        };
        (0..self.batch * blocks).into_par_iter().map(block).collect()
    }

    /// Where each channel's elements of a block lie.
    fn channels(self, image: usize, block: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        (0..self.channels).map(move |channel| {
            let start = (image * self.channels + channel) * self.positions;
            start + block.start..start + block.end
        })
    }

    /// The products at every position of a block.
    fn products<T: Real>(self, p: &[T], t: &[T], image: usize, block: Range<usize>) -> Vec<Products> {
        let mut out = vec![Products::default(); block.len()];
        for at in self.channels(image, block) {
            vectorize(
                #[inline(always)]
                || {
                    for ((out, p), t) in out.iter_mut().zip(&p[at.clone()]).zip(&t[at]) {
                        let (p, t) = (p.wide(), t.wide());
                        *out = Products { pt: out.pt + p * t, pp: out.pp + p * p, tt: out.tt + t * t };
                    }
                },
            );
        }
        out
    }
}

/// What the cosine at one position needs.
#[derive(Clone, Copy, Default)]
struct Products {
    pt: f64,
    pp: f64,
    tt: f64,
}

impl Products {
    fn norms(self) -> (f64, f64) {
        // Written so that a NaN stays one.
        let norm = |square: f64| if square.sqrt() < SMALLEST_NORM { SMALLEST_NORM } else { square.sqrt() };
        (norm(self.pp), norm(self.tt))
    }

    /// 1 − cosine; rounding must not make it negative.
    fn distance(self) -> f64 {
        let distance = 1.0 - self.cosine();
        if distance < 0.0 { 0.0 } else { distance }
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

mod cuda {
    use super::Layout;
    use crate::kernels::COSINE;
    use crate::mean::cuda::add_up;
    use candle_core::{DType, Result, Tensor};
    use colormamba_cuda::{DeviceMemory, Launch, threads_for};

    const THREADS: u32 = 256;
    /// Positions of a block.
    const POSITIONS: usize = 32;
    /// Elements for each thread of the gradient.
    const EACH: usize = 4;

    /// The mean, and what the gradient needs.
    pub(super) fn mean(layout: Layout, p: &Tensor, t: &Tensor) -> Result<(Tensor, Tensor)> {
        let Layout { batch, channels, positions } = layout;
        let (blocks, count) = (positions.div_ceil(POSITIONS), batch * positions);
        let mut partial = DeviceMemory::new(p, DType::F64, batch * blocks)?;
        let mut factors = DeviceMemory::new(p, DType::F64, 2 * count)?;
        let threads = threads_for(POSITIONS * channels).min(THREADS);
        let launch = Launch::new(&COSINE, "cosine", p).blocks([blocks, batch, 1], threads).input(p).input(t);
        launch.output(&mut partial).output(&mut factors).sizes([channels, positions]).run()?;
        let mean = add_up(partial, p, (1, batch * blocks), count)?;
        Ok((mean.reshape(())?, factors.tensor(2 * count)?))
    }

    pub(super) fn gradient(layout: Layout, p: &Tensor, t: &Tensor, factors: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let (n, Layout { batch, channels, positions }) = (p.elem_count(), layout);
        let mut dp = DeviceMemory::like(p)?;
        let launch = Launch::new(&COSINE, "cosine_gradient", p).over(n.div_ceil(EACH), THREADS);
        let launch = launch.input(p).input(t).input(factors).input(grad).output(&mut dp);
        launch.sizes([n, channels, positions]).number(1.0 / (batch * positions) as f64).run()?;
        dp.tensor(p.shape())
    }
}
