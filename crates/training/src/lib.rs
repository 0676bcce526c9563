//! Trains networks from images to images, with or without discriminators.
//!
//! A [`Network`] turns the named tensors of a batch into named images or class scores; a [`Head`] is one of these with
//! its losses; a [`Trainer`] does one iteration after the other. It knows no files: a state that can be saved and taken
//! up is a map of tensors. An [`Architecture`] builds a network from a table of options; a [`WeightFile`] says which
//! one its weights are of, and a [`TrainedNetwork`] applies them.
//!
//! A network of one's own is a type that implements [`Network`]; here it is one convolution that learns to brighten:
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use colormamba_layers::{Conv2d, Params};
//! use colormamba_losses::{ImageObjective, Networks, Term};
//! use colormamba_ops::Conv2dConfig;
//! use colormamba_training::*;
//!
//! struct Brighter(Conv2d);
//!
//! impl Network for Brighter {
//!     fn heads(&self) -> Vec<HeadShape> {
//!         vec![HeadShape::image("bright", 3)]
//!     }
//!     fn forward(&self, batch: &NamedTensors, _: Pass) -> Result<NamedNodes, TrainingError> {
//!         Ok(NamedNodes::from([("bright".to_string(), self.0.forward(tensor(batch, "dark")?)?)]))
//!     }
//!     fn check_size(&self, _width: usize, _height: usize) -> Result<(), TrainingError> {
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<(), TrainingError> {
//! let objective = ImageObjective::new(vec![(Term::Mse {}, 1.0.into())], Networks::default())?;
//! let mut trainer = Trainer::new(TrainerSetup {
//!     params: Params::new(0, DType::F32, &Device::Cpu),
//!     network: Box::new(|scope, _activations| {
//!         Ok(Box::new(Brighter(Conv2d::new(scope, 3, 3, 1, Conv2dConfig { stride: 1, padding: 0 })?)))
//!     }),
//!     activations: DType::F32,
//!     heads: vec![Head { name: "bright".into(), objective, adversary: None, teacher: None, hints: None }],
//!     dynamic: false,
//!     seed: 0,
//!     initial: None,
//!     updates: Updates::default(),
//!     discriminator_steps: 0,
//!     network_steps: 1,
//! })?;
//! let bright = Tensor::rand(0f32, 1., (2, 3, 16, 16), &Device::Cpu)?;
//! let batch = [("dark", bright.affine(0.5, 0.)?), ("bright", bright)].map(|(name, t)| (name.to_string(), t)).into();
//! let batches = [batch];
//! let loss = |report: StepReport| report.g_loss[0].total;
//! let first = loss(trainer.step(&batches, &StepContext { step: 0, epoch: 0, lr: 0.05, gradients: false })?);
//! for step in 1..50 {
//!     trainer.step(&batches, &StepContext { step, epoch: 0, lr: 0.05, gradients: false })?;
//! }
//! let last = loss(trainer.step(&batches, &StepContext { step: 50, epoch: 0, lr: 0.05, gradients: false })?);
//! assert!(last < 0.1 * first);
//! let checkpoint = trainer.state()?; // "g.weight", "g.bias", "adam.g.weight.m", ...
//! # assert!(checkpoint.contains_key("g.weight") && checkpoint.contains_key("adam.g.weight.m"));
//! # Ok(())
//! # }
//! ```

mod adversary;
mod architecture;
mod balance;
mod error;
mod gradients;
mod head;
mod hints;
mod network;
mod networks;
mod report;
mod state;
mod trainer;
mod weights;

pub use adversary::{Adversary, AdversaryConfig};
pub use architecture::{Architecture, NetworkAbout, NetworkOptions, OptionAbout, OptionError};
pub use error::TrainingError;
pub use head::Head;
pub use hints::Hints;
pub use network::{
    Builder, FEATURES, HeadKind, HeadShape, LocalColour, NamedNodes, NamedTensors, Network, Pass, tensor,
};
pub use networks::*;
pub use report::{GradientReport, HeadLosses, NetworkLosses, StepReport, TermValue};
pub use trainer::{InitialWeights, StepContext, Trainer, TrainerSetup, Updates};
pub use weights::{Found, TrainedNetwork, WeightFile, WeightsError, picture};
