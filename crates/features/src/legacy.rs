//! PyTorch's files from before version 1.6: pickles and, behind them, the elements of every storage. The published VGG
//! files are of this kind, as their size tells.
//!
//! The pickles are: a magic number, the version of the format, sizes of the machine's types, the object, and the names
//! of the storages in the order in which they follow. Each storage is its number of elements in eight bytes, then
//! these.

use crate::pickle::{Value, read, read_with_persistent};
use candle_core::{Device, Error, Result, Tensor, bail};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The pickle of the magic number.
const MAGIC: [u8; 15] = [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];
const VERSION: i64 = 1001;

/// A file of f32 tensors, which are read one at a time.
pub(crate) struct LegacyFile {
    path: PathBuf,
    tensors: HashMap<String, Stored>,
    /// Where in the file the elements of a storage begin, and how many they are.
    storages: HashMap<String, (u64, usize)>,
}

/// A contiguous tensor.
struct Stored {
    storage: String,
    offset: usize,
    shape: Vec<usize>,
}

impl LegacyFile {
    /// The file, if it is of this kind. `key`: under which key of the object its tensors lie; all of it without.
    pub(crate) fn open(path: &Path, key: Option<&str>) -> Result<Option<Self>> {
        let file = File::open(path)?;
        let end = file.metadata()?.len();
        let mut source = BufReader::new(file);
        let mut magic = Vec::new();
        source.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic)?;
        if magic != MAGIC {
            return Ok(None);
        }
        if read(&mut source)? != Value::Int(VERSION) {
            bail!("another version of the format than {VERSION}");
        }
        if entry(&read(&mut source)?, "little_endian") == Some(&Value::Bool(false)) {
            bail!("elements with the highest byte first");
        }
        let (object, outside) = read_with_persistent(&mut source)?;
        let tensors = key.map_or(Some(&object), |key| entry(&object, key));
        let Some(Value::Dict(entries)) = tensors else { bail!("no dictionary of tensors") };
        let stored = |(name, value): &(Value, Value)| match name {
            Value::Text(name) => Some((name.clone(), stored(value)?)),
            _ => None,
        };
        let tensors = entries.iter().filter_map(stored).collect();
        let widths = outside.iter().filter_map(storage).collect();
        let storages = storages(&mut source, &widths, end)?;
        Ok(Some(Self { path: path.to_path_buf(), tensors, storages }))
    }

    /// The tensor of that name.
    pub(crate) fn get(&self, name: &str) -> Result<Option<Tensor>> {
        let Some(Stored { storage, offset, shape }) = self.tensors.get(name) else { return Ok(None) };
        let count = shape.iter().try_fold(1usize, |count, side| count.checked_mul(*side));
        let (Some(count), Some(&(start, length))) = (count, self.storages.get(storage)) else {
            bail!("`{name}` has no elements in the file");
        };
        if offset.checked_add(count).is_none_or(|end| end > length) {
            bail!("`{name}` reaches beyond its storage");
        }
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(start + 4 * *offset as u64))?;
        let mut bytes = vec![0; 4 * count];
        file.read_exact(&mut bytes)?;
        let elements = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Ok(Some(Tensor::from_vec(elements, shape.as_slice(), &Device::Cpu)?))
    }
}

/// The places of the storages, whose names are next. `widths`: bytes of an element of each.
fn storages(
    source: &mut (impl BufRead + Seek),
    widths: &HashMap<&str, u64>,
    end: u64,
) -> Result<HashMap<String, (u64, usize)>> {
    let Value::List(names) = read(source)? else { bail!("no list of storages") };
    let mut storages = HashMap::new();
    for name in names {
        let Value::Text(name) = name else { bail!("a storage whose name is no text") };
        let mut count = [0; 8];
        source.read_exact(&mut count)?;
        let (start, count) = (source.stream_position()?, u64::from_le_bytes(count));
        let Some(width) = widths.get(name.as_str()) else { bail!("a storage of an unknown type") };
        let next = count.checked_mul(*width).and_then(|bytes| start.checked_add(bytes));
        let Some(next) = next.filter(|next| *next <= end) else {
            return Err(Error::Msg("the file ends inside of a storage".into()));
        };
        source.seek(SeekFrom::Start(next))?;
        storages.insert(name, (start, count as usize));
    }
    Ok(storages)
}

fn entry<'a>(dict: &'a Value, key: &str) -> Option<&'a Value> {
    let Value::Dict(entries) = dict else { return None };
    entries.iter().find(|(name, _)| matches!(name, Value::Text(name) if name == key)).map(|(_, value)| value)
}

