//! A file of weights with what must be known to use it.

use crate::system::terminal::note;
use anyhow::{Context, Result};
use candle_core::{DType, Device};
use colormamba::Colorizer;
use colormamba_data::{NirHsv, Preparation, Protocol};
use std::path::Path;

/// Weights that are ready to colorize, and how their images are prepared.
pub struct Weights {
    /// The model.
    pub colorizer: Colorizer,
    /// As in their training.
    pub preparation: Preparation,
    /// Width and height of the training's images, in pixels.
    pub size: u32,
}

/// Loads weights, and says so if they are of a run of an earlier version, whose damage cannot be seen.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn load(path: &Path, device: &Device) -> Result<Colorizer> {
    let colorizer = Colorizer::load(path, device)?;
    if !colorizer.metadata().is_empty() && colorizer.checksum().is_none() {
        note(&without_checksum(path));
    }
    Ok(colorizer)
}

/// What to say of a checkpoint of an earlier version.
pub fn without_checksum(path: &Path) -> String {
    format!("note: {} is of an earlier version and has no checksum: damage would not be seen", path.display())
}

impl Weights {
    /// The same with activations of another type.
    pub fn with_activations(self, activations: DType) -> Self {
        Self { colorizer: self.colorizer.with_activations(activations), ..self }
    }

    /// What the header says of something, if it does.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.colorizer.metadata().get(key).map(String::as_str)
    }

    /// Loads a checkpoint of a run, or published weights, which were trained at 256 pixels on stretched images.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let colorizer = load(path, device)?;
        let metadata = colorizer.metadata();
        if metadata.is_empty() {
            let preparation = Preparation { size: Some(256), protocol: Protocol::Minmax, nir_hsv: NirHsv::Published };
            return Ok(Self { colorizer, preparation, size: 256 });
        }
        let get =
            |key: &str| metadata.get(key).with_context(|| format!("{}: its header lacks `{key}`", path.display()));
        let protocol = get("protocol")?.parse().with_context(|| path.display().to_string())?;
        let nir_hsv = get("nir_hsv")?.parse().with_context(|| path.display().to_string())?;
        let size = get("size")?.parse().with_context(|| format!("{}: unusable size", path.display()))?;
        Ok(Self { preparation: Preparation { size: Some(size), protocol, nir_hsv }, size, colorizer })
    }
}
