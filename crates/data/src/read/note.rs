//! What a user should be told of how a file was read.

use std::fmt;

/// What of a file that holds more, or tells more, became the image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReadNote {
    /// The first of several pages.
    Page {
        /// How many there are.
        pages: usize,
    },
    /// Gray, or red, green and blue, of more bands.
    Bands {
        /// How many are taken.
        shown: usize,
        /// How many there are.
        count: usize,
    },
    /// The largest value, by the file's tags.
    Full(u16),
    /// Values of 16 bits that may be those of a sensor of fewer.
    Low {
        /// The bits of that sensor.
        bits: u32,
    },
}

impl ReadNote {
    /// What was taken, without a word on how to take something else.
    pub fn fact(&self) -> String {
        match self {
            Self::Page { pages } => format!("page 1 of {pages} is taken"),
            Self::Bands { shown, count } => format!("{shown} of {count} bands are taken"),
            Self::Full(full) => format!("the largest value is {full}, as the file's tags say"),
            Self::Low { bits } => format!("values of 16 bits stay below {}", 1u32 << bits),
        }
    }

    /// The fact, and the setting that takes something else as its key and value are written.
    pub fn with(&self, written: impl Fn(&str, &str) -> String) -> String {
        let fact = self.fact();
        match self {
            Self::Page { .. } => format!("{fact} ({} takes another)", written("page", "N")),
            Self::Bands { count, .. } => format!("{fact} ({} takes the last)", written("channel", &count.to_string())),
            Self::Full(_) => fact,
            Self::Low { bits } => {
                format!("{fact}: if the camera has {bits} bits, say {}", written("bits", &bits.to_string()))
            }
        }
    }
}

/// With keys of a dataset's description.
impl fmt::Display for ReadNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with(|key, value| format!("{key} = {value}")))
    }
}
