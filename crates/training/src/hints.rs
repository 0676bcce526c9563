//! Learning from the feature maps of other networks.

use crate::TrainingError;
use crate::network::{FEATURES, NamedTensors, tensor};
use crate::report::{TEACHER, TermValue};
use candle_core::{DType, Tensor};
use colormamba_layers::optim::{Adam, OptimizerConfig};
use colormamba_layers::{Conv2d, Params};
use colormamba_losses::{ImageObjective, Networks, Term};
use colormamba_ops::{Conv2dConfig, Node, resize_bilinear2d};

/// Convolutions 1x1 from a network's feature map ([`crate::NetworkOptions::features`]) to the maps of other networks,
/// which both learn to meet (FitNets, Romero et al., arXiv 1412.6550). They are of no use once the training has ended.
pub struct Hints {
    pub(crate) params: Params,
    pub(crate) optimizer: Adam,
    projections: Vec<Conv2d>,
    difference: ImageObjective,
    weight: f64,
}

impl Hints {
    /// From a map of `own` channels to maps of so many channels each, over `params`, which is filled; `weight` is that
    /// of the loss.
    ///
    /// # Errors
    /// If `params` holds tensors of other shapes.
    pub fn new(
        params: Params,
        own: usize,
        theirs: &[usize],
        weight: f64,
        optimizer: OptimizerConfig,
    ) -> Result<Self, TrainingError> {
        let projection = |(index, channels): (usize, &usize)| {
            Conv2d::new(&params.root().pp(index), own, *channels, 1, Conv2dConfig::default())
        };
        let projections = theirs.iter().enumerate().map(projection).collect::<candle_core::Result<_>>()?;
        let difference = ImageObjective::new(vec![(Term::Mse {}, 1.0.into())], Networks::default())?;
        Ok(Self { optimizer: Adam::new(&params, optimizer)?, params, projections, difference, weight })
    }

    /// What a batch calls the feature map of the other network number `index`.
    pub fn taught(index: usize) -> String {
        format!("{}.{index}", name())
    }

    /// The maps of a batch that are to be met.
    pub(crate) fn targets(&self, batch: &NamedTensors) -> Result<Vec<Tensor>, TrainingError> {
        (0..self.projections.len()).map(|index| Ok(tensor(batch, &Self::taught(index))?.clone())).collect()
    }

    /// The mean over the other networks of the squared error over the squares of their maps: 1 where nothing is met.
    pub(crate) fn loss(
        &self,
        own: &Node,
        targets: &[Tensor],
        epoch: usize,
    ) -> Result<(Node, TermValue), TrainingError> {
        let (own, share) = (own.to_dtype(DType::F32)?, 1.0 / targets.len() as f64);
        let (mut parts, mut raw) = (Vec::with_capacity(targets.len()), 0.0);
        for (projection, target) in self.projections.iter().zip(targets) {
            let met = projection.forward(&own)?;
            let (_, _, height, width) = met.dims4()?;
            let target = resize_bilinear2d(target, height, width)?.value().to_dtype(DType::F32)?;
            let power: f32 = target.sqr()?.mean_all()?.to_scalar()?;
            let scale = share / f64::from(power).max(f64::from(f32::MIN_POSITIVE));
            let difference = self.difference.evaluate(&met, &self.difference.target(&target)?, epoch)?;
            raw += scale * difference.raw.iter().sum::<f64>();
            parts.push((difference.total, scale * self.weight));
        }
        let value = TermValue { raw, weighted: raw * self.weight, log_weight: None };
        Ok((crate::gradients::sum(&parts)?, value))
    }
}

/// What a report calls the loss among the terms.
pub(crate) fn name() -> String {
    format!("{TEACHER}.{FEATURES}")
}
