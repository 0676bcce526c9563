//! Weights on disk: our own `.safetensors`, and the published `.pth`.

use candle_core::safetensors::Load;
use candle_core::{DType, Device, Tensor};
use colormamba_support::files::write_whole;
use safetensors::{SafeTensors, View};
use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The one entry of a checkpoint's header. Several would be written in random order, and equal runs must give equal files.
const METADATA: &str = "colormamba";
/// What that entry calls the digest of all that the checkpoint says and holds.
const CHECKSUM: &str = "checksum";
/// Longest header that is read, as that of the format's own reader.
const LONGEST_HEADER: u64 = 100_000_000;

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
    /// The content is no longer what was written.
    #[error("{path}: damaged, its content does not have the checksum that it was written with; restore it from a copy")]
    Checksum {
        /// The file.
        path: PathBuf,
    },
    /// A tensor with infinite numbers or none.
    #[error(
        "{path}: the tensor `{tensor}` holds infinite values or values that are no numbers: these weights are of no use"
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
    },
}

/// Tensors with what is said about them.
pub struct Checkpoint {
    /// By name.
    pub tensors: BTreeMap<String, Tensor>,
    /// By key; empty for files that are not ours.
    pub metadata: BTreeMap<String, String>,
    /// The BLAKE3 that it was written with, which its content has; none in files that are not ours and in those of an
    /// earlier version.
    pub checksum: Option<String>,
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
    let mut metadata = metadata.clone();
    metadata.insert(CHECKSUM.to_string(), checksum(tensors, &metadata));
    let text = serde_json::to_string(&metadata).map_err(|e| io(e.into()))?;
    let header = HashMap::from([(METADATA.to_string(), text)]);
    let bytes = safetensors::serialize(tensors, Some(header)).map_err(|e| io(std::io::Error::other(e)))?;
    write_whole(path, |file| file.write_all(&bytes)).map_err(|error| io(error.source))
}

/// BLAKE3 over what is said, and over names, types, shapes and bytes of the tensors in the order of their names.
fn checksum<'a, V: View + 'a>(
    tensors: impl IntoIterator<Item = (&'a String, V)>,
    metadata: &BTreeMap<String, String>,
) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    };
    for (key, value) in metadata {
        add(key.as_bytes());
        add(value.as_bytes());
    }
    for (name, tensor) in tensors {
        add(name.as_bytes());
        add(format!("{:?} {:?}", tensor.dtype(), tensor.shape()).as_bytes());
        add(&tensor.data());
    }
    hasher.finalize().to_hex().to_string()
}

/// What a checkpoint of ours says about itself, without its tensors; empty for files that are not ours. A checksum is not
/// verified.
///
/// # Errors
/// [`CheckpointError`] names the file.
pub fn metadata(path: &Path) -> Result<BTreeMap<String, String>, CheckpointError> {
    Ok(header(path)?.map(|(metadata, _)| metadata).unwrap_or_default())
}

