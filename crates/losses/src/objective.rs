//! Weighted sums of terms.

use crate::distance::{Distance, mean_cosine_distance, mean_distance};
use crate::ms_ssim::Pyramid;
use crate::{AutoencoderFeatures, LossError, Term};
use candle_core::Tensor;
use std::sync::Arc;

/// A weighted sum of terms on one image output.
pub struct ImageObjective {
    terms: Vec<(Term, f64)>,
    features: Option<Arc<AutoencoderFeatures>>,
}

/// A target with what the terms need of it, computed once. It takes no gradient.
pub struct Target {
    image: Tensor,
    features: Option<Tensor>,
    pyramid: Option<Pyramid>,
}

/// The value of an objective.
pub struct Evaluation {
    /// The weighted sum, a differentiable scalar.
    pub total: Tensor,
    /// Each term before its weight, a detached scalar, in the order given to [`ImageObjective::new`].
    pub terms: Vec<(Term, Tensor)>,
}

impl ImageObjective {
    /// The sum of `terms`, each with its weight; without terms it is always 0. `features`: for the terms that
    /// [need them](Term::needs_features).
    ///
    /// # Errors
    /// [`LossError::Weight`], [`LossError::Duplicate`], [`LossError::NoFeatures`].
    pub fn new(terms: Vec<(Term, f64)>, features: Option<Arc<AutoencoderFeatures>>) -> Result<Self, LossError> {
        for (index, &(term, weight)) in terms.iter().enumerate() {
            if !weight.is_finite() || weight < 0.0 {
                return Err(LossError::Weight { term, weight });
            }
            if terms[..index].iter().any(|&(earlier, _)| earlier == term) {
                return Err(LossError::Duplicate { term });
            }
            if term.needs_features() && features.is_none() {
                return Err(LossError::NoFeatures { term });
            }
        }
        Ok(Self { terms, features })
    }

    /// What the terms need of the target image `(B, 3, H, W)`.
    ///
    /// # Errors
    /// [`LossError::Image`], [`LossError::TooSmall`].
    pub fn target(&self, target: &Tensor) -> Result<Target, LossError> {
        let (height, width) = image_size(target)?;
        for &(term, _) in &self.terms {
            let smallest = term.smallest_side();
            if height.min(width) < smallest {
                return Err(LossError::TooSmall { term, smallest, height, width });
            }
        }
        let image = target.detach().contiguous()?;
        let multi_scale = self.terms.iter().any(|&(term, _)| term == Term::MsSsimPublished);
        let pyramid = if multi_scale { Some(Pyramid::new(&image)?) } else { None };
        Ok(Target { features: self.features_of(&image)?, pyramid, image })
    }

    /// The objective at the prediction `(B, 3, H, W)`.
    ///
    /// # Errors
    /// [`LossError::Mismatch`] if the target has another shape, [`LossError::Unprepared`] if it comes from an objective that
    /// lacks one of the terms.
    pub fn evaluate(&self, pred: &Tensor, target: &Target) -> Result<Evaluation, LossError> {
        if pred.shape() != target.image.shape() {
            let (pred, target) = (pred.shape().clone(), target.image.shape().clone());
            return Err(LossError::Mismatch { pred, target });
        }
        let pred = pred.contiguous()?;
        let features = self.features_of(&pred)?;
        let mut total = Tensor::zeros((), pred.dtype(), pred.device())?;
        let mut terms = Vec::with_capacity(self.terms.len());
        for &(term, weight) in &self.terms {
            let value = value(term, &pred, features.as_ref(), target)?;
            total = (total + (&value * weight)?)?;
            terms.push((term, value.detach()));
        }
        Ok(Evaluation { total, terms })
    }

    fn features_of(&self, image: &Tensor) -> Result<Option<Tensor>, LossError> {
        match &self.features {
            Some(features) if self.terms.iter().any(|&(term, _)| term.needs_features()) => {
                Ok(Some(features.forward(image)?))
            }
            _ => Ok(None),
        }
    }
}

fn image_size(image: &Tensor) -> Result<(usize, usize), LossError> {
    match image.dims() {
        &[b, 3, h, w] if b * h * w > 0 => Ok((h, w)),
        _ => Err(LossError::Image { got: image.shape().clone() }),
    }
}

fn value(term: Term, pred: &Tensor, features: Option<&Tensor>, target: &Target) -> Result<Tensor, LossError> {
    let unprepared = || LossError::Unprepared { term };
    let both = || features.zip(target.features.as_ref()).ok_or_else(unprepared);
    let value = match term {
        Term::Mse => mean_distance(pred, &target.image, Distance::Squared)?,
        Term::L1 => mean_distance(pred, &target.image, Distance::Absolute)?,
        Term::FeatureMse => {
            let (pred, target) = both()?;
            mean_distance(pred, target, Distance::Squared)?
        }
        Term::FeatureCosine => {
            let (pred, target) = both()?;
            mean_cosine_distance(pred, target)?
        }
        Term::MsSsimPublished => target.pyramid.as_ref().ok_or_else(unprepared)?.dissimilarity(pred)?,
    };
    Ok(value)
}
