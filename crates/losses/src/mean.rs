//! Means over two tensors of the same shape, element by element, fused: no tensor is made on the way.

use crate::LossError;
use crate::scalar::{number, scalar};
use crate::view::{Comparison, View};
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, tensor, vectorize, with_slices};
use colormamba_cuda::applies;
use colormamba_ops::Node;
use rayon::prelude::*;

/// Elements that are summed up at a time; fixed, so that a sum does not depend on the number of threads.
pub(crate) const CHUNK: usize = 1 << 14;

/// The distances, as `mean.cu` counts them.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Squared,
    Absolute,
    SmoothL1,
    Charbonnier,
    SquaredFrom,
    Softplus,
    Hinge,
    Times,
}

/// How far apart two numbers are.
pub(crate) trait Distance: Copy + Send + Sync + 'static {
    /// The distance of p from t.
    fn value(self, p: f64, t: f64) -> f64;
    /// Its derivative by p; at a kink 0.
    fn slope(self, p: f64, t: f64) -> f64;
    /// What the kernels call it, and its option.
    fn kernel(self) -> (Kind, f64);
}

/// (p - t)².
#[derive(Clone, Copy)]
pub(crate) struct Squared;

impl Distance for Squared {
    #[inline(always)]
    fn value(self, p: f64, t: f64) -> f64 {
        (p - t) * (p - t)
    }
    #[inline(always)]
    fn slope(self, p: f64, t: f64) -> f64 {
        2.0 * (p - t)
    }
    fn kernel(self) -> (Kind, f64) {
        (Kind::Squared, 0.0)
    }
}

/// |p - t|.
#[derive(Clone, Copy)]
pub(crate) struct Absolute;

impl Distance for Absolute {
    #[inline(always)]
    fn value(self, p: f64, t: f64) -> f64 {
        (p - t).abs()
    }
    #[inline(always)]
    fn slope(self, p: f64, t: f64) -> f64 {
        sign(p - t)
    }
    fn kernel(self) -> (Kind, f64) {
        (Kind::Absolute, 0.0)
    }
}

/// -1, 0 or 1.
#[inline(always)]
pub(crate) fn sign(x: f64) -> f64 {
    f64::from(x > 0.0) - f64::from(x < 0.0)
}

/// The mean distance from a target, as a function of the prediction.
pub(crate) fn mean_against(target: &View, distance: impl Distance) -> std::result::Result<Comparison, LossError> {
    let target = target.image().value().clone();
    Ok(Box::new(move |pred| Ok(mean_distance(pred.image(), &target, distance)?)))
}

/// The mean distance over all elements, an f64 scalar. `t` takes no gradient.
pub(crate) fn mean_distance(p: &Node, t: &Tensor, distance: impl Distance) -> Result<Node> {
    let p = p.contiguous()?;
    let (pv, t) = (p.value().clone(), t.contiguous()?);
    if applies(&pv) {
        let mean = cuda::means(&pv, &t, distance, 1)?.reshape(())?;
        return Node::new(mean, [&p], move |grad| Ok([Some(cuda::slopes(&pv, &t, distance, grad)?)]));
    }
    let count = pv.elem_count() as f64;
    let mean = sum(&pv, &t, distance)? / count;
    Node::new(scalar(mean), [&p], move |grad| {
        let weight = number(grad)? / count;
        Ok([Some(slopes(&pv, &t, distance, |_| weight)?)])
    })
}

/// The mean distance of each image, f64 of shape `(B)`; `t` takes no gradient.
pub(crate) fn mean_distances(p: &Node, t: &Tensor, distance: impl Distance) -> Result<Node> {
    let p = p.contiguous()?;
    let (pv, t) = (p.value().clone(), t.contiguous()?);
    let batch = pv.dim(0)?;
    if applies(&pv) {
        let means = cuda::means(&pv, &t, distance, batch)?;
        return Node::new(means, [&p], move |grad| Ok([Some(cuda::slopes(&pv, &t, distance, grad)?)]));
    }
    let size = pv.elem_count() / batch;
    let means = (0..batch).map(|i| Ok(sum(&pv.get(i)?, &t.get(i)?, distance)? / size as f64));
    let means = tensor(means.collect::<Result<Vec<f64>>>()?, batch);
    Node::new(means, [&p], move |grad| {
        let grad = grad.to_vec1::<f64>()?;
        Ok([Some(slopes(&pv, &t, distance, |i| grad[i / size] / size as f64)?)])
    })
}

