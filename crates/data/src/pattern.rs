use crate::DataError;
use regex::Regex;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// A path below a dataset's folder, `/` between its parts, in which `*` stands for any run of characters but `/`.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    /// The leading parts without a star, as given.
    folder: String,
    /// The parts after it, and the number of them.
    rest: Regex,
    depth: usize,
}

impl Pattern {
    /// `None` unless the last part has a star, and every part is a name.
    pub fn new(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let named = |part: &&str| !["", ".", ".."].contains(part) && !part.contains('\\');
        let plain = parts.iter().take_while(|part| !part.contains('*')).count();
        if !parts.iter().all(named) || !parts.last()?.contains('*') {
            return None;
        }
        let rest = wildcard(&parts[plain..].join("/"))?;
        Some(Self { folder: parts[..plain].join("/"), rest, depth: parts.len() - plain })
    }

    /// The folder that must be there for any file to match.
    pub fn folder(&self, root: &Path) -> PathBuf {
        root.join(&self.folder)
    }

    /// Number of stars: parts of a name.
    pub fn stars(&self) -> usize {
        self.rest.captures_len() - 1
    }

    /// The files that match, whatever the case of their letters after the leading folders, with what the stars stood for
    /// in lower case, joined by `_`; sorted by path.
    pub fn files(&self, root: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
        let folder = self.folder(root);
        let mut files = Vec::new();
        let walk = WalkDir::new(&folder).min_depth(self.depth).max_depth(self.depth).follow_links(true);
        for entry in walk.sort_by_file_name() {
            let path = entry.map_err(|error| walk_error(&folder, error))?.into_path();
            let below = path.strip_prefix(&folder).unwrap_or(&path);
            let parts: Vec<String> = below.iter().map(|part| part.to_string_lossy().to_lowercase()).collect();
            let Some(found) = self.rest.captures(&parts.join("/")).map(|captures| stars(&captures)) else { continue };
            files.push((found, path));
        }
        files.sort_by(|a, b| a.1.cmp(&b.1));
        Ok(files)
    }
}

fn stars(captures: &regex::Captures<'_>) -> String {
    let stars: Vec<&str> = captures.iter().skip(1).flatten().map(|star| star.as_str()).collect();
    stars.join("_")
}

/// `*` for any run of characters but `/`; case is ignored. `None` only for a text too long to compile.
pub(crate) fn wildcard(text: &str) -> Option<Regex> {
    let escaped: Vec<String> = text.to_lowercase().split('*').map(regex::escape).collect();
    Regex::new(&format!("^(?s){}$", escaped.join("([^/]*)"))).ok()
}

fn walk_error(folder: &Path, error: walkdir::Error) -> DataError {
    let path = error.path().unwrap_or(folder).to_path_buf();
    DataError::Io { path, source: error.into() }
}
