//! Safetensors: the length of a header, the header in JSON, the elements.

use crate::bytes::Bytes;
use crate::elements::{Kind, Stored};
use crate::error::{Result, damaged};
use crate::groups::{Content, Group, Item};
use candle_core::DType;
use safetensors::Dtype;
use safetensors::tensor::Metadata;

/// Bytes of the header's length.
const LENGTH: u64 = 8;
/// Longer than any header: names, types and shapes of a million tensors.
const LONGEST_HEADER: u64 = 100_000_000;

/// The length of the header, if the file may be of this kind.
pub(crate) fn header_length(begin: &[u8]) -> Option<u64> {
    let (length, rest) = begin.split_first_chunk::<8>()?;
    rest.starts_with(b"{").then(|| u64::from_le_bytes(*length))
}

pub(crate) fn read(bytes: &Bytes, header_length: u64) -> Result<Content> {
    if header_length > LONGEST_HEADER {
        return damaged(format!("its header claims {header_length} bytes"));
    }
    let Some(header) = bytes.part(LENGTH, header_length)? else {
        let length = bytes.length();
        return damaged(format!("its header claims {header_length} bytes, the whole file has {length}"));
    };
    let header: Metadata = match serde_json::from_slice(&header) {
        Ok(header) => header,
        Err(error) => return damaged(format!("its header is no safetensors header: {error}")),
    };
    let (start, room) = (LENGTH + header_length, bytes.length() - LENGTH - header_length);
    if header.data_len() as u64 != room {
        return damaged(format!("its header describes {} bytes of elements, {room} are there", header.data_len()));
    }
    let items = header.tensors().into_iter().map(|(name, info)| {
        let (from, to) = info.data_offsets;
        let place = (start + from as u64, (to - from) as u64);
        let stored = match kind(info.dtype) {
            Some(kind) => Stored::contiguous(kind, place, info.shape.clone()),
            None => Err(format!("has elements of type {:?}, which is not read", info.dtype)),
        };
        (name, stored.map_or_else(Item::Unread, Item::Stored))
    });
    let group = Group { place: None, items: items.collect() };
    let header = header.metadata().clone().unwrap_or_default();
    Ok(Content { what: "a safetensors file", groups: vec![group], header })
}

fn kind(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::BOOL | Dtype::U8 => Kind::As(DType::U8),
        Dtype::I8 => Kind::I8,
        Dtype::I16 => Kind::As(DType::I16),
        Dtype::U16 => Kind::U16,
        Dtype::F16 => Kind::As(DType::F16),
        Dtype::BF16 => Kind::As(DType::BF16),
        Dtype::I32 => Kind::As(DType::I32),
        Dtype::U32 => Kind::As(DType::U32),
        Dtype::F32 => Kind::As(DType::F32),
        Dtype::F64 => Kind::As(DType::F64),
        Dtype::I64 => Kind::As(DType::I64),
        _ => return None,
    })
}
