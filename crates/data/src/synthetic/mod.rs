//! Procedural outdoor scenes in near infrared and colour: data for trying things out without any download.
//!
//! A scene is composed of a sky, hills or mountains, ground, water, trees and houses (`scene`), each made of materials
//! with measured-like reflectances in the four bands (`materials`), lit by sun and sky and seen through haze
//! (`canvas`), and photographed by a noisy camera (`sensor`). Colour can be told from the near infrared only with the
//! help of texture, shape and place: many materials of like near-infrared brightness differ in colour. Nothing here is
//! photographic data, and results on it say nothing about real scenes.

mod canvas;
mod ground;
mod layout;
mod materials;
mod noise;
mod objects;
mod scene;
mod sensor;
mod terrain;

pub use layout::{vcip_layout, write_vcip_layout};

use crate::{DataError, Dataset, ImagePair, Split};
use noise::Dice;

/// Part of the fingerprint: to be raised whenever the pixels of scenes change.
const VERSION: u32 = 1;
/// Smallest width and height.
const SMALLEST: u32 = 8;

/// What defines a synthetic dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyntheticConfig {
    /// Seed of all scenes.
    pub seed: u64,
    /// Width of the images in pixels, at least 8.
    pub width: u32,
    /// Height of the images in pixels, at least 8.
    pub height: u32,
    /// Number of training pairs.
    pub train: usize,
    /// Number of validation pairs.
    pub validation: usize,
    /// Number of test pairs.
    pub test: usize,
}

/// A dataset of generated scenes. A pair depends on the seed, the size, its split and its number alone, and is the same
/// bytes on every platform; pairs are made when asked for.
#[derive(Clone, Debug)]
pub struct Synthetic {
    config: SyntheticConfig,
}

impl Synthetic {
    /// Checks the configuration; makes no scene yet.
    ///
    /// # Errors
    /// [`DataError::WrongSize`] if the width or height is below 8.
    pub fn new(config: SyntheticConfig) -> Result<Self, DataError> {
        let size = (config.width, config.height);
        if size.0.min(size.1) < SMALLEST {
            let needed = format!("synthetic scenes need at least {SMALLEST}x{SMALLEST}");
            return Err(DataError::WrongSize { name: "synthetic".to_string(), size, needed });
        }
        Ok(Self { config })
    }
}

impl Dataset for Synthetic {
    fn name(&self) -> &str {
        "synthetic"
    }

    fn len(&self, split: Split) -> usize {
        match split {
            Split::Train => self.config.train,
            Split::Validation => self.config.validation,
            Split::Test => self.config.test,
        }
    }

    fn pair_name(&self, split: Split, index: usize) -> String {
        let prefix = match split {
            _ if index >= self.len(split) => return String::new(),
            Split::Train => "synthetic",
            Split::Validation => "validation",
            Split::Test => "testing",
        };
        format!("{prefix}_{index:04}")
    }

    fn pair(&self, split: Split, index: usize) -> Result<ImagePair, DataError> {
        let len = self.len(split);
        if index >= len {
            return Err(DataError::Index { split, index, len });
        }
        let mut dice = Dice::new(self.config.seed, split as u8, index as u64);
        let (width, height) = (self.config.width as usize, self.config.height as usize);
        let (nir, rgb) = scene::photograph(width, height, &mut dice);
        Ok(ImagePair { name: self.pair_name(split, index), nir, rgb })
    }

    fn fingerprint(&self, split: Split) -> String {
        let SyntheticConfig { seed, width, height, .. } = self.config;
        let len = self.len(split);
        let definition = format!("synthetic scenes, version {VERSION}, seed {seed}, {width}x{height}, {len} {split}");
        blake3::hash(definition.as_bytes()).to_string()
    }
}
