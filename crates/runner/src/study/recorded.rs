//! Which images a run was started with, so that those which changed can be named.

use crate::study::folder::RunFolder;
use crate::system::files::{read_lines, write_lines};
use anyhow::Result;
use colormamba_data::{Dataset, PairFiles, Split};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Names that a message lists of each kind; the rest is counted.
const NAMED: usize = 3;

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Recorded {
    split: Split,
    #[serde(flatten)]
    files: PairFiles,
}

/// The file, a line a pair.
pub fn path(run: &RunFolder) -> PathBuf {
    run.path.join("dataset.jsonl")
}

/// Writes down what the dataset's pairs are made of; nothing of drawn scenes, which have no files.
///
/// # Errors
/// If the file cannot be written.
pub fn record(run: &RunFolder, dataset: &dyn Dataset) -> Result<()> {
    let of = |split| dataset.files(split).into_iter().map(move |files| Recorded { split, files });
    let lines: Vec<Recorded> = Split::ALL.into_iter().flat_map(of).collect();
    if lines.is_empty() { Ok(()) } else { write_lines(&path(run), &lines) }
}

/// Which of a split's images are not those that the run was started with; none where that was not written down.
pub fn difference(run: &RunFolder, dataset: &dyn Dataset, split: Split) -> Option<String> {
    let lines: Vec<Recorded> = read_lines(&path(run)).ok()?;
    let then = lines.into_iter().filter(|line| line.split == split).map(|line| line.files);
    let by_name = |files: PairFiles| (files.name.clone(), files);
    let then: BTreeMap<String, PairFiles> = then.map(by_name).collect();
    let now: BTreeMap<String, PairFiles> = dataset.files(split).into_iter().map(by_name).collect();
    let both = then.iter().filter_map(|(name, then)| Some((name, then, now.get(name)?)));
    let changed = both.filter_map(|(name, then, now)| Some(format!("{name} ({})", changed(then, now)?))).collect();
    let gone = then.keys().filter(|name| !now.contains_key(*name)).cloned().collect();
    let new = now.keys().filter(|name| !then.contains_key(*name)).cloned().collect();
    let lists = [("changed", changed), ("gone", gone), ("new", new)];
    let lists: Vec<String> = lists.into_iter().filter_map(|(what, names)| list(what, names)).collect();
    (!lists.is_empty()).then(|| lists.join("; "))
}

/// What of a pair changed.
fn changed(then: &PairFiles, now: &PairFiles) -> Option<String> {
    let fit = |files: &PairFiles| files.fit.clone().unwrap_or_else(|| "squeeze".to_string());
    match (then.nir != now.nir, then.rgb != now.rgb) {
        (true, true) => Some("both images".to_string()),
        (true, false) => Some("the NIR image".to_string()),
        (false, true) => Some("the RGB image".to_string()),
        (false, false) => (then.fit != now.fit).then(|| format!("fit {} then, {} now", fit(then), fit(now))),
    }
}

fn list(what: &str, names: Vec<String>) -> Option<String> {
    let more = names.len().saturating_sub(NAMED);
    let shown: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    (!names.is_empty()).then(|| format!("{what}: {}{more}", shown.join(", ")))
}
