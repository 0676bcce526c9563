//! What a user should be told of many images, once each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Notes, each with the images that it is of.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    all: Vec<String>,
    /// By what they say, the first image and how many there are.
    of_images: BTreeMap<String, (PathBuf, usize)>,
}

impl Notes {
    /// Of all images.
    pub fn all(&mut self, note: String) {
        self.all.push(note);
    }

    /// Of one.
    pub fn add(&mut self, path: &Path, note: String) {
        self.of_images.entry(note).or_insert_with(|| (path.to_path_buf(), 0)).1 += 1;
    }

    /// Each in a line: `FILE and 3 others: WHAT`.
    pub fn lines(&self) -> Vec<String> {
        let others = |count: usize| match count {
            1 => String::new(),
            2 => " and 1 other".to_string(),
            n => format!(" and {} others", n - 1),
        };
        let line = |(note, (path, count)): (&String, &(PathBuf, usize))| {
            format!("{}{}: {note}", path.display(), others(*count))
        };
        self.all.iter().cloned().chain(self.of_images.iter().map(line)).collect()
    }
}
