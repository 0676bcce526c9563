//! PyTorch's files since version 1.6: a zip archive of a pickle and, each under its name, the storages. Nothing is
//! compressed, so that elements are read from their places in the file.

use crate::bytes::Bytes;
use crate::error::{ReadError, Result, damaged};
use crate::groups::{Content, groups};
use crate::pickle;
use crate::tensors::{Region, Storages};
use std::collections::HashMap;
use std::io;
use zip::{CompressionMethod, ZipArchive};

/// What such a file begins with.
pub(crate) const MAGIC: &[u8] = b"PK\x03\x04";

/// The entry of the object.
const OBJECT: &str = "data.pkl";

pub(crate) fn read(bytes: &Bytes) -> Result<Content> {
    let places = places(bytes)?;
    let Some(root) = places.keys().filter_map(|name| name.strip_suffix(OBJECT)).min_by_key(|root| root.len()) else {
        return Err(ReadError::NoTensors(format!("it is a zip archive without the `{OBJECT}` that PyTorch writes")));
    };
    if places.contains_key(&format!("{root}constants.pkl")) {
        let what = "it holds a TorchScript program: save the `state_dict()` of its model in PyTorch";
        return Err(ReadError::NoTensors(what.into()));
    }
    if part(bytes, places.get(&format!("{root}byteorder")))?.is_some_and(|order| order.starts_with(b"big")) {
        return Err(ReadError::NoTensors(
            "its elements have the highest byte first: save it on another machine".into(),
        ));
    }
    let Some(object) = part(bytes, places.get(&format!("{root}{OBJECT}")))? else {
        return damaged(format!("its `{OBJECT}` reaches beyond the file's end"));
    };
    let pickle = pickle::read(&mut object.as_slice())?;
    let prefix = format!("{root}data/");
    let storages =
        places.into_iter().filter_map(|(name, place)| Some((name.strip_prefix(&prefix)?.to_string(), place)));
    let groups = groups(&pickle, &Storages::new(storages.collect()))?;
    Ok(Content { what: "a file of PyTorch", groups, header: HashMap::new() })
}

/// Where every entry's bytes are, once they match their checksums.
fn places(bytes: &Bytes) -> Result<HashMap<String, Region>> {
    let broken = |error| ReadError::Damaged(format!("its zip archive is cut or damaged: {error}"));
    let mut archive = ZipArchive::new(bytes.source()?).map_err(broken)?;
    let mut places = HashMap::new();
    let mut left = bytes.length();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(broken)?;
        let name = entry.name().map_err(broken)?.into_owned();
        if entry.encrypted() || entry.compression() != CompressionMethod::Stored {
            return damaged(format!("its entry `{name}` is compressed or encrypted, which PyTorch never does"));
        }
        let Some(start) = entry.data_start() else { return damaged(format!("its entry `{name}` is nowhere")) };
        let length = entry.size();
        if start.checked_add(length).is_none_or(|end| end > bytes.length()) {
            return damaged(format!("its entry `{name}` reaches beyond the file's end"));
        }
        // Reading them takes no longer than reading the file.
        let Some(rest) = left.checked_sub(length) else {
            return damaged(format!("its entry `{name}` lies over others"));
        };
        left = rest;
        drop(entry);
        ensure_sound(&mut archive.by_index(index).map_err(broken)?, &name, length)?;
        places.insert(name, Region { start, length });
    }
    Ok(places)
}

/// Reads an entry to its end, where the archive's reader compares the checksum.
fn ensure_sound(entry: &mut impl io::Read, name: &str, length: u64) -> Result<()> {
    match io::copy(entry, &mut io::sink()) {
        Ok(read) if read == length => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::InvalidData => Err(error.into()),
        _ => damaged(format!("its entry `{name}` is not what its checksum says: the file is damaged, get it again")),
    }
}

fn part(bytes: &Bytes, place: Option<&Region>) -> Result<Option<Vec<u8>>> {
    place.map_or(Ok(None), |place| bytes.part(place.start, place.length))
}
