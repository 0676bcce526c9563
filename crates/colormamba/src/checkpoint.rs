//! Weights on disk: our own, and those of others.

use crate::GENERATOR;
use crate::eight_bits::from_eight_bits;
use candle_core::{DType, Device, Tensor};
use colormamba_support::files::write_whole;
use colormamba_weights::{ReadError, WeightFile};
use safetensors::View;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The one entry of a checkpoint's header. Several would be written in random order, and equal runs must give equal
/// files.
const METADATA: &str = "colormamba";
/// What that entry calls the digest of all that the checkpoint says and holds.
const CHECKSUM: &str = "checksum";

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
    /// Which tensors were taken of a file that holds others of the same names, in words.
    pub passed_over: Option<String>,
}

impl Checkpoint {
    /// The tensors under `prefix`, by the rest of their names.
    pub fn under(&self, prefix: &str) -> BTreeMap<String, Tensor> {
        let strip = |(k, v): (&String, &Tensor)| Some((k.strip_prefix(prefix)?.to_string(), v.clone()));
        self.tensors.iter().filter_map(strip).collect()
    }

    /// The network's tensors by its own names: those under [`GENERATOR`], or all of a file that has none there; in f32
    /// if they are bytes ([`crate::eight_bits`]). `path` is for errors.
    ///
    /// # Errors
    /// [`CheckpointError::NotFinite`].
    pub fn network(&self, path: &Path) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
        let own = self.under(GENERATOR);
        let tensors = if own.is_empty() { self.tensors.clone() } else { own };
        let tensors = from_eight_bits(tensors).map_err(|e| broken(path, e.into()))?;
        match not_finite(&tensors).map_err(|e| broken(path, e.into()))? {
            Some(tensor) => Err(CheckpointError::NotFinite { path: path.to_path_buf(), tensor: tensor.clone() }),
            None => Ok(tensors),
        }
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

/// What a checkpoint of ours says about itself, without its tensors; empty for files that are not ours. A checksum is
/// not verified.
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
    let hashed = std::fs::File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut hasher));
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
    said_by(path, &open(path)?)
}

fn said_by(path: &Path, file: &WeightFile) -> Result<Option<Said>, CheckpointError> {
    file.header(METADATA).map(said).transpose().map_err(|error| broken(path, ReadError::Damaged(error.to_string())))
}

fn open(path: &Path) -> Result<WeightFile, CheckpointError> {
    WeightFile::open(path).map_err(|error| broken(path, error))
}

/// [`metadata`] and [`Checkpoint::passed_over`] of a file.
///
/// # Errors
/// [`CheckpointError`] names the file.
pub fn about(path: &Path) -> Result<(BTreeMap<String, String>, Option<String>), CheckpointError> {
    let file = open(path)?;
    let said = said_by(path, &file)?;
    let passed_over = others_than_taken(&file, said.as_ref());
    Ok((said.map(|(metadata, _)| metadata).unwrap_or_default(), passed_over))
}

/// Which tensors are taken of a file that holds others of the same names, in words; of files of ours all are.
fn others_than_taken(file: &WeightFile, said: Option<&Said>) -> Option<String> {
    file.passed_over(FIRST).filter(|_| said.is_none())
}

fn broken(path: &Path, error: ReadError) -> CheckpointError {
    let path = path.to_path_buf();
    match error {
        ReadError::Io(source) if source.kind() != ErrorKind::UnexpectedEof => CheckpointError::Io { path, source },
        error => CheckpointError::Format { path, reason: error.to_string() },
    }
}

/// Reads a checkpoint of ours, with the tensors as they were written, or other weights: a file of safetensors or
/// PyTorch's, of which those of a generator are taken ([`WeightFile`] says from where), as f32.
///
/// # Errors
/// [`CheckpointError`] names the file.
pub fn load(path: &Path, device: &Device) -> Result<Checkpoint, CheckpointError> {
    read(path, &open(path)?, device)
}

/// [`load`] of a file's content; `path` is for errors.
///
/// # Errors
/// As [`load`].
pub fn of_bytes(
    path: &Path,
    content: impl Into<Cow<'static, [u8]>>,
    device: &Device,
) -> Result<Checkpoint, CheckpointError> {
    read(path, &WeightFile::of_bytes(content).map_err(|error| broken(path, error))?, device)
}

fn read(path: &Path, file: &WeightFile, device: &Device) -> Result<Checkpoint, CheckpointError> {
    let said = said_by(path, file)?;
    let tensors = if said.is_some() { file.as_stored() } else { file.tensors(FIRST) };
    let tensors = tensors.map_err(|error| broken(path, error))?;
    let passed_over = others_than_taken(file, said.as_ref());
    let (metadata, written) = said.unwrap_or_default();
    if written.as_ref().is_some_and(|written| *written != checksum(&tensors, &metadata)) {
        return Err(CheckpointError::Checksum { path: path.to_path_buf() });
    }
    let place = |(name, tensor): (String, Tensor)| Ok((name, tensor.to_device(device)?));
    let tensors = tensors.into_iter().map(place).collect::<Result<_, candle_core::Error>>();
    let tensors = tensors.map_err(|e| broken(path, e.into()))?;
    Ok(Checkpoint { tensors, metadata, checksum: written, passed_over })
}
