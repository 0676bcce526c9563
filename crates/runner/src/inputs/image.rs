//! Images that are measured.

use anyhow::Result;
use colormamba_data::{Notes, Read, Reading};
use image::RgbImage;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What measures do not see of images, each with the image, once.
pub type Unseen = BTreeSet<(PathBuf, String)>;

/// An image as 8-bit RGB, and what of its file measures do not see.
///
/// # Errors
/// Names an image that cannot be read.
pub fn measured(path: &Path) -> Result<(RgbImage, Unseen)> {
    let Read { image, notes, largest, transparent, .. } = Reading::default().rgb(path)?;
    let mut unseen: Vec<String> = notes.iter().map(|note| note.fact()).collect();
    if largest.is_some() {
        unseen.push("more than 8 bits a value are reduced to 8: smaller differences are not measured".into());
    }
    if transparent {
        unseen.push("transparency is dropped: only colours are measured".into());
    }
    Ok((image, unseen.into_iter().map(|text| (path.to_path_buf(), text)).collect()))
}

/// A line for each kind, with how many images it is of and the first.
pub fn lines(unseen: &Unseen) -> Vec<String> {
    let mut notes = Notes::default();
    unseen.iter().for_each(|(path, text)| notes.add(path, text.clone()));
    notes.lines()
}
