//! Weighted sums of terms.

use crate::scalar::{number, numbers, scalar, weighted_sum};
use crate::view::{Comparison, View};
use crate::{LossError, Networks, Term, Weight};
use candle_core::{DType, Shape, Tensor, Var};
use colormamba_ops::Node;

/// A weighted sum of terms on one output of a network: on an image `(B, C, H, W)`, or on class scores `(B, n)`.
pub struct ImageObjective {
    terms: Vec<(Term, Weight)>,
    networks: Networks,
    /// One learned log-weight s a term, a scalar, if the sum is of e⁻ˢ L + s.
    log_weights: Option<Vec<Tensor>>,
}

/// A target with what the terms need of it, computed once. It takes no gradient.
pub struct Target {
    shape: Shape,
    comparisons: Vec<Comparison>,
}

/// The value of an objective.
pub struct Evaluation {
    /// The sum that is minimised, a differentiable f64 scalar.
    pub total: Node,
    /// Each term before its weight, in the order given to [`ImageObjective::new`].
    pub raw: Vec<f64>,
    /// What each term adds to the total.
    pub weighted: Vec<f64>,
    /// The learned log-weight s of each, if they are learned.
    pub log_weights: Option<Vec<f64>>,
}

impl ImageObjective {
    /// The sum of `terms`, each with its weight; without terms it is always 0. `networks`: what the terms look through.
    ///
    /// # Errors
    /// [`LossError::Weight`], [`LossError::Option`], [`LossError::Duplicate`], [`LossError::NoFeatures`].
    pub fn new(terms: Vec<(Term, Weight)>, networks: Networks) -> Result<Self, LossError> {
        for (index, (term, weight)) in terms.iter().enumerate() {
            term.check()?;
            weight.check(term.name())?;
            if terms[..index].iter().any(|(earlier, _)| earlier.name() == term.name()) {
                return Err(LossError::Duplicate { term: term.name() });
            }
            if let Some(extractor) = term.extractor().filter(|&extractor| !networks.has(extractor)) {
                return Err(LossError::NoFeatures { term: term.name(), extractor });
            }
        }
        Ok(Self { terms, networks, log_weights: None })
    }

    /// The same with a learned log-weight s for every term, a scalar each, which usually starts at 0: the sum is that of
    /// e⁻ˢ L + s, with L the term times its weight.
    ///
    /// # Errors
    /// [`LossError::LogWeights`] if there are more or fewer than terms.
    ///
    /// Source: Kendall, Gal, Cipolla, "Multi-task learning using uncertainty to weigh losses", CVPR 2018, arXiv 1705.07115,
    /// with s the log variance and without the factors ½.
    pub fn with_log_weights(mut self, log_weights: Vec<Tensor>) -> Result<Self, LossError> {
        if log_weights.len() != self.terms.len() || log_weights.iter().any(|s| s.elem_count() != 1) {
            return Err(LossError::LogWeights { terms: self.terms.len() });
        }
        self.log_weights = Some(log_weights);
        Ok(self)
    }

    /// The terms.
    pub fn terms(&self) -> impl ExactSizeIterator<Item = &Term> {
        self.terms.iter().map(|(term, _)| term)
    }

    /// What the terms need of the target: an image `(B, C, H, W)`, or class probabilities `(B, n)`.
    ///
    /// # Errors
    /// [`LossError::Image`], [`LossError::Form`], [`LossError::Channels`], [`LossError::TooSmall`].
    pub fn target(&self, target: &Tensor) -> Result<Target, LossError> {
        if !matches!(target.rank(), 2 | 4) || target.elem_count() == 0 {
            return Err(LossError::Image { got: target.shape().clone() });
        }
        for term in self.terms() {
            term.check_shape(target.shape())?;
        }
        let image = Node::from(&target.detach().contiguous()?);
        let view = View::new(&image, self.terms(), &self.networks)?;
        let comparisons = self.terms().map(|term| term.against(&view)).collect::<Result<_, _>>()?;
        Ok(Target { shape: target.shape().clone(), comparisons })
    }

