//! Trained weights, ready to colorize.

use crate::checkpoint::{self, CheckpointError};
use crate::{EdgeMap, Generator, GeneratorConfig, ModelError, Output, UnknownEdgeMap};
use candle_core::{DType, Device, Tensor};
use colormamba_layers::{Params, ParamsError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Prefix of the generator's tensors in our checkpoints, which hold the discriminators and optimizers too.
pub const GENERATOR: &str = "g.";

/// Weights that cannot be used, or an image that cannot be colorized.
#[derive(Debug, thiserror::Error)]
pub enum ColorizeError {
    /// The file cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tensors are not those of a generator.
    #[error("{path}: not the weights of a ColorMamba generator: {source}")]
    Weights {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        source: ParamsError,
    },
    /// The file's own description of the model is unusable.
    #[error("{path}: {message}")]
    Description {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The model refuses its configuration or the image.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// A generator in evaluation, with the metadata its weights came with.
pub struct Colorizer {
    generator: Generator,
    metadata: BTreeMap<String, String>,
    checksum: Option<String>,
}

impl Colorizer {
    /// Loads a checkpoint of a run, or published weights (`.pth`), whose width is read off their tensors and whose edge map
    /// is [`EdgeMap::Legacy`].
    ///
    /// # Errors
    /// [`ColorizeError`] names the file and what is wrong.
    pub fn load(path: &Path, device: &Device) -> Result<Self, ColorizeError> {
        let checkpoint = checkpoint::load(path, device)?;
        let own = checkpoint.tensors.keys().any(|name| name.starts_with(GENERATOR));
        let tensors = if own { checkpoint.under(GENERATOR) } else { checkpoint.tensors.clone() };
        if let Some(name) = checkpoint::not_finite(&tensors)? {
            let (path, tensor) = (path.to_path_buf(), name.clone());
            return Err(CheckpointError::NotFinite { path, tensor }.into());
        }
        let config = Self::config(path, &tensors, &checkpoint.metadata)?;
        let params = Params::new(0, DType::F32, device);
        let generator = Generator::new(&params.root().frozen(), &config)?;
        params.load(&tensors).map_err(|source| ColorizeError::Weights { path: path.to_path_buf(), source })?;
        Ok(Self { generator, metadata: checkpoint.metadata, checksum: checkpoint.checksum })
    }

    /// Width and depth follow from the tensors alone; the edge map's form does not.
    fn config(
        path: &Path,
        tensors: &BTreeMap<String, Tensor>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<GeneratorConfig, ColorizeError> {
        let description = |message: String| ColorizeError::Description { path: path.to_path_buf(), message };
        let first = tensors.get("netG_A.coder_1.0.weight").and_then(|t| t.dims().first());
        let width = *first.ok_or_else(|| description("holds no ColorMamba generator".into()))?;
        let depth = 1 + (1..8).filter(|k| tensors.keys().any(|n| n.starts_with(&format!("netG_A.coder_{k}.")))).count();
        let edge_map = metadata.get("edge_map").map_or(Ok(EdgeMap::Legacy), |word| word.parse());
        let edge_map = edge_map.map_err(|e: UnknownEdgeMap| description(e.to_string()))?;
        Ok(GeneratorConfig::new(width, depth, edge_map)?)
    }

    /// The same with activations of another type; see [`Generator::with_activations`].
    pub fn with_activations(self, activations: DType) -> Self {
        Self { generator: self.generator.with_activations(activations), ..self }
    }

    /// Size and form of the model.
    pub fn generator_config(&self) -> &GeneratorConfig {
        self.generator.config()
    }

    /// What the checkpoint says about itself; empty for published weights.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The checksum of the checkpoint, which was verified; none in published weights and in those of an earlier version.
    pub fn checksum(&self) -> Option<&str> {
        self.checksum.as_deref()
    }

    /// `nir` `(B, 1, H, W)` and `nir_hsv` `(B, 3, H, W)` in `[0, 1]`.
    ///
    /// # Errors
    /// [`ModelError::Grid`] if the image does not fit the model.
    pub fn colorize(&self, nir: &Tensor, nir_hsv: &Tensor) -> Result<Output, ColorizeError> {
        let (_, _, h, w) = nir.dims4()?;
        self.generator.config().check_size(w, h)?;
        Ok(self.generator.forward(nir, nir_hsv, false)?)
    }
}
