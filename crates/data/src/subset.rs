use crate::DataError;
use std::fmt;
use std::str::FromStr;

/// Which of the splits that a dataset's description lists is meant, e.g. `clean`. [`crate::Description`] knows those of a
/// dataset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subset(String);

impl Subset {
    /// The splits as their makers published them: `published`, which every dataset has.
    pub fn published() -> Self {
        Self(PUBLISHED.to_string())
    }

    /// The name of a dataset of these splits: `DATASET`, or `DATASET/SUBSET` for others than the published ones.
    pub fn of(&self, dataset: &str) -> String {
        if *self == Self::published() { dataset.to_string() } else { format!("{dataset}/{self}") }
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

pub(crate) const PUBLISHED: &str = "published";

impl Default for Subset {
    fn default() -> Self {
        Self::published()
    }
}

impl fmt::Display for Subset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Subset {
    type Err = DataError;

    /// Lower-case letters, digits and hyphens.
    fn from_str(word: &str) -> Result<Self, DataError> {
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if word.is_empty() || !word.chars().all(known) {
            return Err(DataError::Word { what: "subset", given: word.to_string() });
        }
        Ok(Self(word.to_string()))
    }
}
