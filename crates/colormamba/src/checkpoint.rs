//! Weights on disk: our own `.safetensors`, and the published `.pth`.

use candle_core::safetensors::Load;
use candle_core::{Device, Tensor};
use colormamba_support::files::write_whole;
use safetensors::SafeTensors;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The one entry of a checkpoint's header. Several would be written in random order, and equal runs must give equal files.
const METADATA: &str = "colormamba";

/// A checkpoint that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The content is not a checkpoint, or only part of one.
    #[error("{path}: cut short or not a checkpoint ({reason}); restore it from a copy")]
    Format {
        /// The file.
        path: PathBuf,
        /// What the reader stumbled over.
        reason: String,
    },
}

/// Tensors with what is said about them.
pub struct Checkpoint {
    /// By name.
    pub tensors: BTreeMap<String, Tensor>,
    /// By key; empty for files that are not ours.
    pub metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    /// The tensors under `prefix`, by the rest of their names.
    pub fn under(&self, prefix: &str) -> BTreeMap<String, Tensor> {
        let strip = |(k, v): (&String, &Tensor)| Some((k.strip_prefix(prefix)?.to_string(), v.clone()));
        self.tensors.iter().filter_map(strip).collect()
    }
}

/// Writes a checkpoint, whole or not at all: a temporary file beside `path` is flushed to disk, then renamed.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn save(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), CheckpointError> {
    let io = |source| CheckpointError::Io { path: path.to_path_buf(), source };
    let text = serde_json::to_string(metadata).map_err(|e| io(e.into()))?;
    let header = HashMap::from([(METADATA.to_string(), text)]);
    let bytes = safetensors::serialize(tensors, Some(header)).map_err(|e| io(std::io::Error::other(e)))?;
    write_whole(path, |file| file.write_all(&bytes)).map_err(|error| io(error.source))
}

/// Reads a `.safetensors` file, or a PyTorch `.pth` / `.pt` file with a plain state dict.
///
/// # Errors
/// [`CheckpointError`] names the file.
pub fn load(path: &Path, device: &Device) -> Result<Checkpoint, CheckpointError> {
    let pytorch = path.extension().is_some_and(|e| e == "pth" || e == "pt");
    if pytorch { load_pytorch(path, device) } else { load_safetensors(path, device) }
}

fn load_safetensors(path: &Path, device: &Device) -> Result<Checkpoint, CheckpointError> {
    let format = |reason: String| CheckpointError::Format { path: path.to_path_buf(), reason };
    let bytes = std::fs::read(path).map_err(|source| CheckpointError::Io { path: path.to_path_buf(), source })?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| format(e.to_string()))?;
    let metadata = match header.metadata().as_ref().and_then(|m| m.get(METADATA)) {
        Some(text) => serde_json::from_str(text).map_err(|e| format(e.to_string()))?,
        None => BTreeMap::new(),
    };
    let views = SafeTensors::deserialize(&bytes).map_err(|e| format(e.to_string()))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in views.tensors() {
        tensors.insert(name, view.load(device).map_err(|e| format(e.to_string()))?);
    }
    Ok(Checkpoint { tensors, metadata })
}

fn load_pytorch(path: &Path, device: &Device) -> Result<Checkpoint, CheckpointError> {
    // candle's reader opens the file itself; a missing file should say so plainly.
    std::fs::File::open(path).map_err(|source| CheckpointError::Io { path: path.to_path_buf(), source })?;
    let format = |e: candle_core::Error| CheckpointError::Format { path: path.to_path_buf(), reason: e.to_string() };
    let mut tensors = BTreeMap::new();
    for (name, tensor) in candle_core::pickle::read_all(path).map_err(format)? {
        tensors.insert(name, tensor.to_device(device).map_err(format)?);
    }
    Ok(Checkpoint { tensors, metadata: BTreeMap::new() })
}
