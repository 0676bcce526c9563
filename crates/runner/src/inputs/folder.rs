//! Folders of images, whatever they are called.

use crate::system::terminal::note;
use anyhow::{Context, Result};
use colormamba_data::looks_like_image;
use std::path::{Path, PathBuf};

/// The images of a folder in the order of their names, told by their content or extension. Says how much else there is.
///
/// # Errors
/// A folder that cannot be read.
pub fn images(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = || format!("cannot read {}", folder.display());
    let entries = std::fs::read_dir(folder).with_context(unreadable)?;
    let mut paths =
        entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>().with_context(unreadable)?;
    // What begins with a dot is some system's own.
    paths.retain(|path| !stem(path).starts_with('.'));
    paths.sort();
    let (images, others): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| looks_like_image(path));
    if let Some(first) = others.first() {
        let (folder, count, first) = (folder.display(), others.len(), first.display());
        note(&format!("note: passed over in {folder}, being folders or no images: {count}, first {first}"));
    }
    Ok(images)
}

/// A file's name without its extension.
pub fn stem(image: &Path) -> String {
    image.file_stem().map_or_else(|| "image".to_string(), |stem| stem.to_string_lossy().into_owned())
}
