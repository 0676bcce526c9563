use crate::{DataError, PixelDigests};
use image::{GrayImage, RgbImage};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strum::{Display, EnumString, VariantNames};

/// A part of a dataset.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Display, EnumString, VariantNames,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase", parse_err_ty = DataError, parse_err_fn = unknown_split)]
pub enum Split {
    /// Weights are fitted to it.
    Train,
    /// Weights are chosen by it.
    Validation,
    /// Results are reported on it.
    Test,
}

impl Split {
    /// Every split, in order.
    pub const ALL: [Split; 3] = [Split::Train, Split::Validation, Split::Test];
}

fn unknown_split(word: &str) -> DataError {
    DataError::choice::<Split>("split", word)
}

/// What a prediction is scored against, and what a network is trained towards.
///
/// The two differ by more than 1 dB PSNR for the same images, so a number without its protocol means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Display, EnumString, VariantNames)]
#[strum(serialize_all = "lowercase", parse_err_ty = DataError, parse_err_fn = unknown_protocol)]
pub enum Protocol {
    /// The photograph as it is: 8-bit values divided by 255.
    Raw,
    /// The photograph stretched over its own range, `(x − min) / (max − min + 1e-3)` over all its pixels and channels on
    /// 0..255 values, as ColorMamba (arXiv 2408.08087) trains and scores.
    Minmax,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Protocol; 2] = [Protocol::Raw, Protocol::Minmax];
}

fn unknown_protocol(word: &str) -> DataError {
    DataError::choice::<Protocol>("protocol", word)
}

/// One scene, photographed in near infrared and in colour, registered: both images have the same size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePair {
    /// Unique within its split, without folder and extension, e.g. `country_0007`.
    pub name: String,
    /// Near infrared, 8 bits.
    pub nir: GrayImage,
    /// Colour, 8 bits, sRGB.
    pub rgb: RgbImage,
}

/// What a fingerprint is made of, for one pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairFiles {
    /// The pair's name.
    pub name: String,
    /// The first 16 digits of the BLAKE3 of the NIR file.
    pub nir: String,
    /// The same of the RGB file.
    pub rgb: String,
    /// How the images become square, if they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit: Option<String>,
}

/// Pairs by split and number.
pub trait Dataset: Send + Sync {
    /// The dataset's name, e.g. `vcip2020`.
    fn name(&self) -> &str;

    /// Number of pairs in a split; 0 if the split is not there.
    fn len(&self, split: Split) -> usize;

    /// The name of a pair without reading it; empty if there is no such pair.
    fn pair_name(&self, split: Split, index: usize) -> String;

    /// Reads or makes a pair.
    ///
    /// # Errors
    /// [`DataError::Index`] if there is no such pair; what went wrong in reading it.
    fn pair(&self, split: Split, index: usize) -> Result<ImagePair, DataError>;

    /// Hex BLAKE3 of everything that defines a split: its names and images in order, or the configuration that makes them.
    fn fingerprint(&self, split: Split) -> String;

    /// The files of a split's pairs, in order, to tell which changed; none of scenes that are drawn.
    fn files(&self, _split: Split) -> Vec<PairFiles> {
        Vec::new()
    }

    /// Digests of the pixels of a split's pairs, in order; none where they are not known, as of scenes that are drawn.
    fn pixels(&self, _split: Split) -> Vec<PixelDigests> {
        Vec::new()
    }

    /// What whoever uses weights trained on it must know, by key: `dataset`, and of photographs `subset`, `bits`, `channel`,
    /// `page` and `fit`, as they are written in a description.
    fn about(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([("dataset", self.name().to_string())])
    }

    /// What a user should be told of these splits, a line each: what their images do not tell, e.g. that neighbouring views
    /// are in two, and what of their files is taken.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}
