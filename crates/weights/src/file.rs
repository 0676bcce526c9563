//! A file of weights.

use crate::bytes::Bytes;
use crate::elements::Stored;
use crate::error::{ReadError, Result};
use crate::groups::{Content, Group, Item};
use crate::views::{View, views};
use crate::{archive, legacy, safe};
use candle_core::{DType, Tensor};
use colormamba_support::names::nearest;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

/// Bytes at the beginning that tell the kinds apart.
const BEGIN: u64 = 16;
/// How many times as long as its file all of its tensors may be: f32 are at most four times as long as their source.
/// Tensors that share a storage take memory each.
const LONGEST: u64 = 16;

/// A file of weights, whose tensors are read one at a time.
///
/// Of a checkpoint that holds more than weights, those under `params_ema`, `params`, `state_dict`, `model`, `netG`,
/// `generator`, `net` or `G` are taken, in this order; the prefixes `module.`, `_orig_mod.` and `netG.` need not be in
/// the names that are asked for. The first name that is found decides both for all others.
pub struct WeightFile {
    bytes: Bytes,
    what: &'static str,
    groups: Vec<Group>,
    header: HashMap<String, String>,
    views: Vec<View>,
    chosen: OnceLock<usize>,
}

impl WeightFile {
    /// Opens a file and reads its description of the tensors.
    ///
    /// # Errors
    /// [`ReadError`], whose message leaves out the file's name.
    pub fn open(path: &Path) -> std::result::Result<Self, ReadError> {
        Self::of(Bytes::of_file(path)?)
    }

