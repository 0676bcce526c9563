//! What a term takes: images of how many channels, or class scores.

use std::fmt;

/// What a term takes: how many channels its images have, or that it takes class scores in their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// Any number: the channels are compared one by one, or all values alike.
    Any,
    /// One or three, for fixed networks that see colours: grey is repeated to three channels.
    OneOrThree,
    /// Three: colours.
    Three,
    /// No images: scores of n classes, `(B, n)`.
    Classes,
}

impl Channels {
    /// Whether images of so many channels, at least 1, are among them.
    pub fn takes(self, channels: usize) -> bool {
        match self {
            Self::Any => channels > 0,
            Self::OneOrThree => matches!(channels, 1 | 3),
            Self::Three => channels == 3,
            Self::Classes => false,
        }
    }
}

impl fmt::Display for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any number of channels",
            Self::OneOrThree => "1 or 3 channels",
            Self::Three => "3 channels",
            Self::Classes => "class scores (B, n)",
        })
    }
}