/// A digest of a file of weights: the checksum that it was written with, else BLAKE3 of the whole file.
///
/// # Errors
/// [`CheckpointError`] names the file.
pub fn digest(path: &Path) -> Result<String, CheckpointError> {
    if let Some((_, Some(checksum))) = header(path)? {
        return Ok(checksum);
    }
    let mut hasher = blake3::Hasher::new();
    let hashed = open(path).and_then(|mut file| std::io::copy(&mut file, &mut hasher));
    hashed.map_err(|source| CheckpointError::Io { path: path.to_path_buf(), source })?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// The name of a tensor that holds infinite values, or values that are no numbers.
///
/// # Errors
/// If a tensor cannot be read.
pub fn not_finite(tensors: &BTreeMap<String, Tensor>) -> candle_core::Result<Option<&String>> {
    for (name, tensor) in tensors {
        // Zero times any other number is zero; so a GPU's tensor stays where it is.
        if tensor.dtype().is_float() {
            let sum = tensor.affine(0.0, 0.0)?.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
            if sum.is_nan() {
                return Ok(Some(name));
            }
        }
    }
    Ok(None)
}

/// What is said, and the checksum.
type Said = (BTreeMap<String, String>, Option<String>);

/// From the entry of a header.
fn said(text: &str) -> serde_json::Result<Said> {
    let mut metadata: BTreeMap<String, String> = serde_json::from_str(text)?;
    let checksum = metadata.remove(CHECKSUM);
    Ok((metadata, checksum))
}

/// What the header of a file of ours says; none of another file.
fn header(path: &Path) -> Result<Option<Said>, CheckpointError> {
    let io = |source| CheckpointError::Io { path: path.to_path_buf(), source };
    let format = |reason: String| CheckpointError::Format { path: path.to_path_buf(), reason };
    if is_pytorch(path) {
        return Ok(None);
    }
    let mut file = open(path).map_err(io)?;
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(8).read_to_end(&mut bytes).map_err(io)?;
    let length = <[u8; 8]>::try_from(bytes.as_slice()).map_err(|_| format("it is shorter than a header".into()))?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER {
        return Err(format("its header has no usable length".into()));
    }
    file.take(length).read_to_end(&mut bytes).map_err(io)?;
    let json: serde_json::Value = serde_json::from_slice(&bytes[8..]).map_err(|e| format(e.to_string()))?;
    let text = json.pointer(&format!("/__metadata__/{METADATA}")).and_then(serde_json::Value::as_str);
    text.map(said).transpose().map_err(|e| format(e.to_string()))
}

/// Opens a file; reading a pipe or a device might never end.
fn open(path: &Path) -> std::io::Result<std::fs::File> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "a folder" } else { "a pipe or a device" };
        return Err(std::io::Error::other(format!("{what}, not a file of weights")));
    }
    std::fs::File::open(path)
}

fn is_pytorch(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "pth" || e == "pt")
}

/// Reads a `.safetensors` file, or a PyTorch `.pth` / `.pt` file with a plain state dict.
///
/// # Errors
/// [`CheckpointError`] names the file.
pub fn load(path: &Path, device: &Device) -> Result<Checkpoint, CheckpointError> {
    if is_pytorch(path) { load_pytorch(path, device) } else { load_safetensors(path, device) }
}

fn load_safetensors(path: &Path, device: &Device) -> Result<Checkpoint, CheckpointError> {
    let io = |source| CheckpointError::Io { path: path.to_path_buf(), source };
    let format = |reason: String| CheckpointError::Format { path: path.to_path_buf(), reason };
    let mut bytes = Vec::new();
    open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(io)?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| format(e.to_string()))?;
    let (metadata, written) = match header.metadata().as_ref().and_then(|m| m.get(METADATA)) {
        Some(text) => said(text).map_err(|e| format(e.to_string()))?,
        None => Said::default(),
    };
    let views: BTreeMap<String, _> =
        SafeTensors::deserialize(&bytes).map_err(|e| format(e.to_string()))?.tensors().into_iter().collect();
    if written.as_ref().is_some_and(|written| *written != checksum(&views, &metadata)) {
        return Err(CheckpointError::Checksum { path: path.to_path_buf() });
    }
    let mut tensors = BTreeMap::new();
    for (name, view) in views {
        tensors.insert(name, view.load(device).map_err(|e| format(e.to_string()))?);
    }
    Ok(Checkpoint { tensors, metadata, checksum: written })
}

fn load_pytorch(path: &Path, device: &Device) -> Result<Checkpoint, CheckpointError> {
    // candle's reader opens the file itself; a missing file should say so plainly.
    open(path).map_err(|source| CheckpointError::Io { path: path.to_path_buf(), source })?;
    let format = |e: candle_core::Error| CheckpointError::Format { path: path.to_path_buf(), reason: e.to_string() };
    let mut tensors = BTreeMap::new();
    for (name, tensor) in candle_core::pickle::read_all(path).map_err(format)? {
        tensors.insert(name, tensor.to_device(device).map_err(format)?);
    }
    Ok(Checkpoint { tensors, metadata: BTreeMap::new(), checksum: None })
}
