//! Learned weights of the terms of a loss.

use crate::TrainingError;
use crate::head::Head;
use candle_core::{DType, Device};
use colormamba_layers::optim::{Adam, OptimizerConfig};
use colormamba_layers::{Init, Params};

/// The log-weights of the terms of all heads, with their optimizer.
pub(crate) struct Balance {
    pub(crate) params: Params,
    pub(crate) optimizer: Adam,
}

impl Balance {
    /// A log-weight for each term, with 0 to start from, and the heads whose terms they weigh.
    pub(crate) fn new(
        heads: Vec<Head>,
        seed: u64,
        device: &Device,
        optimizer: OptimizerConfig,
    ) -> Result<(Vec<Head>, Self), TrainingError> {
        let params = Params::new(seed, DType::F32, device);
        let weigh = |head: Head| -> Result<Head, TrainingError> {
            let scope = params.root().pp(&head.name);
            let log_weight = |name| scope.weight(name, 1, Init::Constant(0.0));
            let log_weights = head.objective.terms().map(|term| log_weight(term.name()));
            let log_weights = log_weights.collect::<candle_core::Result<_>>()?;
            Ok(Head { objective: head.objective.with_log_weights(log_weights)?, ..head })
        };
        let heads = heads.into_iter().map(weigh).collect::<Result<_, _>>()?;
        Ok((heads, Self { optimizer: Adam::new(&params, optimizer)?, params }))
    }
}
