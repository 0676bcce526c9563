//! Which parts of a file are tensors by name.

use crate::elements::Stored;
use crate::error::{ReadError, Result};
use crate::pickle::{Id, Node, Pickle};
use crate::tensors::{Storages, item};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Under which key of a checkpoint people keep the tensors, the preferred ones first. Of averaged and trained weights,
/// the averaged ones are those that pictures are made with.
const WRAPPERS: [&str; 8] = ["params_ema", "params", "state_dict", "model", "netG", "generator", "net", "G"];
/// Wrappers in wrappers: a checkpoint of checkpoints, and no further.
const DEEPEST: usize = 3;
/// Longer than any tensor's name: one text may be shared by any number of entries.
const LONGEST_NAME: usize = 512;

/// What a file holds.
pub(crate) struct Content {
    /// Its kind in words.
    pub(crate) what: &'static str,
    /// The preferred one first; at least one.
    pub(crate) groups: Vec<Group>,
    /// What it says about itself.
    pub(crate) header: HashMap<String, String>,
}

/// Tensors by name.
pub(crate) struct Group {
    /// Under which keys it lies; `None` if it is all of the file.
    pub(crate) place: Option<String>,
    pub(crate) items: BTreeMap<String, Item>,
}

/// A tensor in a file.
#[derive(Clone)]
pub(crate) enum Item {
    Stored(Stored),
    /// What is wrong with it.
    Unread(String),
}

/// The dictionaries of tensors in a pickle, those under [`WRAPPERS`] first.
pub(crate) fn groups(pickle: &Pickle, storages: &Storages) -> Result<Vec<Group>> {
    let mut search = Search { pickle, storages, seen: HashSet::new(), groups: Vec::new() };
    search.under(pickle.root(), None, 0);
    if search.groups.is_empty() {
        search.only_one();
    }
    if search.groups.is_empty() {
        return Err(ReadError::NoTensors(nothing(pickle)));
    }
    Ok(search.groups)
}

struct Search<'a> {
    pickle: &'a Pickle,
    storages: &'a Storages,
    /// One dictionary may lie under any number of keys.
    seen: HashSet<Id>,
    groups: Vec<Group>,
}

impl Search<'_> {
    fn under(&mut self, dict: Id, place: Option<&str>, depth: usize) {
        if !self.seen.insert(dict) {
            return;
        }
        if depth < DEEPEST {
            for key in WRAPPERS {
                let Some(inner) = self.pickle.find(dict, key) else { continue };
                self.under(inner, Some(&place.map_or(key.to_string(), |place| format!("{place}.{key}"))), depth + 1);
            }
        }
        self.add(dict, place);
    }

    fn add(&mut self, dict: Id, place: Option<&str>) {
        let items: BTreeMap<_, _> = self.items(dict).collect();
        if !items.is_empty() {
            self.groups.push(Group { place: place.map(str::to_string), items });
        }
    }

    fn items(&self, dict: Id) -> impl Iterator<Item = (String, Item)> {
        let entries = self.pickle.entries(dict).unwrap_or_default();
        entries.into_iter().filter_map(|(key, value)| {
            let name = self.pickle.text(key).filter(|name| name.len() <= LONGEST_NAME)?;
            Some((name.to_string(), item(self.pickle, value, self.storages)?))
        })
    }

    /// The tensors under a key of another name, if no other key has any.
    fn only_one(&mut self) {
        let entries = self.pickle.entries(self.pickle.root()).unwrap_or_default();
        for (key, value) in entries {
            let Some(key) = self.pickle.text(key).filter(|key| key.len() <= LONGEST_NAME) else { continue };
            if self.seen.insert(value) {
                self.add(value, Some(key));
            }
        }
        if self.groups.len() > 1 {
            self.groups.clear();
        }
    }
}

/// What is in a pickle without tensors by name.
fn nothing(pickle: &Pickle) -> String {
    let advice = "save the network's `state_dict()` in PyTorch";
    match pickle.top() {
        Node::Call(class, _) => match pickle.node(*class) {
            Node::Global(module, name) => {
                format!("it holds an object of Python's class `{module:.80}.{name:.80}`, no tensors by name: {advice}")
            }
            _ => format!("it holds a Python object, no tensors by name: {advice}"),
        },
        Node::Dict(_) | Node::Ordered(_) => {
            let entries = pickle.entries(pickle.root()).unwrap_or_default();
            let keys = entries.iter().filter_map(|(key, _)| pickle.text(*key));
            let keys: Vec<_> = keys.take(8).map(|key| format!("`{key:.40}`")).collect();
            let known = WRAPPERS.join("`, `");
            let keys = if keys.is_empty() { "none".to_string() } else { keys.join(", ") };
            format!("it holds no tensors by name, under none of `{known}` either; its keys are {keys}: {advice}")
        }
        _ => format!("it holds no tensors by name: {advice}"),
    }
}
