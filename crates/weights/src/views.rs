//! Names without the prefixes that wrappers of networks put before them.

use crate::groups::Group;
use std::collections::BTreeMap;

/// Of `DataParallel`, `torch.compile`, and of a generator beside its discriminator.
const PREFIXES: [&str; 3] = ["module.", "_orig_mod.", "netG."];

/// A group's tensors under the names that a network may know them by.
pub(crate) struct View {
    /// Which group.
    pub(crate) group: usize,
    /// From these names to the file's.
    pub(crate) names: BTreeMap<String, String>,
}

/// The ways to name a group's tensors: as in the file, and without prefixes.
pub(crate) fn views(group: usize, of: &Group) -> Vec<View> {
    let names: BTreeMap<String, String> = of.items.keys().map(|name| (name.clone(), name.clone())).collect();
    let mut views = vec![View { group, names }];
    // Each kind of wrapper once around the others.
    for _ in PREFIXES {
        let Some(last) = views.last() else { break };
        let Some(names) = stripped(&last.names) else { break };
        views.push(View { group, names });
    }
    views
}

/// Without one prefix, if some have it. A name without the prefix beside others with it is another network's, such as a
/// discriminator's, or belongs to the wrapper.
fn stripped(names: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    let with = |prefix: &str| -> BTreeMap<String, String> {
        let strip = |(name, of): (&String, &String)| Some((name.strip_prefix(prefix)?.to_string(), of.clone()));
        names.iter().filter_map(strip).collect()
    };
    PREFIXES.into_iter().map(with).find(|found| !found.is_empty())
}
