//! Means over two tensors of the same shape, element by element, fused: no tensor is made on the way.

use crate::scalar::{number, scalar};
use candle_core::{Result, Tensor};
use colormamba_ops::cpu::{Real, tensor, vectorize};
use colormamba_ops::{Node, with_slices};
use rayon::prelude::*;

/// Elements that are summed up at a time; fixed, so that a sum does not depend on the number of threads.
pub(crate) const CHUNK: usize = 1 << 14;

/// How far apart two numbers are.
pub(crate) trait Distance: Copy + Send + Sync + 'static {
    /// The distance of p from t.
    fn value(self, p: f64, t: f64) -> f64;
    /// Its derivative by p; at a kink 0.
    fn slope(self, p: f64, t: f64) -> f64;
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
}

/// -1, 0 or 1.
#[inline(always)]
pub(crate) fn sign(x: f64) -> f64 {
    f64::from(x > 0.0) - f64::from(x < 0.0)
}

/// The mean distance over all elements, an f64 scalar. `t` takes no gradient.
pub(crate) fn mean_distance(p: &Node, t: &Tensor, distance: impl Distance) -> Result<Node> {
    let p = p.contiguous()?;
    let (pv, t) = (p.value().clone(), t.contiguous()?);
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
