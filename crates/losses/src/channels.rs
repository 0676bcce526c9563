//! What a term takes: images of how many channels, or class scores.

use strum::Display;

/// What a term takes: how many channels its images have, or that it takes class scores in their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display)]
pub enum Channels {
    /// Any number: the channels are compared one by one, or all values alike.
    #[strum(to_string = "any number of channels")]
    Any,
    /// One or three, for fixed networks that see colours: grey is repeated to three channels.
    #[strum(to_string = "1 or 3 channels")]
    OneOrThree,
    /// Three: colours.
    #[strum(to_string = "3 channels")]
    Three,
    /// No images: scores of n classes, `(B, n)`.
    #[strum(to_string = "class scores (B, n)")]
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
