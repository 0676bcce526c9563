//! A file of weights with what must be known to use it.

use crate::manifest::{BEST, weights_file};
use crate::system::files::exists;
use crate::system::terminal::note;
use crate::system::usage::UsageError;
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
use colormamba_data::{NirHsv, Preparation, Protocol};
use colormamba_training::{Colorizer, WeightFile};
use std::collections::BTreeMap;
use std::path::Path;

/// Weights that are ready to colorize, and how their images are prepared.
pub struct Weights {
    /// The model.
    pub colorizer: Colorizer,
    /// As in their training.
    pub preparation: Preparation,
    /// Width and height of the training's images, in pixels.
    pub size: u32,
    metadata: BTreeMap<String, String>,
}

/// Loads weights, and says so if they are of a run of an earlier version, whose damage cannot be seen.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn load(path: &Path, device: &Device) -> Result<WeightFile> {
    let file = WeightFile::load(path, device)?;
    if !file.metadata.is_empty() && file.checksum.is_none() {
        note(&without_checksum(path));
    }
    Ok(file)
}

/// What to say of a checkpoint of an earlier version.
pub fn without_checksum(path: &Path) -> String {
    format!("note: {} is of an earlier version and has no checksum: damage would not be seen", path.display())
}

impl Weights {
    /// What the header says of something, if it does.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// Loads a checkpoint of a run, the best one of a run's folder, or published weights, which were trained at 256 pixels on
    /// stretched images. Activations are of the given type, or of that of the images.
    ///
    /// # Errors
    /// [`UsageError`] for a folder without weights; names the file and what is wrong with it.
    pub fn load(from: &Path, device: &Device, activations: Option<DType>) -> Result<Self> {
        let path = &weights_file(from);
        let lacks = || format!("{} holds no {BEST}: name the folder of a run, or a file of weights", from.display());
        ensure!(path == from || exists(path)?, UsageError(lacks()));
        let file = load(path, device)?;
        let (colorizer, metadata) = (file.colorizer(activations)?, file.metadata);
        if metadata.is_empty() {
            let preparation = Preparation { size: Some(256), protocol: Protocol::Minmax, nir_hsv: NirHsv::Published };
            return Ok(Self { colorizer, preparation, size: 256, metadata });
        }
        let get =
            |key: &str| metadata.get(key).with_context(|| format!("{}: its header lacks `{key}`", path.display()));
        let protocol = get("protocol")?.parse().with_context(|| path.display().to_string())?;
        let nir_hsv = get("nir_hsv")?.parse().with_context(|| path.display().to_string())?;
        let size = get("size")?.parse().with_context(|| format!("{}: unusable size", path.display()))?;
        Ok(Self { preparation: Preparation { size: Some(size), protocol, nir_hsv }, size, colorizer, metadata })
    }
}
