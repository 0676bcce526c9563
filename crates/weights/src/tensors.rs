//! PyTorch's tensors, as a pickle describes them.

use crate::elements::{Kind, Stored};
use crate::groups::Item;
use crate::pickle::{Id, Node, Pickle};
use candle_core::DType;
use std::collections::HashMap;

/// Where a storage's bytes lie in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    pub(crate) start: u64,
    pub(crate) length: u64,
}

/// The storages by name.
pub(crate) struct Storages(HashMap<String, Region>);

impl Storages {
    pub(crate) fn new(places: HashMap<String, Region>) -> Self {
        Self(places)
    }
}

/// A value of a dictionary, if it is a tensor.
pub(crate) fn item(pickle: &Pickle, value: Id, storages: &Storages) -> Option<Item> {
    let mut value = value;
    // A parameter is a function of its tensor. It can be no parameter's in its turn, but a damaged pickle can say so.
    for _ in 0..2 {
        let (function, arguments) = call(pickle, value)?;
        match (function, arguments) {
            ("_rebuild_parameter" | "_rebuild_parameter_with_state", [data, ..]) => value = *data,
            ("_rebuild_tensor" | "_rebuild_tensor_v2", [storage, offset, shape, strides, ..]) => {
                let stored = stored(pickle, [*storage, *offset, *shape, *strides], storages);
                return Some(stored.map_or_else(Item::Unread, Item::Stored));
            }
            _ => {
                let function: String = function.chars().take(80).collect();
                return Some(Item::Unread(format!("is made by `torch._utils.{function}`, which is not read")));
            }
        }
    }
    None
}

/// Name and arguments of a call of one of PyTorch's functions that make tensors.
fn call(pickle: &Pickle, value: Id) -> Option<(&str, &[Id])> {
    let Node::Call(function, arguments) = pickle.node(value) else { return None };
    let Node::Global(module, name) = pickle.node(*function) else { return None };
    let Node::Tuple(arguments) = pickle.node(*arguments) else { return None };
    (module == "torch._utils").then_some((name.as_str(), arguments.as_slice()))
}

fn stored(pickle: &Pickle, parts: [Id; 4], storages: &Storages) -> Result<Stored, String> {
    let [storage, offset, shape, strides] = parts;
    let Node::Persistent(description) = pickle.node(storage) else { return Err("has no storage".into()) };
    let (class, name, view) = storage_of(pickle, *description).ok_or("has a storage that is not described")?;
    let kind = kind(class).ok_or_else(|| format!("has a storage of type `{class:.80}`, which is not read"))?;
    if view {
        return Err("has a storage that is part of another, which is not read".into());
    }
    let Region { start, length } = storages.0.get(name).ok_or("has a storage that is not in the file")?;
    let sizes = |id| sizes(pickle, id).ok_or("has an impossible shape");
    let Node::Int(offset) = pickle.node(offset) else { return Err("begins nowhere".into()) };
    let offset = u64::try_from(*offset).map_err(|_| "begins before its storage")?;
    Stored::new(kind, (*start, *length), offset, sizes(shape)?, sizes(strides)?)
}

/// Class and name of a storage, and whether it is part of another, from its description: ("storage", its class, its
/// name, its device, its length), in older files with the part of another storage that it is, or none.
fn storage_of(pickle: &Pickle, description: Id) -> Option<(&str, &str, bool)> {
    let Node::Tuple(parts) = pickle.node(description) else { return None };
    let [_, class, name, _, _, view @ ..] = parts.as_slice() else { return None };
    let Node::Global(_, class) = pickle.node(*class) else { return None };
    let view = view.first().is_some_and(|view| !matches!(pickle.node(*view), Node::Other));
    Some((class, pickle.text(*name)?, view))
}

/// Bytes of an element of every storage that the pickle refers to.
pub(crate) fn widths(pickle: &Pickle) -> HashMap<&str, u64> {
    let storages = pickle.outside().iter().filter_map(|description| storage_of(pickle, *description));
    storages.filter_map(|(class, name, _)| Some((name, width(class)?))).collect()
}

fn width(class: &str) -> Option<u64> {
    match class {
        "ComplexFloatStorage" => Some(8),
        "ComplexDoubleStorage" => Some(16),
        "QInt8Storage" | "QUInt8Storage" | "UntypedStorage" => Some(1),
        "QInt32Storage" => Some(4),
        _ => kind(class).map(Kind::width),
    }
}

fn kind(class: &str) -> Option<Kind> {
    Some(match class {
        "ByteStorage" | "BoolStorage" => Kind::As(DType::U8),
        "CharStorage" => Kind::I8,
        "ShortStorage" => Kind::As(DType::I16),
        "IntStorage" => Kind::As(DType::I32),
        "LongStorage" => Kind::As(DType::I64),
        "HalfStorage" => Kind::As(DType::F16),
        "BFloat16Storage" => Kind::As(DType::BF16),
        "FloatStorage" => Kind::As(DType::F32),
        "DoubleStorage" => Kind::As(DType::F64),
        _ => return None,
    })
}

fn sizes(pickle: &Pickle, id: Id) -> Option<Vec<usize>> {
    let (Node::Tuple(sizes) | Node::List(sizes)) = pickle.node(id) else { return None };
    // Many tensors could share one tuple of a million sides.
    if sizes.len() > 64 {
        return None;
    }
    let size = |size: &Id| match pickle.node(*size) {
        Node::Int(size) => usize::try_from(*size).ok(),
        _ => None,
    };
    sizes.iter().map(size).collect()
}
