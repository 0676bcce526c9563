//! Weights on disk: our own, and those of others.

use candle_core::{Device, Tensor};
use colormamba_support::files::write_whole;
use colormamba_weights::{ReadError, WeightFile};
use std::collections::{BTreeMap, HashMap};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The one entry of a checkpoint's header. Several would be written in random order, and equal runs must give equal files.
const METADATA: &str = "colormamba";

/// A tensor that every generator has.
pub const FIRST: &str = "netG_A.coder_1.0.weight";

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

/// Reads a checkpoint of ours, with the tensors as they were written, or other weights: a file of safetensors or
/// PyTorch's, of which those of a generator are taken ([`WeightFile`] says from where), as f32.
///
/// # Errors
/// [`CheckpointError`] names the file.
pub fn load(path: &Path, device: &Device) -> Result<Checkpoint, CheckpointError> {
    let format = |reason: String| CheckpointError::Format { path: path.to_path_buf(), reason };
    let broken = |error: ReadError| match error {
        ReadError::Io(source) if source.kind() != ErrorKind::UnexpectedEof => {
            CheckpointError::Io { path: path.to_path_buf(), source }
        }
        error => format(error.to_string()),
    };
    let file = WeightFile::open(path).map_err(broken)?;
    let (metadata, tensors) = match file.header(METADATA) {
        Some(text) => (serde_json::from_str(text).map_err(|e| format(e.to_string()))?, file.as_stored()),
        None => (BTreeMap::new(), file.tensors(FIRST)),
    };
    let place = |(name, tensor): (String, Tensor)| Ok((name, tensor.to_device(device)?));
    let tensors = tensors.map_err(broken)?.into_iter().map(place).collect::<Result<_, candle_core::Error>>();
    Ok(Checkpoint { tensors: tensors.map_err(|e| broken(e.into()))?, metadata })
}