fn sum(p: &Tensor, t: &Tensor, distance: impl Distance) -> Result<f64> {
    with_slices!("mean distance", [p, t], T => {
        let sum_of = |(p, t): (&[T], &[T])| -> f64 {
            vectorize(
                #[inline(always)]
                || p.iter().zip(t).map(|(p, t)| distance.value(p.wide(), t.wide())).sum(),
            )
        };
        let sums: Vec<f64> = p.par_chunks(CHUNK).zip(t.par_chunks(CHUNK)).map(sum_of).collect();
        Ok(sums.iter().sum())
    })
}

/// The derivative at every element times the weight of its place.
fn slopes(p: &Tensor, t: &Tensor, distance: impl Distance, weight: impl Fn(usize) -> f64 + Sync) -> Result<Tensor> {
    let shape = p.shape();
    with_slices!("mean distance", [p, t], T => {
        let mut out = vec![T::ZERO; p.len()];
        let chunks = out.par_chunks_mut(CHUNK).zip(p.par_chunks(CHUNK)).zip(t.par_chunks(CHUNK));
        chunks.enumerate().for_each(|(chunk, ((out, p), t))| {
            vectorize(
                #[inline(always)]
                || {
                    for (i, ((out, p), t)) in out.iter_mut().zip(p).zip(t).enumerate() {
                        *out = T::of(weight(chunk * CHUNK + i) * distance.slope(p.wide(), t.wide()));
                    }
                },
            )
        });
        Ok(tensor(out, shape))
    })
}

pub(crate) mod cuda {
    use super::Distance;
    use crate::kernels::MEAN;
    use candle_core::{DType, Result, Tensor};
    use colormamba_cuda::{DeviceMemory, Launch, threads_for};

    /// Elements whose distances a block adds up.
    const CHUNK: usize = 1 << 13;
    /// Threads of a block, and elements for each of its threads.
    const THREADS: u32 = 256;
    const EACH: usize = 4;

    /// The mean of each of so many images, f64.
    pub(super) fn means(p: &Tensor, t: &Tensor, distance: impl Distance, images: usize) -> Result<Tensor> {
        let image = p.elem_count() / images;
        let (chunks, (kind, number)) = (image.div_ceil(CHUNK), distance.kernel());
        let mut partial = DeviceMemory::new(p, DType::F64, images * chunks)?;
        let launch = Launch::new(&MEAN, "distance_sums", p).blocks([chunks, images, 1], threads(image.min(CHUNK)));
        let launch = launch.input(p).input(t).output(&mut partial).sizes([image, CHUNK, kind as usize]);
        launch.number(number).run()?;
        add_up(partial, p, (images, chunks), image)
    }

    /// The sums of rows of partial sums, f64, divided by a count.
    pub(crate) fn add_up(
        partial: DeviceMemory,
        like: &Tensor,
        (sums, parts): (usize, usize),
        count: usize,
    ) -> Result<Tensor> {
        let partial = partial.tensor((sums, parts))?;
        let mut result = DeviceMemory::new(like, DType::F64, sums)?;
        let launch = Launch::new(&MEAN, "add_up", like).blocks([sums, 1, 1], threads(parts));
        launch.input(&partial).output(&mut result).size(parts).number(count as f64).run()?;
        result.tensor(sums)
    }

    fn threads(n: usize) -> u32 {
        threads_for(n).min(THREADS)
    }

    /// The gradient, given those of the means of equally large images.
    pub(super) fn slopes(p: &Tensor, t: &Tensor, distance: impl Distance, grad: &Tensor) -> Result<Tensor> {
        let (n, (kind, number)) = (p.elem_count(), distance.kernel());
        let mut dp = DeviceMemory::like(p)?;
        let launch = Launch::new(&MEAN, "distance_gradient", p).over(n.div_ceil(EACH), THREADS);
        let launch = launch.input(p).input(t).input(grad).output(&mut dp);
        launch.sizes([n, n / grad.elem_count(), kind as usize]).number(number).run()?;
        dp.tensor(p.shape())
    }

    /// The mean of 10 log10((m + ε)/ε) over a vector m, and its derivatives.
    pub(crate) fn decibels(m: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
        let n = m.elem_count();
        let (mut mean, mut slopes) = (DeviceMemory::new(m, DType::F64, 1)?, DeviceMemory::like(m)?);
        let launch = Launch::new(&MEAN, "decibels", m).blocks([1; 3], threads(n));
        launch.input(m).output(&mut mean).output(&mut slopes).size(n).number(eps).run()?;
        Ok((mean.tensor(())?, slopes.tensor(n)?))
    }
}
