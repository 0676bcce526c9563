//! Targets at one or several scales, and terms that combine the dissimilarities there.

use super::scale::{Scale, halved};
use super::similarity::Similarity;
use super::window::gaussian;
use super::{Part, SCALES, cuda};
use crate::scalar::{number, scalar};
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, dispatch_real, hold, tensor};
use colormamba_ops::Node;
use std::sync::Arc;

const OP: &str = "structural similarity";

/// A term made of mean dissimilarities.
pub(crate) trait Pooling: Clone + Send + Sync + 'static {
    /// What is compared at a scale, counted from the finest.
    fn part(&self, scale: usize) -> Part;

    /// The range of values at a scale of a prediction.
    fn range<T: Real>(&self, _: &[T]) -> f64 {
        1.0
    }

    /// The term and its derivatives, given the mean dissimilarity of every plane at every scale.
    fn combine(&self, means: &[Vec<f64>]) -> (f64, Vec<Vec<f64>>);

    /// [`Pooling::combine`] as `structure.cu` knows it.
    fn formula(&self) -> Formula;
}

/// What a kernel makes of the means of planes at all scales.
#[derive(Clone, Copy)]
pub(crate) enum Formula {
    /// So much of their mean.
    Mean(f64),
    /// The mean over planes of what the product over scales with these exponents lacks to 1.
    ProductOfPlane([f64; SCALES.len()]),
    /// What the product of the means over all planes, by half of their distance from -1, lacks to 1; the range of values is
    /// guessed.
    ProductOfMeans([f64; SCALES.len()]),
}

/// A term as a function of the prediction, whose shape must be the target's.
pub(crate) type Dissimilarity = Box<dyn Fn(&Node) -> Result<Node> + Send + Sync>;

/// The term against `target` `(B, C, H, W)` at `scales` scales, each half the size of the one before it; the coarsest holds a
/// window of `size` pixels.
pub(crate) fn against(
    target: &Tensor,
    (size, sigma): (usize, f64),
    scales: usize,
    pooling: impl Pooling,
) -> Result<Dissimilarity> {
    if cuda::applies(target, size) {
        let pyramid = Arc::new(cuda::Pyramid::new(target, &gaussian(size, sigma), scales)?);
        return Ok(Box::new(move |pred: &Node| pyramid.compare(pred, &pooling)));
    }
    dispatch_real!(OP, target, T => {
        let pyramid = Arc::new(Pyramid::<T>::new(target, &gaussian(size, sigma), scales)?);
        Ok(Box::new(move |pred: &Node| pyramid.compare(pred, &pooling)) as Dissimilarity)
    })
}

struct Pyramid<T>(Vec<Scale<T>>);

/// What the gradient needs of a comparison.
struct Pass<T> {
    /// The prediction at every scale but the finest.
    coarser: Vec<Vec<T>>,
    slopes: Vec<Vec<T>>,
}

impl<T: Real> Pyramid<T> {
    fn new(target: &Tensor, taps: &[T], scales: usize) -> Result<Self> {
        let (_, _, mut height, mut width) = target.dims4()?;
        let mut image = hold(OP, target).slice::<T>()?.to_vec();
        let mut all = Vec::with_capacity(scales);
        for index in 0..scales {
            let next = if index + 1 < scales { halved(&image, height, width) } else { Vec::new() };
            all.push(Scale::new(image, height, width, taps.to_vec()));
            (image, height, width) = (next, height / 2, width / 2);
        }
        Ok(Self(all))
    }

    fn compare(self: &Arc<Self>, pred: &Node, pooling: &impl Pooling) -> Result<Node> {
        let pred = pred.contiguous()?;
        let image = pred.value().clone();
        let (means, pass) = self.run(hold(OP, &image).slice()?, pooling);
        let (value, by_means) = pooling.combine(&means);
        let pyramid = self.clone();
        Node::new(scalar(value), [&pred], move |grad| {
            let grad = number(grad)?;
            let weights: Vec<Vec<f64>> = by_means.iter().map(|by| by.iter().map(|by| by * grad).collect()).collect();
            let gradient = pyramid.gradient(hold(OP, &image).slice()?, &pass, &weights);
            Ok([Some(tensor(gradient, image.shape()))])
        })
    }

    fn run(&self, finest: &[T], pooling: &impl Pooling) -> (Vec<Vec<f64>>, Pass<T>) {
        let (mut means, mut slopes) = (Vec::new(), Vec::new());
        let mut coarser: Vec<Vec<T>> = Vec::new();
        for (index, scale) in self.0.iter().enumerate() {
            if let Some(finer) = index.checked_sub(1) {
                let before = coarser.last().map_or(finest, Vec::as_slice);
                coarser.push(self.0[finer].halved(before));
            }
            let pred = coarser.last().map_or(finest, Vec::as_slice);
            let compared = scale.compare(pred, Similarity::new(pooling.part(index), pooling.range(pred)));
            means.push(compared.means);
            slopes.push(compared.slopes);
        }
        (means, Pass { coarser, slopes })
    }

    /// The gradient by the finest prediction, given those by the means of every plane at every scale.
    fn gradient(&self, finest: &[T], pass: &Pass<T>, weights: &[Vec<f64>]) -> Vec<T> {
        let mut gradient: Option<Vec<T>> = None;
        for (index, scale) in self.0.iter().enumerate().rev() {
            let pred = index.checked_sub(1).map_or(finest, |coarser| &pass.coarser[coarser]);
            gradient = Some(scale.gradient(pred, &pass.slopes[index], &weights[index], gradient.as_deref()));
        }
        gradient.unwrap_or_default()
    }
}
