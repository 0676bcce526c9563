//! Image files.

use crate::{DataError, pillow};
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageDecoder, ImageReader, ImageResult, RgbImage};
use std::io::Cursor;
use std::path::Path;

/// Reads an image as 8-bit gray. A colour image becomes its Rec. 601 luma ([`pillow::luma`]), 16 bits are scaled to 8,
/// transparency is dropped.
///
/// # Errors
/// [`DataError::Io`] or [`DataError::Decode`], with the path.
pub fn read_gray(path: impl AsRef<Path>) -> Result<GrayImage, DataError> {
    let path = path.as_ref();
    Ok(gray(decode(path, &read(path)?)?))
}

/// As [`read_gray`] says.
pub(crate) fn gray(image: DynamicImage) -> GrayImage {
    match image {
        gray @ (DynamicImage::ImageLuma8(_)
        | DynamicImage::ImageLumaA8(_)
        | DynamicImage::ImageLuma16(_)
        | DynamicImage::ImageLumaA16(_)) => gray.into_luma8(),
        colour => pillow::luma(&colour.into_rgb8()),
    }
}

/// Reads an image as 8-bit RGB. Gray is repeated, 16 bits are scaled to 8, transparency is dropped.
///
/// # Errors
/// [`DataError::Io`] or [`DataError::Decode`], with the path.
pub fn read_rgb(path: impl AsRef<Path>) -> Result<RgbImage, DataError> {
    let path = path.as_ref();
    Ok(decode(path, &read(path)?)?.into_rgb8())
}

/// The whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    std::fs::read(path).map_err(|source| DataError::Io { path: path.to_path_buf(), source })
}

/// The image in a file's content, which decides on the format; the extension does not. It is turned as its EXIF orientation
/// says. `path` is for errors.
pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<DynamicImage, DataError> {
    upright(bytes).map_err(|source| DataError::Decode { path: path.to_path_buf(), source })
}

fn upright(bytes: &[u8]) -> ImageResult<DynamicImage> {
    let mut decoder = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?.into_decoder()?;
    // Metadata that cannot be read says nothing on how the image is to be held.
    let orientation = decoder.orientation().ok().filter(|orientation| *orientation != Orientation::NoTransforms);
    let orientation = orientation.or_else(|| png_orientation(bytes)).unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// Of the eXIf chunk of a PNG. It may follow the pixels, where the decoder does not look before it has read them.
fn png_orientation(bytes: &[u8]) -> Option<Orientation> {
    let mut rest = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n")?;
    loop {
        let (length, after) = rest.split_first_chunk()?;
        let (kind, after) = after.split_first_chunk::<4>()?;
        let (content, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        if kind == b"eXIf" {
            return Orientation::from_exif_chunk(content);
        }
        rest = after.get(4..)?;
    }
}
