//! Image files.

mod content;
mod depth;
mod error;
mod jpeg;
mod nir;
mod note;
mod png;
mod reading;
mod tiff;

pub use error::ImageFault;
pub use jpeg::JpegError;
pub use nir::NirImage;
pub use note::ReadNote;
pub use reading::{Bits, Channel, Reading};

use crate::DataError;
use image::{DynamicImage, GrayImage, RgbImage};
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

/// Reads an image as 8-bit gray. A colour image becomes its Rec. 601 luma ([`crate::pillow::luma`]), 16 bits are scaled to 8,
/// transparency is dropped.
///
/// # Errors
/// [`DataError::Io`] or [`DataError::Image`], with the path.
pub fn read_gray(path: impl AsRef<Path>) -> Result<GrayImage, DataError> {
    Reading::default().gray(path.as_ref()).map(|read| read.image)
}

/// Reads an image as 8-bit RGB. Gray is repeated, 16 bits are scaled to 8, transparency is dropped.
///
/// # Errors
/// [`DataError::Io`] or [`DataError::Image`], with the path.
pub fn read_rgb(path: impl AsRef<Path>) -> Result<RgbImage, DataError> {
    Reading::default().rgb(path.as_ref()).map(|read| read.image)
}

/// Width and height of the image that [`read_rgb`] reads, before it is turned. They stand in the header of most files, which
/// alone is read then; what that may lead to is for who reads the image.
///
/// # Errors
/// As [`read_rgb`], if the header says nothing.
pub fn image_size(path: impl AsRef<Path>) -> Result<(u32, u32), DataError> {
    let path = path.as_ref();
    let header = || image::ImageReader::open(path).ok()?.with_guessed_format().ok()?.into_dimensions().ok();
    match path.is_file().then(header).flatten() {
        Some(size) => Ok(size),
        None => Ok(read_rgb(path)?.dimensions()),
    }
}

/// Whether the first bytes of a file are those of an image, of a kind that is read or not, or its extension says so. False
/// for what is no file.
pub fn looks_like_image(path: &Path) -> bool {
    if !path.is_file() {
        return false;
    }
    let named = image::ImageFormat::from_path(path).is_ok();
    let start = || {
        let mut start = Vec::new();
        std::fs::File::open(path).and_then(|file| file.take(32).read_to_end(&mut start)).map(|_| start)
    };
    named || start().is_ok_and(|start| content::is_image(&start))
}

/// An image, and what a user should be told of how it was read.
#[derive(Clone, Debug)]
pub struct Read<I> {
    /// It.
    pub image: I,
    /// What was taken of a file that holds more.
    pub notes: BTreeSet<ReadNote>,
    /// The largest value of the file, if its values are of 16 bits.
    pub largest: Option<u16>,
    /// Whether the file has gray values alone, or one band of it was asked for.
    pub gray: bool,
    /// Whether some of the file's pixels let through what lies behind them; that is dropped.
    pub transparent: bool,
    /// EXIF as it stands in a JPEG or PNG, but for the orientation: the image is upright.
    pub exif: Option<Vec<u8>>,
}

impl Reading {
    /// As 8-bit gray: what [`Reading::channel`] says of a colour image.
    ///
    /// # Errors
    /// [`DataError::Io`] or [`DataError::Image`], with the path.
    pub fn gray(&self, path: &Path) -> Result<Read<GrayImage>, DataError> {
        self.gray_of(path, &read(path)?)
    }

    /// As gray with the bits of the file: what [`Reading::channel`] says of a colour image.
    ///
    /// # Errors
    /// [`DataError::Io`] or [`DataError::Image`], with the path.
    pub fn nir(&self, path: &Path) -> Result<Read<NirImage>, DataError> {
        let bytes = read(path)?;
        let nir = |image, picked| nir::nir(image, self.channel, picked);
        self.decode(&bytes, Some(self.channel), u16::MAX, nir).map_err(at(path))
    }

