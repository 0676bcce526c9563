//! The term `cross_entropy`.

use crate::definition::{Definition, Family};
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};
use candle_core::{DType, Result as CandleResult, Tensor};
use colormamba_ops::Node;

const ABOUT: About = About {
    name: "cross_entropy",
    formula: "mean over the batch of −Σₖ tₖ ln(softmax(p))ₖ over the classes k; p: a score for each class, t: the \
              classes' probabilities, 1 for one of them alone where the class is known",
    range: "the entropy of t and above, 0 and above where the class is known",
    source: "the negative log-likelihood of a softmax classifier, as torch.nn.functional.cross_entropy has it for \
             probabilities",
    options: "",
};

pub(crate) struct CrossEntropy;

impl Definition for CrossEntropy {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn family(&self) -> Family {
        Family::Classes
    }

    fn channels(&self) -> Channels {
        Channels::Classes
    }

    fn smallest_side(&self) -> usize {
        1
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn against(&self, target: &View) -> Result<Comparison, LossError> {
        let target = target.image().value().to_dtype(DType::F64)?;
        ensure_probabilities(&target)?;
        Ok(Box::new(move |pred| Ok(cross_entropy(pred.image(), &target)?)))
    }
}

/// Rows that are none would scale the loss without a word.
fn ensure_probabilities(target: &Tensor) -> Result<(), LossError> {
    let furthest = (target.sum(1)? - 1.0)?.abs()?.max_all()?.to_scalar::<f64>()?;
    let least = target.min_all()?.to_scalar::<f64>()?;
    match furthest < 1e-3 && least >= 0.0 {
        true => Ok(()),
        false => Err(LossError::Probabilities { term: ABOUT.name }),
    }
}

/// The mean over the rows of scores `(B, n)`, an f64 scalar; `target`, f64, takes no gradient.
fn cross_entropy(scores: &Node, target: &Tensor) -> CandleResult<Node> {
    let (dtype, batch) = (scores.dtype(), scores.value().dim(0)? as f64);
    let wide = scores.value().to_dtype(DType::F64)?;
    // Less the largest, no score overflows, and at least one does not vanish: the logarithm of the sum is finite.
    let shifted = wide.broadcast_sub(&wide.max_keepdim(1)?)?;
    let exponentials = shifted.exp()?;
    let sums = exponentials.sum_keepdim(1)?;
    let log_softmax = shifted.broadcast_sub(&sums.log()?)?;
    let value = (target * log_softmax)?.sum_all()?.affine(-1.0 / batch, 0.0)?;
    // For probabilities the sum of a row of the target is 1; the derivative is right for any.
    let softmax = exponentials.broadcast_div(&sums)?;
    let slopes = (softmax.broadcast_mul(&target.sum_keepdim(1)?)? - target)?.affine(1.0 / batch, 0.0)?;
    Node::new(value, [scores], move |grad| {
        Ok([Some(slopes.broadcast_mul(&grad.to_device(slopes.device())?)?.to_dtype(dtype)?)])
    })
}
