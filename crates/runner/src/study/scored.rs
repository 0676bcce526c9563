//! Which images were scored.

use colormamba_data::{Split, Subset};

/// Which images were scored: a split of each run's own subset, or of a named one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scored {
    /// The split.
    pub split: Split,
    /// The subset, if it was named.
    pub subset: Option<Subset>,
}

impl From<Split> for Scored {
    fn from(split: Split) -> Self {
        Self { split, subset: None }
    }
}

impl Scored {
    /// What names files of scores: `test`, or `clean.test` for a subset that is not the run's own.
    pub fn stem(&self) -> String {
        let split = self.split;
        self.subset.as_ref().map_or_else(|| split.to_string(), |subset| format!("{subset}.{split}"))
    }

    /// The options of `colormamba eval`.
    pub fn options(&self) -> String {
        let subset = self.subset.as_ref().map(|subset| format!(" --subset {subset}")).unwrap_or_default();
        format!("--split {}{subset}", self.split)
    }
}
