//! Trained weights of any network.

use crate::architecture::{Architecture, NetworkOptions};
use crate::network::{FEATURES, HeadShape, LocalColour, NamedNodes, NamedTensors, Network, Pass};
use crate::{Adversary, TrainingError};
use candle_core::{DType, Device, Tensor};
use colormamba::checkpoint::{self, Checkpoint, CheckpointError, FIRST};
use colormamba_layers::{Params, ParamsError};
use colormamba_support::names::nearest;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file of weights that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// What the file says of its network is unusable.
    #[error("{path}: {message}")]
    Description {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
        /// What the file holds, if it is not what is wanted.
        #[source]
        found: Option<Found>,
    },
    /// The tensors are not those of the network that the file is said to be of.
    #[error("{path}: no usable weights of a network of kind `{kind}`{}", also(.found.as_ref()))]
    Network {
        /// The file.
        path: PathBuf,
        /// The kind.
        kind: &'static str,
        /// What the file holds, if a tensor is missing.
        found: Option<Found>,
        /// Why.
        source: Box<TrainingError>,
    },
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The tensors of a file where another was wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("of its {count} tensors {} is near to `{wanted}`", .nearest.as_deref().unwrap_or("none"))]
pub struct Found {
    /// How many they are.
    pub count: usize,
    /// The tensor that was wanted.
    pub wanted: String,
    /// The name that is most like it, if any is.
    pub nearest: Option<String>,
}

impl Found {
    fn new(wanted: &str, tensors: &NamedTensors) -> Self {
        let nearest = nearest(wanted, tensors.keys().map(String::as_str)).map(str::to_string);
        Self { count: tensors.len(), wanted: wanted.to_string(), nearest }
    }
}

/// Weights with what their file says of them.
pub struct WeightFile {
    /// The network that they are of.
    pub architecture: Architecture,
    /// What the file says about itself; empty for published weights.
    pub metadata: BTreeMap<String, String>,
    /// The checksum of the checkpoint, which was verified; none in published weights and in those of an earlier
    /// version.
    pub checksum: Option<String>,
    /// Which tensors were taken of a file that holds others of the same names, in words.
    pub passed_over: Option<String>,
    path: PathBuf,
    tensors: NamedTensors,
    device: Device,
}

impl WeightFile {
    /// Reads a checkpoint of a run, or other weights ([`checkpoint::load`] says which), see
    /// [`Architecture::of_weights`].
    ///
    /// # Errors
    /// [`WeightsError`] names the file and what is wrong.
    pub fn load(path: &Path, device: &Device) -> Result<Self, WeightsError> {
        Self::of(path, checkpoint::load(path, device)?, device)
    }

    /// The content of such a file; `name` is for errors.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn of_bytes(
        name: &Path,
        content: impl Into<Cow<'static, [u8]>>,
        device: &Device,
    ) -> Result<Self, WeightsError> {
        Self::of(name, checkpoint::of_bytes(name, content, device)?, device)
    }

    fn of(path: &Path, checkpoint: Checkpoint, device: &Device) -> Result<Self, WeightsError> {
        let tensors = checkpoint.network(path)?;
        let architecture = Architecture::of_weights(&checkpoint.metadata, &tensors).map_err(|error| {
            // Where a header says what the network is, it is the header that is wrong.
            let unnamed = checkpoint.metadata.is_empty() && !tensors.contains_key(FIRST);
            let found = unnamed.then(|| Found::new(FIRST, &tensors));
            WeightsError::Description { path: path.to_path_buf(), message: error.to_string(), found }
        })?;
        let (path, device) = (path.to_path_buf(), device.clone());
        let Checkpoint { metadata, checksum, passed_over, .. } = checkpoint;
        Ok(Self { architecture, metadata, checksum, passed_over, path, tensors, device })
    }

    /// The file, as it is named in errors.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors by the network's names, as they were stored; kernels of 8 bits in f32.
    pub fn tensors(&self) -> &NamedTensors {
        &self.tensors
    }

    /// The network with the weights. Activations are of the given type, or of that of the images.
    ///
    /// # Errors
    /// [`WeightsError::Network`] if they are not all of its weights.
    pub fn network(&self, activations: Option<DType>) -> Result<TrainedNetwork, WeightsError> {
        let of_file = |source: TrainingError| {
            let (path, kind) = (self.path.clone(), self.architecture.kind());
            let found = missing(&source).map(|name| Found::new(name, &self.tensors));
            WeightsError::Network { path, kind, found, source: Box::new(source) }
        };
        TrainedNetwork::new(self.architecture.options(), &self.tensors, &self.device, activations).map_err(of_file)
    }
}