    /// The content of such a file.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of_bytes(content: impl Into<Cow<'static, [u8]>>) -> std::result::Result<Self, ReadError> {
        Self::of(Bytes::Memory(content.into()))
    }

    fn of(bytes: Bytes) -> Result<Self> {
        let Content { what, groups, header } = content(&bytes)?;
        let views = groups.iter().enumerate().flat_map(|(index, group)| views(index, group)).collect();
        Ok(Self { bytes, what, groups, header, views, chosen: OnceLock::new() })
    }

    /// What a safetensors file says about itself under `key`.
    pub fn header(&self, key: &str) -> Option<&str> {
        self.header.get(key).map(String::as_str)
    }

    /// The tensor of that name; floating-point numbers are f32, whatever they are in the file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn tensor(&self, name: &str) -> std::result::Result<Option<Tensor>, ReadError> {
        let Some(chosen) = self.chosen.get().copied().or_else(|| self.with(name)) else { return Ok(None) };
        let view = &self.views[*self.chosen.get_or_init(|| chosen)];
        let Some(in_file) = view.names.get(name) else { return Ok(None) };
        self.stored(view, in_file)?.read(name, &self.bytes).and_then(widened).map(Some)
    }

    /// All tensors under their names and with the types in the file.
    ///
    /// # Errors
    /// If one cannot be read, or if they take more memory than a file of this length can mean.
    pub fn as_stored(&self) -> std::result::Result<BTreeMap<String, Tensor>, ReadError> {
        self.views.first().map_or_else(|| Ok(BTreeMap::new()), |view| self.all(view))
    }

    /// All tensors beside that of the name `one`, or of the preferred place (see [`WeightFile`]) if it is nowhere;
    /// floating-point numbers are f32.
    ///
    /// # Errors
    /// As [`Self::as_stored`].
    pub fn tensors(&self, one: &str) -> std::result::Result<BTreeMap<String, Tensor>, ReadError> {
        let view = self.with(one).map(|index| &self.views[index]).or_else(|| self.preferred());
        let tensors = view.map_or_else(|| Ok(BTreeMap::new()), |view| self.all(view))?;
        tensors.into_iter().map(|(name, tensor)| Ok((name, widened(tensor)?))).collect()
    }

    /// The first view that has a tensor of that name.
    fn with(&self, name: &str) -> Option<usize> {
        self.views.iter().position(|view| view.names.contains_key(name))
    }

    /// The first group without prefixes.
    fn preferred(&self) -> Option<&View> {
        self.views.iter().rfind(|view| view.group == 0)
    }

    /// That tensors of the same names lie under other keys too, in words that say which are taken: those beside the tensor
    /// `one`, or of the preferred place if it is nowhere.
    pub fn passed_over(&self, one: &str) -> Option<String> {
        let taken = self.with(one).map(|index| &self.views[index]).or_else(|| self.preferred())?;
        let same =
            |view: &&View| view.group != taken.group && view.names.keys().any(|name| taken.names.contains_key(name));
        let places: BTreeSet<String> = self.views.iter().filter(same).map(|view| self.place(view)).collect();
        let others = places.into_iter().collect::<Vec<_>>().join(", ");
        let own = self.place(taken);
        (!others.is_empty()).then(|| format!("the tensors {own} are taken, not those of the same names {others}"))
    }

    fn place(&self, view: &View) -> String {
        match &self.groups[view.group].place {
            Some(place) => format!("under `{place}`"),
            None => "under no key".to_string(),
        }
    }

    fn all(&self, view: &View) -> Result<BTreeMap<String, Tensor>> {
        let stored: Vec<_> =
            view.names.iter().map(|(name, of)| Ok((name, self.stored(view, of)?))).collect::<Result<_>>()?;
        let memory = stored.iter().fold(0u64, |sum, (_, stored)| sum.saturating_add(stored.memory()));
        let length = self.bytes.length();
        if memory > LONGEST.saturating_mul(length) {
            let what = format!("its tensors are parts of one another: they take {memory} bytes, the file has {length}");
            return Err(ReadError::Damaged(what));
        }
        stored.into_iter().map(|(name, stored)| Ok((name.clone(), stored.read(name, &self.bytes)?))).collect()
    }

    fn stored(&self, view: &View, in_file: &str) -> Result<&Stored> {
        match self.groups[view.group].items.get(in_file) {
            Some(Item::Stored(stored)) => Ok(stored),
            Some(Item::Unread(what)) => Err(ReadError::Tensor { name: in_file.to_string(), what: what.clone() }),
            None => Err(ReadError::Tensor { name: in_file.to_string(), what: "is not there".into() }),
        }
    }

    /// What the file holds in words, where `wanted` was looked for: its kind, the number of tensors, and the name that
    /// is nearest.
    pub fn found(&self, wanted: &str) -> String {
        let view = match self.chosen.get() {
            Some(chosen) => self.views.get(*chosen),
            None => self.preferred(),
        };
        let Some(view) = view else { return self.what.to_string() };
        let group = &self.groups[view.group];
        let place = group.place.as_ref().map_or(String::new(), |place| format!(" under `{place}`"));
        let names = || view.names.keys().map(String::as_str);
        let which = match (nearest(wanted, names()), names().next()) {
            (Some(near), _) => format!(", the nearest is `{near}`"),
            (None, Some(first)) => format!(", the first is `{first}`"),
            (None, None) => String::new(),
        };
        let count = view.names.len();
        format!("it is {} with {count} tensor{}{place}{which}", self.what, if count == 1 { "" } else { "s" })
    }
}

fn content(bytes: &Bytes) -> Result<Content> {
    let mut begin = Vec::new();
    bytes.source()?.take(BEGIN).read_to_end(&mut begin)?;
    if begin.is_empty() {
        return Err(ReadError::Damaged("it is empty".into()));
    }
    if begin.starts_with(archive::MAGIC) {
        return archive::read(bytes);
    }
    if begin.starts_with(legacy::MAGIC) {
        return legacy::read(bytes);
    }
    match safe::header_length(&begin) {
        Some(length) => safe::read(bytes, length),
        None => Err(ReadError::Kind(begin.escape_ascii().to_string())),
    }
}

fn widened(tensor: Tensor) -> Result<Tensor> {
    Ok(if tensor.dtype().is_float() { tensor.to_dtype(DType::F32)? } else { tensor })
}
