//! Which photographs, and where their results go.

use super::{Colorize, Format};
use crate::inputs::folder::{self, stem};
use crate::manifest::weights_file;
use crate::system::files::{exists, is_folder};
use crate::system::output::ensure_all_writable;
use crate::system::terminal::note;
use crate::system::usage::UsageError;
use crate::system::words::count;
use anyhow::{Context, Result, ensure};
use colormamba_data::looks_like_image;
use image::ImageFormat;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What the name of a result beside its photograph ends with.
const MADE: &str = "-rgb";

/// Where `--out` puts the results.
pub(super) enum Out<'a> {
    /// Each beside its photograph.
    Beside,
    /// All into a folder.
    Folder(&'a Path),
    /// The only one into this file.
    File(&'a Path),
}

impl<'a> Out<'a> {
    /// A name that ends as an image's does is a file's, unless a folder has it, or it ends with a slash.
    ///
    /// # Errors
    /// [`UsageError`] for the name of an image of a kind that is not written; a place that cannot be looked at.
    pub(super) fn of(given: Option<&'a Path>) -> Result<Self> {
        let Some(path) = given else { return Ok(Self::Beside) };
        let slash = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        if slash || is_folder(path)? || ImageFormat::from_path(path).is_err() {
            return Ok(Self::Folder(path));
        }
        let other = || UsageError(format!("--out {}: results are PNG, JPEG or TIFF", path.display()));
        ensure!(Format::of(path).is_some(), other());
        Ok(Self::File(path))
    }

    pub(super) fn file(&self) -> Option<&'a Path> {
        if let Self::File(path) = self { Some(path) } else { None }
    }

    /// The folder that must be there before anything is written.
    pub(super) fn folder(&self) -> Option<&'a Path> {
        match self {
            Self::Beside => None,
            Self::Folder(path) => Some(path),
            Self::File(path) => path.parent().filter(|folder| !folder.as_os_str().is_empty()),
        }
    }
}

/// The files, those that patterns match, and the images in the folders.
///
/// # Errors
/// [`UsageError`] for a folder without images and for a pattern that matches nothing.
pub(super) fn photographs(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut photographs = Vec::new();
    for path in given {
        match path.to_str().filter(|text| text.contains(['*', '?', '['])) {
            // A shell that expands patterns has done so already.
            Some(pattern) if !exists(path)? => photographs.extend(matches(pattern)?),
            _ if is_folder(path)? => photographs.extend(in_folder(path)?),
            _ => photographs.push(path.clone()),
        }
    }
    Ok(photographs)
}

/// In the order of their names.
fn matches(pattern: &str) -> Result<Vec<PathBuf>> {
    let paths = glob::glob(pattern).map_err(|error| UsageError(format!("{pattern}: {error}")))?;
    let paths: Vec<PathBuf> = paths.collect::<Result<_, _>>().with_context(|| format!("cannot look for {pattern}"))?;
    let images: Vec<PathBuf> = paths.into_iter().filter(|path| looks_like_image(path)).collect();
    ensure!(!images.is_empty(), UsageError(format!("{pattern} matches no image")));
    Ok(without_results(images, pattern))
}

/// The images of a folder, but for results of an earlier time.
fn in_folder(path: &Path) -> Result<Vec<PathBuf>> {
    let images = without_results(folder::images(path)?, &path.display().to_string());
    ensure!(!images.is_empty(), UsageError(format!("{} holds no image", path.display())));
    Ok(images)
}

/// Those that are no results of an earlier time; how many are is said, with where they were found.
fn without_results(images: Vec<PathBuf>, place: &str) -> Vec<PathBuf> {
    let all: BTreeSet<&PathBuf> = images.iter().collect();
    let stems: BTreeSet<(Option<&Path>, String)> = images.iter().map(|image| (image.parent(), stem(image))).collect();
    let is_result = |image: &PathBuf| {
        let of = stem(image).strip_suffix(MADE).map(str::to_string);
        // `a.png` has `a-rgb.png`, or `a.png-rgb.png` beside an `a.jpg`.
        of.is_some_and(|of| all.contains(&image.with_file_name(&of)) || stems.contains(&(image.parent(), of)))
    };
    let (made, rest): (Vec<_>, Vec<_>) = images.iter().cloned().partition(is_result);
    if let Some(first) = made.first() {
        let (count, first) = (made.len(), first.display());
        note(&format!("note: passed over in {place}, being results: {count}, first {first}"));
    }
    rest
}

/// Where the results go: `NAME.png` in a folder, or `NAME-rgb.png` beside the photograph; `NAME.EXTENSION` for `NAME`
/// where photographs differ in their extensions alone.
///
/// # Errors
/// [`UsageError`] for a file where there are several photographs.
pub(super) fn results(images: &[PathBuf], out: &Out, extension: &str) -> Result<Vec<PathBuf>> {
    if let Out::File(path) = out {
        let (file, all) = (path.display(), count(images.len(), "photograph"));
        ensure!(
            images.len() == 1,
            UsageError(format!("--out {file} is a file's name, and there are {all}: name a folder"))
        );
        return Ok(vec![path.to_path_buf()]);
    }
    let (folder, made) = match out {
        Out::Folder(out) => (Some(*out), ""),
        _ => (None, MADE),
    };
    let folder = |image: &PathBuf| folder.or(image.parent()).unwrap_or(Path::new("")).to_path_buf();
    let mut counts = BTreeMap::<_, usize>::new();
    images.iter().for_each(|image| *counts.entry((folder(image), stem(image))).or_default() += 1);
    let result = |image: &PathBuf| {
        let (folder, stem) = (folder(image), stem(image));
        let name = match (counts.get(&(folder.clone(), stem.clone())), image.file_name()) {
            (Some(2..), Some(name)) => name.to_string_lossy().into_owned(),
            _ => stem,
        };
        folder.join(format!("{name}{made}.{extension}"))
    };
    Ok(images.iter().map(result).collect())
}

/// The photographs whose results are not there yet, with these; says how many are.
///
/// # Errors
/// A place that cannot be looked at.
pub(super) fn missing(images: Vec<PathBuf>, results: Vec<PathBuf>) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let there = results.iter().map(|result| exists(result)).collect::<Result<Vec<_>>>()?;
    let done = there.iter().filter(|there| **there).count();
    if done > 0 {
        note(&format!("note: {} of {} are there already", done, count(results.len(), "result")));
    }
    let pairs = images.into_iter().zip(results).zip(there);
    Ok(pairs.filter(|(_, there)| !there).map(|(pair, _)| pair).unzip())
}

/// Fails unless every result has a place of its own.
pub(super) fn ensure_new(args: &Colorize, images: &[PathBuf], results: &[PathBuf]) -> Result<()> {
    let mut places = BTreeSet::new();
    for (image, result) in images.iter().zip(results) {
        let text = || match args.out {
            Some(_) => format!("two images are called {}: colorize them apart, with another --out", stem(image)),
            None => format!("{} is named twice", image.display()),
        };
        ensure!(places.insert(result), UsageError(text()));
    }
    let weights = args.weights.as_deref().map(weights_file);
    ensure_all_writable(results, args.force, images.iter().chain(&weights).map(PathBuf::as_path))
}
