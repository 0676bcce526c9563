use crate::DataError;
use icu_normalizer::ComposingNormalizer;
use regex::Regex;
use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use walkdir::{DirEntry, WalkDir};

/// Extensions of images that are read. What a file is its content decides, so in a pattern one stands for all.
const EXTENSIONS: [&str; 8] = ["png", "tif", "tiff", "jpg", "jpeg", "jpe", "jfif", "bmp"];
/// Links that are followed one after the other, as Linux does; more are a loop.
const LINKS: usize = 40;

/// A path below a dataset's folder, `/` between its parts, in which `*` stands for any run of characters but `/`.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    /// The leading parts without a star, as given.
    folder: Vec<String>,
    /// The parts after it, and the number of them.
    rest: Regex,
    depth: usize,
    /// The same with the extension of any image, if it ends in one.
    any_image: Option<Regex>,
}

/// A file that matches a pattern.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// What the stars stood for, joined by `_`.
    pub name: String,
    pub path: PathBuf,
    /// Whether its extension is that of another kind of image than the pattern's.
    pub other_kind: bool,
    /// Whether it is a link that leads nowhere.
    pub broken: bool,
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
        let rest = parts[plain..].join("/");
        let any_image = match rest.rsplit_once('.') {
            Some((stem, extension)) if EXTENSIONS.contains(&folded(extension).as_str()) => {
                Some(compiled(&format!("{}[.](?:{})", escaped(stem), EXTENSIONS.join("|")))?)
            }
            _ => None,
        };
        let folder = parts[..plain].iter().map(ToString::to_string).collect();
        Some(Self { folder, rest: wildcard(&rest)?, depth: parts.len() - plain, any_image })
    }

    /// The folder that must be there for any file to match: as the pattern names it or, without one of that very name,
    /// one whose name differs in case or in how its accents are written.
    pub fn folder(&self, root: &Path) -> Result<PathBuf, DataError> {
        let below = |folder: PathBuf, part: &String| {
            let exact = folder.join(part);
            if exact.exists() { Ok(exact) } else { Ok(alike(&folder, part)?.unwrap_or(exact)) }
        };
        self.folder.iter().try_fold(root.to_path_buf(), below)
    }

    /// Number of stars: parts of a name.
    pub fn stars(&self) -> usize {
        self.rest.captures_len() - 1
    }

    /// The files that match, whatever the case of their letters and however their accents are written; sorted by path.
    ///
    /// What systems leave in folders beside the user's files is passed over: names that begin with a point (`._a.png`
    /// and `.DS_Store` of macOS), folders, and links to a folder above them.
    pub fn files(&self, root: &Path) -> Result<Vec<Found>, DataError> {
        let folder = self.folder(root)?;
        let mut files = Vec::new();
        let walk = WalkDir::new(&folder).max_depth(self.depth).follow_links(true).sort_by_file_name();
        for entry in walk.into_iter().filter_entry(|entry| entry.depth() == 0 || !hidden(entry)) {
            let (path, broken) = match entry {
                Ok(entry) if entry.depth() < self.depth || entry.file_type().is_dir() => continue,
                Ok(entry) => (entry.into_path(), false),
                Err(error) if error.loop_ancestor().is_some() => continue,
                Err(error) => match error.path().filter(|path| *path != folder && leads_nowhere(path)) {
                    Some(path) => (path.to_path_buf(), true),
                    None => return Err(walk_error(&folder, error)),
                },
            };
            files.extend(self.found(&folder, path, broken));
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    fn found(&self, folder: &Path, path: PathBuf, broken: bool) -> Option<Found> {
        let below = path.strip_prefix(folder).unwrap_or(&path);
        let parts: Vec<String> = below.iter().map(|part| folded(&part.to_string_lossy())).collect();
        let below = parts.join("/");
        let (name, other_kind) = match self.rest.captures(&below) {
            Some(captures) => (stars(&captures), false),
            None => (stars(&self.any_image.as_ref()?.captures(&below)?), true),
        };
        Some(Found { name, path, other_kind, broken })
    }
}

fn stars(captures: &regex::Captures<'_>) -> String {
    let stars: Vec<&str> = captures.iter().skip(1).flatten().map(|star| star.as_str()).collect();
    stars.join("_")
}

/// In lower case, accents composed with their letters: macOS writes `é` in a name as two characters, most others as one.
pub fn folded(name: &str) -> String {
    ComposingNormalizer::new_nfc().normalize(&name.to_lowercase()).into_owned()
}

/// `*` for any run of characters but `/`; case is ignored. `None` only for a text too long to compile.
pub(crate) fn wildcard(text: &str) -> Option<Regex> {
    compiled(&escaped(text))
}

fn escaped(text: &str) -> String {
    let escaped: Vec<String> = folded(text).split('*').map(regex::escape).collect();
    escaped.join("([^/]*)")
}

fn compiled(pattern: &str) -> Option<Regex> {
    Regex::new(&format!("^(?s){pattern}$")).ok()
}

/// The first folder in a folder whose name is that but for case and accents, or what cannot be told to be no folder.
fn alike(folder: &Path, name: &str) -> Result<Option<PathBuf>, DataError> {
    let failed = |source| DataError::Io { path: folder.to_path_buf(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        entries => entries.map_err(failed)?,
    };
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    let wanted = folded(name);
    let fits = |path: &PathBuf| path.file_name().is_some_and(|name| folded(&name.to_string_lossy()) == wanted);
    let other = |path: &PathBuf| path.metadata().is_ok_and(|metadata| !metadata.is_dir());
    Ok(paths.into_iter().filter(fits).filter(|path| !other(path)).min())
}

fn hidden(entry: &DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with('.')
}

/// Whether a path is a link to nothing, or to itself by way of others. What cannot be looked at is no such link.
fn leads_nowhere(path: &Path) -> bool {
    let mut at = path.to_path_buf();
    let mut seen = HashSet::new();
    for _ in 0..LINKS {
        if !seen.insert(at.clone()) {
            return true;
        }
        match fs::read_link(&at) {
            Ok(target) => at = at.parent().unwrap_or(Path::new("")).join(target),
            // A file that is no link, or one that may not be looked at.
            Err(error) => return seen.len() > 1 && error.kind() == ErrorKind::NotFound,
        }
    }
    true
}

fn walk_error(folder: &Path, error: walkdir::Error) -> DataError {
    let path = error.path().unwrap_or(folder).to_path_buf();
    DataError::Io { path, source: error.into() }
}