/// A network in evaluation that makes a picture of a NIR image.
pub struct TrainedNetwork {
    network: Box<dyn Network>,
    rgb: &'static str,
    grid: usize,
    features: Option<usize>,
    device: Device,
}

impl TrainedNetwork {
    /// The network of these options over `tensors`, by the network's names. Activations are of the given type, or of
    /// that of the images.
    ///
    /// # Errors
    /// [`TrainingError::State`] if tensors are missing or of other shapes; [`TrainingError::Head`] if the network makes
    /// no picture.
    pub fn new(
        options: &dyn NetworkOptions,
        tensors: &NamedTensors,
        device: &Device,
        activations: Option<DType>,
    ) -> Result<Self, TrainingError> {
        let rgb = options.rgb();
        let picture: Option<HeadShape> = options.heads().into_iter().find(|head| head.name == rgb);
        if !picture.is_some_and(|head| Adversary::sees(&head)) {
            return Err(no_picture(rgb));
        }
        let params = Params::new(0, DType::F32, device);
        let network = options.build(&params.root().frozen(), activations)?;
        params.load(tensors).map_err(TrainingError::of_state("the weights do not fit the network".to_string()))?;
        Ok(Self { network, rgb, grid: options.grid(), features: options.features(), device: device.clone() })
    }

    /// The picture `(B, 3, H, W)` of `nir` `(B, 1, H, W)` and `nir_hsv` `(B, 3, H, W)`, all in `[0, 1]`.
    ///
    /// # Errors
    /// [`TrainingError::Size`] if the network does not take images of this size.
    pub fn picture(&self, nir: &Tensor, nir_hsv: &Tensor) -> Result<Tensor, TrainingError> {
        picture(&*self.network, self.rgb, nir, nir_hsv)
    }

    /// Channels of its feature map, see [`NetworkOptions::features`].
    pub fn features(&self) -> Option<usize> {
        self.features
    }

    /// The picture as of [`Self::picture`], and the feature map if it has one.
    ///
    /// # Errors
    /// As [`Self::picture`].
    pub fn picture_and_features(
        &self,
        nir: &Tensor,
        nir_hsv: &Tensor,
    ) -> Result<(Tensor, Option<Tensor>), TrainingError> {
        let outputs = outputs(&*self.network, nir, nir_hsv)?;
        Ok((shown(&outputs, self.rgb)?, outputs.get(FEATURES).map(|features| features.value().clone())))
    }

    /// The network as one whose picture follows from each pixel's own NIR value, if it is one.
    pub fn local(&self) -> Option<&dyn LocalColour> {
        self.network.local()
    }

    /// What both sides of an image must be multiples of, in pixels.
    pub fn grid(&self) -> usize {
        self.grid
    }

    /// Where it computes: its inputs must lie there.
    pub fn device(&self) -> &Device {
        &self.device
    }
}

/// The picture `(B, 3, H, W)` that the head `rgb` of a network makes of `nir` `(B, 1, H, W)` and `nir_hsv`
/// `(B, 3, H, W)`, all in `[0, 1]`.
///
/// # Errors
/// [`TrainingError::Size`] if the network does not take images of this size, [`TrainingError::Head`] if it has no such
/// head.
pub fn picture(network: &dyn Network, rgb: &str, nir: &Tensor, nir_hsv: &Tensor) -> Result<Tensor, TrainingError> {
    shown(&outputs(network, nir, nir_hsv)?, rgb)
}

fn outputs(network: &dyn Network, nir: &Tensor, nir_hsv: &Tensor) -> Result<NamedNodes, TrainingError> {
    let (_, _, height, width) = nir.dims4()?;
    network.check_size(width, height)?;
    let inputs = [("nir", nir), ("nir_hsv", nir_hsv)].map(|(name, tensor)| (name.to_string(), tensor.clone()));
    network.forward(&inputs.into(), Pass::Evaluation)
}

fn shown(outputs: &NamedNodes, rgb: &str) -> Result<Tensor, TrainingError> {
    Ok(outputs.get(rgb).ok_or_else(|| no_picture(rgb))?.value().clone())
}

/// A part of a message.
fn also(found: Option<&Found>) -> String {
    found.map_or(String::new(), |found| format!("; {found}"))
}

/// The first tensor that a network misses.
fn missing(error: &TrainingError) -> Option<&str> {
    match error {
        TrainingError::State { source: ParamsError::Missing(names), .. } => names.first().map(String::as_str),
        _ => None,
    }
}

fn no_picture(head: &str) -> TrainingError {
    TrainingError::Head {
        head: head.to_string(),
        message: "the network makes no image of 3 channels there".to_string(),
    }
}
