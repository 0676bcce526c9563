//! Objectives for models that are written with candle-nn.

use crate::{ImageObjective, LossError, Target};
use candle_core::Tensor;
use colormamba_ops::in_candle;

impl ImageObjective {
    /// The total of [`ImageObjective::evaluate`] in candle's own graph, an f64 scalar, whose `backward` passes to whatever
    /// `pred` `(B, 3, H, W)` was computed from. It does so once.
    ///
    /// # Errors
    /// As there.
    ///
    /// A model of candle-nn's layers alone, trained with squared error and structural similarity:
    /// ```
    /// use candle_core::{DType, Device, Module, Tensor};
    /// use candle_nn::{Activation, Conv2dConfig, Optimizer, SGD, conv2d, seq};
    /// use colormamba_layers::Params;
    /// use colormamba_losses::{ImageObjective, Networks};
    ///
    /// let params = Params::new(1, DType::F32, &Device::Cpu);
    /// let (vb, same) = (params.var_builder(), Conv2dConfig { padding: 1, ..Default::default() });
    /// let model = seq()
    ///     .add(conv2d(1, 8, 3, same, vb.pp("features"))?)
    ///     .add(Activation::Silu)
    ///     .add(conv2d(8, 3, 3, same, vb.pp("colours"))?)
    ///     .add(Activation::Sigmoid);
    /// let ramp = Tensor::arange(0f32, 256.0, &Device::Cpu)?.reshape((1, 1, 16, 16))?;
    /// let nir = (ramp / 255.0)?;
    /// let rgb = Tensor::cat(&[&nir, &nir.sqr()?, &(1.0 - &nir)?], 1)?;
    ///
    /// let terms = vec![("mse".parse()?, 10.0.into()), ("ssim".parse()?, 1.0.into())];
    /// let objective = ImageObjective::new(terms, Networks::default())?;
    /// let target = objective.target(&rgb)?;
    /// let mut optimizer = SGD::new(params.trainable().into_iter().map(|(_, var)| var).collect(), 0.1)?;
    /// let mut losses = Vec::new();
    /// for epoch in 0..20 {
    ///     let loss = objective.loss(&model.forward(&nir)?, &target, epoch)?;
    ///     losses.push(loss.to_scalar::<f64>()?);
    ///     optimizer.backward_step(&loss)?;
    /// }
    /// assert!(losses[19] < 0.8 * losses[0], "{losses:?}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn loss(&self, pred: &Tensor, target: &Target, epoch: usize) -> Result<Tensor, LossError> {
        in_candle(pred, |pred| Ok(self.evaluate(pred, target, epoch)?.total))
    }
}
