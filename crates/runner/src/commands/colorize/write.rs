//! Pictures as files.

use super::exif::without_thumbnail;
use anyhow::Result;
use colormamba_colorize::{NirImage, Picture};
use colormamba_support::files::write_whole;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::tiff::TiffEncoder;
use image::{DynamicImage, GenericImage, ImageEncoder, ImageError, ImageFormat, ImageResult};
use std::io::{Seek, Write};
use std::path::Path;

/// The kinds of files that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Without loss, 8 or 16 bits.
    Png,
    /// Small, 8 bits.
    Jpeg,
    /// Without loss and uncompressed, 8 or 16 bits.
    Tiff,
}

/// Of JPEG, from 1 to 100.
const QUALITY: u8 = 95;

/// Most bytes of EXIF that a JPEG can hold: a segment has 65,533 and six of them say what it is.
const JPEG_EXIF: usize = 65_527;

impl Format {
    /// The kind that a file's name tells.
    pub(super) fn of(path: &Path) -> Option<Self> {
        match ImageFormat::from_path(path).ok()? {
            ImageFormat::Png => Some(Self::Png),
            ImageFormat::Jpeg => Some(Self::Jpeg),
            ImageFormat::Tiff => Some(Self::Tiff),
            _ => None,
        }
    }

    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Tiff => "tif",
        }
    }
}

/// Writes a picture, whole or not at all, with the photograph's EXIF, but for its thumbnail, where the format has a
/// place for it; whether there was none or it is kept.
///
/// # Errors
/// Names the file.
pub(super) fn write(path: &Path, picture: &DynamicImage, format: Format, exif: Option<&[u8]>) -> Result<bool> {
    let kept = exif.filter(|exif| match format {
        Format::Png => true,
        Format::Jpeg => exif.len() <= JPEG_EXIF,
        // The encoder of `image` writes none.
        Format::Tiff => false,
    });
    write_whole(path, |file| encode(file, picture, format, kept).map_err(std::io::Error::other))?;
    Ok(kept.is_some() == exif.is_some())
}

fn encode(file: impl Write + Seek, picture: &DynamicImage, format: Format, exif: Option<&[u8]>) -> ImageResult<()> {
    match format {
        // Twice as large as the smallest in a fraction of the time.
        Format::Png => {
            let encoder = PngEncoder::new_with_quality(file, CompressionType::Fast, FilterType::Up);
            finish(encoder, picture, exif)
        }
        Format::Jpeg => {
            let encoder = JpegEncoder::new_with_quality(file, QUALITY);
            finish(encoder, picture, exif)
        }
        Format::Tiff => finish(TiffEncoder::new(file), picture, exif),
    }
}

fn finish(mut encoder: impl ImageEncoder, picture: &DynamicImage, exif: Option<&[u8]>) -> ImageResult<()> {
    if let Some(exif) = exif {
        encoder.set_exif_metadata(without_thumbnail(exif.to_vec())).map_err(ImageError::Unsupported)?;
    }
    picture.write_with_encoder(encoder)
}

/// The picture as an image, right of its photograph with `side_by_side`.
///
/// # Errors
/// None that can occur: both have one size.
pub(super) fn shown(picture: Picture, nir: &NirImage, side_by_side: bool) -> Result<DynamicImage> {
    let picture = match picture {
        Picture::Bits8(image) => DynamicImage::ImageRgb8(image),
        Picture::Bits16(image) => DynamicImage::ImageRgb16(image),
    };
    if !side_by_side {
        return Ok(picture);
    }
    let nir = match nir {
        NirImage::Bits8(image) => DynamicImage::ImageLuma8(image.clone()),
        NirImage::Bits16(image) => DynamicImage::ImageLuma16(image.clone()),
    };
    let (width, height) = (picture.width(), picture.height());
    match picture {
        DynamicImage::ImageRgb16(picture) => {
            let mut both = image::ImageBuffer::new(2 * width, height);
            both.copy_from(&nir.into_rgb16(), 0, 0)?;
            both.copy_from(&picture, width, 0)?;
            Ok(DynamicImage::ImageRgb16(both))
        }
        picture => {
            let mut both = image::RgbImage::new(2 * width, height);
            both.copy_from(&nir.into_rgb8(), 0, 0)?;
            both.copy_from(&picture.into_rgb8(), width, 0)?;
            Ok(DynamicImage::ImageRgb8(both))
        }
    }
}
