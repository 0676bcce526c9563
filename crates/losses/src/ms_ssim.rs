//! The published multi-scale similarity; see [`crate::Term::MsSsimPublished`].

use crate::similarity::{moments, similarity_means};
use candle_core::{DType, Result, Tensor};
use colormamba_ops::{avg_pool2d, in_candle, separable_filter};

/// Exponents of the five scales (Wang, Simoncelli, Bovik 2003).
const WEIGHTS: [f64; 5] = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333];
const WINDOW: usize = 11;
const SIGMA: f64 = 1.5;

/// The coarsest scale must hold one window.
pub(crate) const SMALLEST_SIDE: usize = WINDOW << (WEIGHTS.len() - 1);

/// What one scale needs of the target.
struct Scale {
    image: Tensor,
    /// Blurred t and t², stacked along the batch.
    blurred: Tensor,
}

/// The target at every scale.
pub(crate) struct Pyramid(Vec<Scale>);

impl Pyramid {
    /// `target`: detached, at least [`SMALLEST_SIDE`] high and wide.
    pub(crate) fn new(target: &Tensor) -> Result<Self> {
        let mut image = target.clone();
        let mut scales = Vec::with_capacity(WEIGHTS.len());
        for index in 0..WEIGHTS.len() {
            if index > 0 {
                image = halved(&image)?;
            }
            let blurred = blurred(&Tensor::cat(&[&image, &image.sqr()?], 0)?)?;
            scales.push(Scale { image: image.clone(), blurred });
        }
        Ok(Self(scales))
    }

    /// 1 - the product over the scales, a scalar.
    pub(crate) fn dissimilarity(&self, pred: &Tensor) -> Result<Tensor> {
        let last = WEIGHTS.len() - 1;
        let mut pred = pred.clone();
        let mut product = Tensor::ones((), pred.dtype(), pred.device())?;
        for (index, scale) in self.0.iter().enumerate() {
            if index > 0 {
                pred = halved(&pred)?;
            }
            let blurred = blurred(&moments(&pred, &scale.image)?)?;
            let means = similarity_means(&blurred, &scale.blurred, guessed_range(&pred)?)?.affine(0.5, 0.5)?;
            let factor = if index == last {
                // The published product multiplies each of the other factors by this one.
                means.get(0)?.powf(last as f64 * WEIGHTS[last])?
            } else {
                means.get(1)?.powf(WEIGHTS[index])?
            };
            product = (product * factor)?;
        }
        product.affine(-1.0, 1.0)
    }
}

fn halved(image: &Tensor) -> Result<Tensor> {
    in_candle(image, |x| avg_pool2d(x))
}

fn blurred(image: &Tensor) -> Result<Tensor> {
    in_candle(image, |x| separable_filter(x, &gaussian()))
}

fn gaussian() -> Vec<f64> {
    let offset = |i: usize| i as f64 - (WINDOW / 2) as f64;
    let taps: Vec<f64> = (0..WINDOW).map(|i| (-offset(i).powi(2) / (2.0 * SIGMA * SIGMA)).exp()).collect();
    let sum: f64 = taps.iter().sum();
    taps.iter().map(|tap| tap / sum).collect()
}

/// The range that the published code takes the values to have: 255 or 1, and 1 more where they reach below zero.
fn guessed_range(image: &Tensor) -> Result<f64> {
    let image = image.detach();
    let scalar = |x: Tensor| x.to_dtype(DType::F64)?.to_scalar::<f64>();
    let (lowest, highest) = (scalar(image.min_all()?)?, scalar(image.max_all()?)?);
    let top = if highest > 128.0 { 255.0 } else { 1.0 };
    Ok(if lowest < -0.5 { top + 1.0 } else { top })
}