    /// The objective at the prediction, of the target's shape, in an epoch, counted from 0.
    ///
    /// # Errors
    /// [`LossError::Mismatch`] if the target has another shape, or comes from an objective with other terms.
    pub fn evaluate(&self, pred: impl Into<Node>, target: &Target, epoch: usize) -> Result<Evaluation, LossError> {
        let values = self.values(&pred.into(), target)?;
        let raw = numbers(&values.iter().map(Node::value).collect::<Vec<_>>())?;
        let weights = self.terms.iter().map(|(_, weight)| weight.at(epoch));
        let weighted: Vec<(&Node, f64)> = values.iter().zip(weights).collect();
        let Some(log_weights) = &self.log_weights else {
            let shares = raw.iter().zip(&weighted).map(|(raw, (_, weight))| raw * weight).collect();
            return Ok(Evaluation { total: weighted_sum(&weighted)?, raw, weighted: shares, log_weights: None });
        };
        let balanced = weighted.iter().zip(log_weights).map(|((value, weight), s)| balanced(value, *weight, s));
        let balanced = balanced.collect::<Result<Vec<_>, _>>()?;
        let shares = numbers(&balanced.iter().map(Node::value).collect::<Vec<_>>())?;
        let parts: Vec<(&Node, f64)> = balanced.iter().map(|part| (part, 1.0)).collect();
        let log_weights = Some(log_weights.iter().map(log_weight).collect::<Result<_, _>>()?);
        Ok(Evaluation { total: weighted_sum(&parts)?, raw, weighted: shares, log_weights })
    }

    /// Each term before its weight, a differentiable f64 scalar.
    ///
    /// # Errors
    /// As [`ImageObjective::evaluate`].
    pub fn values(&self, pred: &Node, target: &Target) -> Result<Vec<Node>, LossError> {
        self.check_fit(pred.shape(), target)?;
        let view = View::new(&pred.contiguous()?, self.terms(), &self.networks)?;
        target.comparisons.iter().map(|compare| compare(&view)).collect()
    }

    /// The gradient by the prediction of what each term adds to the total of [`ImageObjective::evaluate`], each computed
    /// alone: features that terms share are computed for each.
    ///
    /// # Errors
    /// As [`ImageObjective::evaluate`].
    pub fn gradients(&self, pred: &Tensor, target: &Target, epoch: usize) -> Result<Vec<Tensor>, LossError> {
        let alone = |(index, (term, weight)): (usize, &(Term, Weight))| -> Result<Tensor, LossError> {
            let image = Var::from_tensor(&pred.contiguous()?)?;
            let view = View::new(&Node::from(&image), std::iter::once(term), &self.networks)?;
            let value = target.comparisons[index](&view)?;
            let share = match &self.log_weights {
                None => weight.at(epoch),
                Some(log_weights) => weight.at(epoch) * (-log_weight(&log_weights[index])?).exp(),
            };
            let gradient = value.backward(&scalar(share))?.remove(&image);
            Ok(gradient.map_or_else(|| pred.zeros_like(), Ok)?)
        };
        self.check_fit(pred.shape(), target)?;
        self.terms.iter().enumerate().map(alone).collect()
    }

    fn check_fit(&self, pred: &Shape, target: &Target) -> Result<(), LossError> {
        if pred != &target.shape || target.comparisons.len() != self.terms.len() {
            return Err(LossError::Mismatch { pred: pred.clone(), target: target.shape.clone() });
        }
        Ok(())
    }
}

/// e⁻ˢ w L + s; 0 while w is, so that s stays where it is until the term counts.
fn balanced(value: &Node, weight: f64, s: &Tensor) -> candle_core::Result<Node> {
    if weight == 0.0 {
        return Ok(Node::from(&scalar(0.0).to_device(value.device())?));
    }
    let at = log_weight(s)?;
    let s = Node::from(s);
    let scale = weight * (-at).exp();
    let share = scale * number(value.value())?;
    let (dtype, shape) = (s.dtype(), s.shape().clone());
    Node::new(scalar(share + at), [value, &s], move |grad| {
        let grad = number(grad)?;
        let by_s = scalar(grad * (1.0 - share)).to_dtype(dtype)?.reshape(shape)?;
        Ok([Some(scalar(grad * scale)), Some(by_s)])
    })
}

fn log_weight(s: &Tensor) -> candle_core::Result<f64> {
    s.to_dtype(DType::F64)?.reshape(())?.to_scalar()
}
