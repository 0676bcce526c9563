//! Image files.

use crate::{DataError, pillow};
use image::{DynamicImage, GrayImage, ImageReader, RgbImage};
use std::path::Path;

/// Reads an image as 8-bit gray. A colour image becomes its Rec. 601 luma ([`pillow::luma`]), 16 bits are scaled to 8,
/// transparency is dropped.
///
/// # Errors
/// [`DataError::Io`] or [`DataError::Decode`], with the path.
pub fn read_gray(path: impl AsRef<Path>) -> Result<GrayImage, DataError> {
    Ok(match decode(path.as_ref())? {
        gray @ (DynamicImage::ImageLuma8(_)
        | DynamicImage::ImageLumaA8(_)
        | DynamicImage::ImageLuma16(_)
        | DynamicImage::ImageLumaA16(_)) => gray.into_luma8(),
        colour => pillow::luma(&colour.into_rgb8()),
    })
}

/// Reads an image as 8-bit RGB. Gray is repeated, 16 bits are scaled to 8, transparency is dropped.
///
/// # Errors
/// [`DataError::Io`] or [`DataError::Decode`], with the path.
pub fn read_rgb(path: impl AsRef<Path>) -> Result<RgbImage, DataError> {
    Ok(decode(path.as_ref())?.into_rgb8())
}

/// The content decides on the format, not the extension.
fn decode(path: &Path) -> Result<DynamicImage, DataError> {
    let io = |source| DataError::Io { path: path.to_path_buf(), source };
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format).map_err(io)?;
    reader.decode().map_err(|source| DataError::Decode { path: path.to_path_buf(), source })
}
