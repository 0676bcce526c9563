use crate::{DataError, Dataset, Description, ImagePair, Photographs, PixelDigests, Split, Subset};
use std::path::Path;

/// The images of the IEEE VCIP 2020 grand challenge on NIR image colorization, from a folder in their layout.
///
/// 372 pairs to train, 18 to validate, 28 to test, 256 × 256 pixels, from the EPFL RGB-NIR Scene dataset (Brown and
/// Süsstrunk, CVPR 2011, DOI 10.1109/CVPR.2011.5995637). Any other images in the same layout and naming serve as well,
/// of any size. `datasets/vcip2020.toml` is its description.
#[derive(Clone, Debug)]
pub struct Vcip2020(Photographs);

impl Vcip2020 {
    /// The splits as published. See [`Photographs::open`].
    ///
    /// # Errors
    /// Those of [`Photographs::open`].
    pub fn open(root: &Path) -> Result<Self, DataError> {
        Self::open_subset(root, &Subset::published())
    }

    /// The splits of a subset: `published`, `no-train-duplicates` or `clean`. See [`Photographs::open`].
    ///
    /// # Errors
    /// Those of [`Photographs::open`].
    pub fn open_subset(root: &Path, subset: &Subset) -> Result<Self, DataError> {
        Ok(Self(Photographs::open(&Description::find("vcip2020")?, root, subset)?))
    }
}

impl Dataset for Vcip2020 {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn len(&self, split: Split) -> usize {
        self.0.len(split)
    }

    fn pair_name(&self, split: Split, index: usize) -> String {
        self.0.pair_name(split, index)
    }

    fn pair(&self, split: Split, index: usize) -> Result<ImagePair, DataError> {
        self.0.pair(split, index)
    }

    fn fingerprint(&self, split: Split) -> String {
        self.0.fingerprint(split)
    }

    fn pixels(&self, split: Split) -> Vec<PixelDigests> {
        self.0.pixels(split)
    }

    fn warnings(&self) -> Vec<String> {
        self.0.warnings()
    }
}
