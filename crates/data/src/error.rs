use crate::Split;
use std::path::PathBuf;

/// What can go wrong between a folder of photographs and a batch of tensors.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder could not be opened or read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not an image that can be decoded.
    #[error("{}: not a readable image ({source}); restore it from the original archive", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        source: image::ImageError,
    },
    /// A folder that the dataset cannot do without is missing.
    #[error("{}: no such folder; expected {expected}", path.display())]
    MissingFolder {
        /// The folder.
        path: PathBuf,
        /// The layout that was looked for, and where the data can be had.
        expected: String,
    },
    /// A folder is there but holds no image of the naming scheme.
    #[error("{}: holds no image pair; expected {expected}", path.display())]
    NoPairs {
        /// The folder.
        path: PathBuf,
        /// The layout that was looked for, and where the data can be had.
        expected: String,
    },
    /// Images whose partner is missing, all of them.
    #[error("{} without a partner; add the missing files or remove these:{}", count(.0.len(), "image"), list(.0))]
    Unpaired(Vec<PathBuf>),
    /// Everything that [`crate::Vcip2020::verify`] found, in the order of the splits.
    #[error("{} cannot be used:{}", count(.0.len(), "image pair"), list_errors(.0))]
    Unusable(Vec<DataError>),
    /// The two images of a pair differ in size.
    #[error("pair {name}: NIR is {}x{} but RGB is {}x{}; the two must be registered", nir.0, nir.1, rgb.0, rgb.1)]
    SizeMismatch {
        /// The pair's name.
        name: String,
        /// Width and height of the NIR image.
        nir: (u32, u32),
        /// Width and height of the RGB image.
        rgb: (u32, u32),
    },
    /// An image has a size that cannot be worked with here.
    #[error("{name}: {}x{} pixels, but {needed}", size.0, size.1)]
    WrongSize {
        /// The pair's or the file's name.
        name: String,
        /// Its width and height.
        size: (u32, u32),
        /// What is needed, and what to do.
        needed: String,
    },
    /// There is no pair of that number.
    #[error("no pair {index} in the {split} split, which has {len}")]
    Index {
        /// The split.
        split: Split,
        /// The number asked for, from 0.
        index: usize,
        /// How many pairs there are.
        len: usize,
    },
    /// A word that names none of the choices.
    #[error("unknown {what} `{given}`, expected one of: {choices}")]
    Choice {
        /// What was being read, e.g. `split`.
        what: &'static str,
        /// The word.
        given: String,
        /// The words that are known.
        choices: &'static str,
    },
    /// The loader's thread could not be started or ended before its last batch.
    #[error("the loader's thread stopped early{0}")]
    Thread(String),
    /// A tensor could not be made.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("\n  {}", path.display())).collect()
}

fn list_errors(errors: &[DataError]) -> String {
    errors.iter().map(|error| format!("\n  {error}")).collect()
}