/// A contiguous f32 tensor: storage, offset, shape and strides are the first arguments of a function of PyTorch.
fn stored(value: &Value) -> Option<Stored> {
    let Value::Call(function, arguments) = value else { return None };
    let Value::Global(module, name) = &**function else { return None };
    match (module.as_str(), name.as_str(), arguments.as_slice()) {
        ("torch._utils", "_rebuild_parameter", [data, ..]) => stored(data),
        (
            "torch._utils",
            "_rebuild_tensor" | "_rebuild_tensor_v2",
            [Value::Persistent(storage), Value::Int(offset), shape, strides, ..],
        ) => {
            let shape = sizes(shape)?;
            let contiguous = candle_core::Shape::from(shape.clone()).is_contiguous(&sizes(strides)?);
            let offset = usize::try_from(*offset).ok()?;
            contiguous.then_some(Stored { storage: floats(storage)?, offset, shape })
        }
        _ => None,
    }
}

/// The name of a storage of f32.
fn floats(description: &Value) -> Option<String> {
    let Value::Tuple(parts) = description else { return None };
    match parts.as_slice() {
        [_, Value::Global(_, class), Value::Text(name), _, _, Value::Other] if class == "FloatStorage" => {
            Some(name.clone())
        }
        _ => None,
    }
}

/// The name of a storage and the bytes of an element, from its description: ("storage", its class, its name, its
/// device, its length, a part of another storage).
fn storage(description: &Value) -> Option<(&str, u64)> {
    let Value::Tuple(parts) = description else { return None };
    let [Value::Text(_), Value::Global(_, class), Value::Text(name), ..] = parts.as_slice() else { return None };
    let width = match class.as_str() {
        "ByteStorage" | "CharStorage" | "BoolStorage" => 1,
        "HalfStorage" | "BFloat16Storage" | "ShortStorage" => 2,
        "FloatStorage" | "IntStorage" => 4,
        "DoubleStorage" | "LongStorage" => 8,
        _ => return None,
    };
    Some((name, width))
}

fn sizes(value: &Value) -> Option<Vec<usize>> {
    let (Value::Tuple(sizes) | Value::List(sizes)) = value else { return None };
    let size = |size: &Value| match size {
        Value::Int(size) => usize::try_from(*size).ok(),
        _ => None,
    };
    sizes.iter().map(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
    }

    /// The published linear weights of LPIPS come from Python 2; what they were converted to are those of the
    /// repository.
    #[test]
    fn reads_what_python_2_wrote() -> Result<()> {
        let file = LegacyFile::open(&fixture("python2.pt"), None)?.expect("of this kind");
        let converted = candle_core::safetensors::load_buffer(
            include_bytes!("../../../weights/lpips/alex.safetensors"),
            &Device::Cpu,
        )?;
        for (name, want) in &converted {
            let got = file.get(&format!("{name}.model.1.weight"))?.expect("in the file");
            assert_eq!(got.dims(), [1, want.elem_count(), 1, 1], "{name}");
            assert_eq!(got.flatten_all()?.to_vec1::<f32>()?, want.to_vec1::<f32>()?, "{name}");
        }
        assert_eq!(converted.len(), file.tensors.len());
        assert!(file.get("lin9.model.1.weight")?.is_none());
        Ok(())
    }

    /// Parameters and tensors that share a storage, under a key, beside things that are no tensors.
    #[test]
    fn reads_what_python_3_wrote() -> Result<()> {
        let file = LegacyFile::open(&fixture("python3.pt"), Some("state_dict"))?.expect("of this kind");
        let all = |name: &str| file.get(name)?.expect(name).flatten_all()?.to_vec1::<f32>();
        assert_eq!(all("parameter")?, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(all("rows")?, [2.0, 3.0, 4.0, 5.0]);
        assert_eq!(file.get("rows")?.expect("rows").dims(), [2, 2]);
        // Not f32, and not contiguous.
        assert!(file.get("doubles")?.is_none() && file.get("columns")?.is_none());
        Ok(())
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error() -> Result<()> {
        let whole = std::fs::read(fixture("python2.pt"))?;
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("cut.pt");
        for length in (MAGIC.len()..whole.len()).step_by(7).chain([whole.len() - 1]) {
            std::fs::write(&path, &whole[..length])?;
            assert!(LegacyFile::open(&path, None).is_err(), "{length} bytes");
        }
        Ok(())
    }
}
