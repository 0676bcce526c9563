//! Equal images in different splits.

use crate::{Dataset, Split};
use std::collections::HashMap;

/// Digests of a pair's decoded pixels: equal for equal images, whatever their files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelDigests {
    /// Of the NIR image, 8-bit gray.
    pub nir: blake3::Hash,
    /// Of the RGB image, 8 bits a channel.
    pub rgb: blake3::Hash,
}

/// Pairs of one split that are in another too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The split.
    pub split: Split,
    /// The other.
    pub other: Split,
    /// The name of each of the split's pairs that is in the other, with its name there.
    pub pairs: Vec<(String, String)>,
}

/// Every two splits that share an image, pixel by pixel: training with test, then validation with test and with
/// training.
pub fn overlaps(dataset: &dyn Dataset) -> Vec<Overlap> {
    use Split::{Test, Train, Validation};
    let overlap = |(split, other)| Overlap { split, other, pairs: twins((dataset, split), (dataset, other)) };
    let all = [(Test, Train), (Validation, Test), (Validation, Train)].map(overlap);
    all.into_iter().filter(|overlap| !overlap.pairs.is_empty()).collect()
}

/// The pairs of a split whose NIR or RGB image is, pixel by pixel, that of a pair of another split, of any dataset:
/// their names, each with the other's.
pub fn twins(split: (&dyn Dataset, Split), other: (&dyn Dataset, Split)) -> Vec<(String, String)> {
    let (mut nir, mut rgb) = (HashMap::new(), HashMap::new());
    for (place, pixels) in other.0.pixels(other.1).into_iter().enumerate() {
        nir.entry(pixels.nir).or_insert(place);
        rgb.entry(pixels.rgb).or_insert(place);
    }
    let twin = |(place, pixels): (usize, PixelDigests)| {
        let found = rgb.get(&pixels.rgb).or_else(|| nir.get(&pixels.nir))?;
        Some((split.0.pair_name(split.1, place), other.0.pair_name(other.1, *found)))
    };
    split.0.pixels(split.1).into_iter().enumerate().filter_map(twin).collect()
}

/// Of pixels and the width and height they lie in.
pub(crate) fn digest((width, height): (u32, u32), pixels: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&width.to_le_bytes()).update(&height.to_le_bytes()).update(pixels);
    hasher.finalize()
}
