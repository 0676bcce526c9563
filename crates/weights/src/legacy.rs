//! PyTorch's files from before version 1.6: pickles and, behind them, the elements of every storage. Published weights
//! of VGG are of this kind.
//!
//! The pickles are: a magic number, the version of the format, sizes of the machine's types, the object, and the names
//! of the storages in the order in which they follow. Each storage is its number of elements in eight bytes, then
//! these.

use crate::bytes::Bytes;
use crate::error::{ReadError, Result, damaged};
use crate::groups::{Content, groups};
use crate::pickle::{self, Node, Pickle};
use crate::tensors::{self, Region, Storages};
use std::collections::HashMap;
use std::io::{BufRead, Seek, SeekFrom};

/// The pickle of the magic number.
pub(crate) const MAGIC: &[u8] = &[0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];
const VERSION: i64 = 1001;

pub(crate) fn read(bytes: &Bytes) -> Result<Content> {
    let mut source = bytes.source()?;
    source.seek(SeekFrom::Start(MAGIC.len() as u64))?;
    let version = pickle::read(&mut source)?;
    if !matches!(version.top(), Node::Int(VERSION)) {
        return damaged(format!("it is of another version of the format than {VERSION}"));
    }
    let machine = pickle::read(&mut source)?;
    let little = machine.find(machine.root(), "little_endian").map(|id| machine.node(id));
    if matches!(little, Some(Node::Bool(false))) {
        return Err(ReadError::NoTensors(
            "its elements have the highest byte first: save it on another machine".into(),
        ));
    }
    let object = pickle::read(&mut source)?;
    let storages = storages(&mut source, &tensors::widths(&object), bytes.length())?;
    let groups = groups(&object, &Storages::new(storages))?;
    Ok(Content { what: "a file of PyTorch from before version 1.6", groups, header: HashMap::new() })
}

/// The places of the storages, whose names are next. `widths`: bytes of an element of each.
fn storages(
    source: &mut (impl BufRead + Seek),
    widths: &HashMap<&str, u64>,
    end: u64,
) -> Result<HashMap<String, Region>> {
    let names = pickle::read(source)?;
    let mut storages = HashMap::new();
    for name in listed(&names)? {
        let mut count = [0; 8];
        source.read_exact(&mut count)?;
        let (start, count) = (source.stream_position()?, u64::from_le_bytes(count));
        let Some(width) = widths.get(name) else { return damaged("a storage is of a type that is not read") };
        let length = count.checked_mul(*width).filter(|length| start.checked_add(*length).is_some_and(|at| at <= end));
        let Some(length) = length else { return damaged("the file ends inside of a storage") };
        source.seek(SeekFrom::Start(start + length))?;
        storages.insert(name.to_string(), Region { start, length });
    }
    Ok(storages)
}

/// The texts of a list.
fn listed(names: &Pickle) -> Result<Vec<&str>> {
    let Node::List(list) = names.top() else { return damaged("it has no list of storages") };
    let text = |id: &pickle::Id| names.text(*id).map_or_else(|| damaged("the name of a storage is no text"), Ok);
    list.iter().map(text).collect()
}
