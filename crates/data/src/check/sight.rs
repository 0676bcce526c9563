//! What one look at a pair tells.

use super::registration::{Offset, offset};
use super::scenes::thumbnail;
use crate::listing::Files;
use crate::overlap::digest;
use crate::photographs::Readings;
use crate::{Description, ReadNote, pillow};
use image::{GrayImage, RgbImage};
use std::collections::BTreeSet;

/// An image whose levels spread less than this, as a standard deviation, shows nothing.
const FLAT: f64 = 1.0;
/// A NIR image that is correlated with the luma of its RGB image by more than this is that luma.
const GRAY: f64 = 0.999;

/// What is kept of a pair.
pub(super) struct Sight {
    /// What is wrong with its files, in words.
    pub problems: Vec<String>,
    /// What was taken of files that hold more.
    pub notes: BTreeSet<String>,
    /// Width and height, if both images have them.
    pub size: Option<(u32, u32)>,
    /// Digests of the pixels.
    pub nir: Option<blake3::Hash>,
    pub rgb: Option<blake3::Hash>,
    /// Correlation of NIR and luma, if the NIR image is but that.
    pub gray: Option<f64>,
    pub offset: Option<Offset>,
    /// Of the RGB image's luma.
    pub thumbnail: Option<GrayImage>,
}

/// A pair, of a description that says what its first image is.
pub(super) fn look(files: &Files, readings: Readings, description: &Description) -> Sight {
    let input = &description.input;
    let mut problems = Vec::new();
    let nir = readings.nir.gray(&files.nir).map_err(|error| problems.push(error.to_string())).ok();
    let rgb = readings.rgb.rgb(&files.rgb).map_err(|error| problems.push(error.to_string())).ok();
    let notes = |notes: Option<&BTreeSet<ReadNote>>| notes.cloned().unwrap_or_default();
    let notes = notes(nir.as_ref().map(|read| &read.notes))
        .union(&notes(rgb.as_ref().map(|read| &read.notes)))
        .map(ReadNote::to_string)
        .collect();
    let (nir, rgb) = (nir.map(|read| read.image), rgb.map(|read| read.image));
    problems.extend(nir.as_ref().filter(|nir| flat(nir)).map(|_| format!("the {input} image is flat")));
    problems.extend(rgb.as_ref().filter(|rgb| flat(rgb)).map(|_| "the RGB image is flat".to_string()));
    let mut sight = Sight {
        problems,
        notes,
        size: None,
        nir: nir.as_ref().map(|nir| digest(nir.dimensions(), nir)),
        rgb: rgb.as_ref().map(|rgb| digest(rgb.dimensions(), rgb)),
        gray: None,
        offset: None,
        thumbnail: None,
    };
    let luma = rgb.as_ref().map(pillow::luma);
    sight.thumbnail = luma.as_ref().filter(|luma| luma.width() > 0 && luma.height() > 0).map(thumbnail);
    if let (Some(nir), Some(rgb), Some(luma)) = (&nir, &rgb, &luma) {
        sight.compare(nir, rgb, luma, description);
    }
    sight
}

impl Sight {
    fn compare(&mut self, nir: &GrayImage, rgb: &RgbImage, luma: &GrayImage, description: &Description) {
        if nir.dimensions() != rgb.dimensions() {
            let ((a, b), (c, d)) = (nir.dimensions(), rgb.dimensions());
            self.problems.push(format!("{} is {a}x{b} but RGB is {c}x{d}", description.input));
            return;
        }
        self.size = Some(rgb.dimensions());
        if flat(nir) || flat(luma) {
            return;
        }
        // Other inputs may well be nearly the luma, e.g. thin haze.
        let gray = description.is_near_infrared().then(|| correlation(nir, luma));
        self.gray = gray.filter(|correlation| *correlation > GRAY);
        self.offset = offset(nir, luma);
    }
}

fn flat(levels: &[u8]) -> bool {
    let n = levels.len().max(1) as f64;
    let (sum, squares) = levels.iter().fold((0.0, 0.0), |(sum, squares), level| {
        let level = f64::from(*level);
        (sum + level, squares + level * level)
    });
    squares / n - (sum / n).powi(2) < FLAT * FLAT
}

/// Pearson's.
fn correlation(a: &GrayImage, b: &GrayImage) -> f64 {
    let n = a.len().max(1) as f64;
    let mean = |image: &GrayImage| image.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b.iter()) {
        let (a, b) = (f64::from(*a) - mean_a, f64::from(*b) - mean_b);
        (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
    }
    ab / (aa * bb).sqrt()
}
