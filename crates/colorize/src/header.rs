//! What the header of weights says of the images that they were trained on.

use crate::ColorizeError;
use colormamba_data::{NirHsv, Protocol};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

/// How the images of a training were prepared; photographs must be as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trained {
    /// Width and height, in pixels.
    pub size: u32,
    /// Their scale.
    pub protocol: Protocol,
    /// How the HSV of a NIR image was made.
    pub nir_hsv: NirHsv,
}

impl Trained {
    /// As published weights, which say nothing of themselves, were trained.
    pub const PUBLISHED: Self = Self { size: 256, protocol: Protocol::Minmax, nir_hsv: NirHsv::Published };

    /// From what a file of weights, which is named in errors, says of itself; [`Self::PUBLISHED`] if it says nothing.
    ///
    /// # Errors
    /// [`ColorizeError::Header`] if an entry is missing or unusable.
    pub fn of(path: &Path, metadata: &BTreeMap<String, String>) -> Result<Self, ColorizeError> {
        if metadata.is_empty() {
            return Ok(Self::PUBLISHED);
        }
        let header = Header { path, metadata };
        Ok(Self { size: header.get("size")?, protocol: header.get("protocol")?, nir_hsv: header.get("nir_hsv")? })
    }
}

struct Header<'a> {
    path: &'a Path,
    metadata: &'a BTreeMap<String, String>,
}

impl Header<'_> {
    fn get<T: FromStr<Err: Display>>(&self, key: &str) -> Result<T, ColorizeError> {
        let wrong = |message| ColorizeError::Header { path: self.path.to_path_buf(), message };
        let text = self.metadata.get(key).ok_or_else(|| wrong(format!("its header lacks `{key}`")))?;
        text.parse().map_err(|error| wrong(format!("its header has an unusable `{key}`: {error}")))
    }
}
