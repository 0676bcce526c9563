//! What of a file becomes the image.

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::str::FromStr;

/// How the values of a file become an image of 8 bits. By default its tags decide, colour becomes luma, and the first page is
/// taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What the largest value of 16 bits stands for.
    pub bits: Bits,
    /// What of a colour image, or of one of several bands, is the near infrared.
    pub channel: Channel,
    /// The page of a file with several, from 1; none takes the first and says so.
    pub page: Option<usize>,
    /// Images with more pixels are refused before memory is taken for them.
    pub max_pixels: u64,
}

impl Reading {
    /// The most pixels that are read unless more are asked for: 268 million, a square of 16,384.
    pub const MAX_PIXELS: u64 = 1 << 28;
}

impl Default for Reading {
    fn default() -> Self {
        Self { bits: Bits::default(), channel: Channel::default(), page: None, max_pixels: Self::MAX_PIXELS }
    }
}

/// The bits of a sensor whose values stand in 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bits {
    /// What the file's tags say (MaxSampleValue of TIFF), else 16.
    #[default]
    Tags,
    /// So many, from 9 to 16: the largest value is 2^n − 1.
    Exactly(u8),
    /// What the largest value among all images tells: 10, 12 or 14 if it comes within 3 % of the largest of so many bits, so
    /// that a dark scene of 16 bits is not stretched; else 16.
    Auto,
}

impl Bits {
    /// Of a set of images by their largest value of 16 bits; as [`Bits::Auto`] says.
    pub fn of_largest(largest: u16) -> u8 {
        let reaches = |bits: &u8| {
            let full = (1u32 << bits) - 1;
            u32::from(largest) <= full && f64::from(largest) >= 0.97 * f64::from(full)
        };
        [10, 12, 14].into_iter().find(reaches).unwrap_or(16)
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tags => f.write_str("tags"),
            Self::Exactly(bits) => bits.fmt(f),
            Self::Auto => f.write_str("auto"),
        }
    }
}

impl FromStr for Bits {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "auto" => Ok(Self::Auto),
            "tags" => Ok(Self::Tags),
            "10" | "12" | "14" | "16" => Ok(Self::Exactly(word.parse().unwrap_or(16))),
            _ => Err(format!("`{word}` is no number of bits: 10, 12, 14, 16, auto or tags")),
        }
    }
}

/// What of a colour image, or of one of several bands, is the near infrared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    /// Rec. 601 luma of red, green and blue.
    #[default]
    Luma,
    /// Red, which of most cameras without a blocking filter saw the most of it.
    Red,
    /// The mean of red, green and blue.
    Mean,
    /// The largest of red, green and blue.
    Max,
    /// The band of this number, from 1.
    Band(usize),
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Luma => f.write_str("luma"),
            Self::Red => f.write_str("red"),
            Self::Mean => f.write_str("mean"),
            Self::Max => f.write_str("max"),
            Self::Band(number) => number.fmt(f),
        }
    }
}

impl FromStr for Channel {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "luma" => Ok(Self::Luma),
            "red" => Ok(Self::Red),
            "mean" => Ok(Self::Mean),
            "max" => Ok(Self::Max),
            number => match number.parse() {
                Ok(number @ 1..=65535) => Ok(Self::Band(number)),
                _ => Err(format!("`{word}` is no channel: luma, red, mean, max, or a band's number from 1")),
            },
        }
    }
}

/// A word, or a number that is one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Number(i64),
    Word(String),
}

fn word<'de, T: FromStr<Err = String>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let word = match Word::deserialize(deserializer) {
        Ok(Word::Number(number)) => number.to_string(),
        Ok(Word::Word(word)) => word,
        Err(_) => return Err(D::Error::invalid_type(Unexpected::Other("this"), &"a word or a whole number")),
    };
    word.parse().map_err(D::Error::custom)
}

impl<'de> Deserialize<'de> for Bits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word(deserializer)
    }
}

impl<'de> Deserialize<'de> for Channel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word(deserializer)
    }
}
