use crate::{ImageFault, Split, Subset};
use colormamba_support::files::WriteError;
use colormamba_support::text::count;
use std::path::PathBuf;
use strum::VariantNames;

/// What can go wrong between a folder of photographs and a batch of tensors.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is no image that is read.
    #[error("{}: {fault}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// Why.
        fault: ImageFault,
    },
    /// An image could not be encoded.
    #[error("{}: cannot be made ({source})", path.display())]
    Encode {
        /// The file that was to be.
        path: PathBuf,
        /// What the encoder said.
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
    /// An image whose partner is missing.
    #[error("{}: has no partner; add the missing image or remove this one", path.display())]
    Unpaired {
        /// The image that is there.
        path: PathBuf,
    },
    /// Two files of a folder that go by one name.
    #[error(
        "{} and {}: one name, as case, accents and the extension make no difference; rename one or remove it",
        path.display(), other.display()
    )]
    SameName {
        /// A file.
        path: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// Everything that [`crate::Photographs::open`] found wrong with the images, in the order of the splits.
    #[error("{} with the images:{}", count(.0.len(), "problem"), list(.0))]
    Unusable(Vec<DataError>),
    /// The two images of a pair differ in size.
    #[error("pair {name}: {input} is {}x{} but RGB is {}x{}; the two must be registered", nir.0, nir.1, rgb.0, rgb.1)]
    SizeMismatch {
        /// The pair's name.
        name: String,
        /// What its first image is, e.g. `NIR`.
        input: String,
        /// Width and height of the first image.
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
    #[error("unknown {what} `{given}`, expected one of: {}", choices.join(", "))]
    Choice {
        /// What was being read, e.g. `split`.
        what: &'static str,
        /// The word.
        given: String,
        /// The words that are known.
        choices: &'static [&'static str],
    },
    /// A word that cannot name anything.
    #[error("`{given}` cannot name a {what}: lower-case letters, digits and hyphens are allowed")]
    Word {
        /// What was being read, e.g. `subset`.
        what: &'static str,
        /// The word.
        given: String,
    },
    /// A dataset that nothing is known of.
    #[error("unknown dataset `{given}`, expected one of: {known}, or a file ending in .toml that describes one")]
    Dataset {
        /// The word.
        given: String,
        /// The names that are known.
        known: String,
    },
    /// A dataset's description that cannot be used.
    #[error("{file}: not a dataset's description: {problem}")]
    Description {
        /// The file.
        file: String,
        /// What is wrong, and where.
        problem: String,
    },
    /// A subset that the dataset does not have.
    #[error("{dataset} has no subset `{given}`, expected one of: {known}")]
    Subset {
        /// The dataset's name.
        dataset: String,
        /// The word.
        given: String,
        /// The subsets it has.
        known: String,
    },
    /// A subset names pairs that are not there.
    #[error("subset {subset}: {missing} in the {split} split of this folder; use a complete copy, or subset published")]
    Incomplete {
        /// The subset.
        subset: Subset,
        /// The split it chooses from.
        split: Split,
        /// What was looked for and not found.
        missing: String,
    },
    /// The loader's thread could not be started or ended before its last batch.
    #[error("the loader's thread stopped early{0}")]
    Thread(String),
    /// A tensor could not be made.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl DataError {
    /// Of a word that is none of `T`'s.
    pub(crate) fn choice<T: VariantNames>(what: &'static str, given: &str) -> Self {
        Self::Choice { what, given: given.to_string(), choices: T::VARIANTS }
    }
}

impl From<WriteError> for DataError {
    fn from(WriteError { path, source }: WriteError) -> Self {
        Self::Io { path, source }
    }
}

fn list(errors: &[DataError]) -> String {
    errors.iter().map(|error| format!("\n  {error}")).collect()
}