    /// As 8-bit RGB; gray is repeated.
    ///
    /// # Errors
    /// [`DataError::Io`] or [`DataError::Image`], with the path.
    pub fn rgb(&self, path: &Path) -> Result<Read<RgbImage>, DataError> {
        self.rgb_of(path, &read(path)?)
    }

    /// [`Reading::gray`] of a file's content; `path` is for errors.
    ///
    /// # Errors
    /// [`DataError::Image`], with the path.
    pub fn gray_of(&self, path: &Path, bytes: &[u8]) -> Result<Read<GrayImage>, DataError> {
        let gray = |image, picked| nir::gray(image, self.channel, picked);
        self.decode(bytes, Some(self.channel), u8::MAX.into(), gray).map_err(at(path))
    }

    /// [`Reading::rgb`] of a file's content; `path` is for errors.
    ///
    /// # Errors
    /// [`DataError::Image`], with the path.
    pub fn rgb_of(&self, path: &Path, bytes: &[u8]) -> Result<Read<RgbImage>, DataError> {
        self.decode(bytes, None, u8::MAX.into(), |image, _| Ok(image.into_rgb8())).map_err(at(path))
    }

    /// The image in a file's content, which decides on the format; the extension does not. It is turned as its EXIF
    /// orientation says. Where a sensor has fewer than 16 bits, its values become multiples of the steps of `levels`, 255
    /// or 65535. `finish` gets the image, and whether it is the band that `channel` asks for already.
    fn decode<I>(
        &self,
        bytes: &[u8],
        channel: Option<Channel>,
        levels: u16,
        finish: impl FnOnce(DynamicImage, bool) -> Result<I, ImageFault>,
    ) -> Result<Read<I>, ImageFault> {
        let decoded = content::decode(bytes, self, channel)?;
        let largest = depth::largest(&decoded.image);
        let (gray, transparent) = (!decoded.image.color().has_color(), transparent(&decoded.image));
        let full = match self.bits {
            Bits::Exactly(bits) => Some(u16::MAX >> (16 - bits.clamp(1, 16))),
            Bits::Tags | Bits::Auto => decoded.full,
        };
        let image = match full.filter(|full| *full < u16::MAX) {
            Some(full) => depth::scaled(decoded.image, full, levels)?,
            None => decoded.image,
        };
        let mut notes = decoded.notes;
        if self.bits == Bits::Tags && full.is_none() {
            notes.extend(largest.and_then(depth::note));
        }
        let (image, exif) = (finish(image, decoded.picked)?, decoded.exif);
        Ok(Read { image, notes, largest, gray, transparent, exif })
    }
}

fn at(path: &Path) -> impl Fn(ImageFault) -> DataError {
    |fault| DataError::Image { path: path.to_path_buf(), fault }
}

/// What a decoder made of a file.
struct Decoded {
    image: DynamicImage,
    notes: BTreeSet<ReadNote>,
    /// Whether it is the band that was asked for.
    picked: bool,
    /// What the file's tags say is the largest value of 16 bits.
    full: Option<u16>,
    exif: Option<Vec<u8>>,
}

impl Decoded {
    fn plain(image: DynamicImage) -> Self {
        Self { image, notes: BTreeSet::new(), picked: false, full: None, exif: None }
    }
}

fn transparent(image: &DynamicImage) -> bool {
    match image {
        DynamicImage::ImageLumaA8(image) => image.pixels().any(|pixel| pixel.0[1] < u8::MAX),
        DynamicImage::ImageRgba8(image) => image.pixels().any(|pixel| pixel.0[3] < u8::MAX),
        DynamicImage::ImageLumaA16(image) => image.pixels().any(|pixel| pixel.0[1] < u16::MAX),
        DynamicImage::ImageRgba16(image) => image.pixels().any(|pixel| pixel.0[3] < u16::MAX),
        _ => false,
    }
}

/// The whole file, if it is one: reading a pipe or a device might never end.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    let failed = |source| DataError::Io { path: path.to_path_buf(), source };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "a folder" } else { "a pipe or a device" };
        return Err(failed(std::io::Error::other(format!("{what}, not an image file"))));
    }
    std::fs::read(path).map_err(failed)
}
