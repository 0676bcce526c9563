//! Which decoder a file's content is for.

use super::{Channel, Decoded, ImageFault, Reading, jpeg, png, tiff};
use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use std::io::Cursor;

/// The image of a file; for a TIFF of several bands that of `channel`.
pub(super) fn decode(bytes: &[u8], reading: &Reading, channel: Option<Channel>) -> Result<Decoded, ImageFault> {
    if bytes.is_empty() {
        return Err(ImageFault::Empty);
    }
    match (image::guess_format(bytes), reading.page) {
        _ if tiff::is(bytes) => tiff::decode(bytes, reading, channel),
        // Of the kinds that are read, TIFF alone has pages.
        (Ok(ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::Bmp), Some(page)) if page != 1 => Err(no_page(page, 1)),
        (Ok(ImageFormat::Jpeg), _) => jpeg(bytes, reading),
        (Ok(format @ (ImageFormat::Png | ImageFormat::Bmp)), _) => by_library(bytes, format, reading),
        (Ok(other), _) => Err(ImageFault::Kind(format!("a file of another kind, {}", name(other)))),
        (Err(_), _) if is_jpeg_2000(bytes) => Err(ImageFault::Kind("a file of another kind, JPEG 2000".into())),
        (Err(_), _) => Err(ImageFault::Kind("not a readable image, by its first bytes".into())),
    }
}

pub(super) fn no_page(page: usize, pages: usize) -> ImageFault {
    ImageFault::Form(format!("there is no page {page}: the file has {pages}"))
}

/// Whether a file that begins so is an image, of a kind that is read or not.
pub(super) fn is_image(start: &[u8]) -> bool {
    tiff::is(start) || is_jpeg_2000(start) || image::guess_format(start).is_ok()
}

fn is_jpeg_2000(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x00\x00\x00\x0cjP  ") || bytes.starts_with(b"\xff\x4f\xff\x51")
}

fn name(format: ImageFormat) -> String {
    format.extensions_str().first().map_or_else(|| format!("{format:?}"), |extension| extension.to_uppercase())
}

/// What the decoder of `image` makes of it, upright.
fn by_library(bytes: &[u8], format: ImageFormat, reading: &Reading) -> Result<Decoded, ImageFault> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    // The size is checked here, by what the user allows; beside pixels nothing of a photograph is large.
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(BESIDE).filter(|_| format == ImageFormat::Png);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(damaged)?;
    let size = decoder.dimensions();
    let pixels = u64::from(size.0) * u64::from(size.1);
    fits(size, decoder.total_bytes().div_ceil(pixels.max(1)), bytes, reading)?;
    let otherwise = png::exif(bytes);
    upright(decoder, otherwise)
}

/// The image of a decoder, turned as it says, or else as the EXIF `otherwise` does.
pub(super) fn upright(mut decoder: impl ImageDecoder, otherwise: Option<&[u8]>) -> Result<Decoded, ImageFault> {
    // Metadata that cannot be read says nothing on how the image is to be held.
    let orientation = decoder.orientation().ok().filter(|orientation| *orientation != Orientation::NoTransforms);
    let mut exif = decoder.exif_metadata().ok().flatten().or_else(|| otherwise.map(<[u8]>::to_vec));
    let reset = exif.as_mut().and_then(|exif| Orientation::remove_from_exif_chunk(exif));
    let mut image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    image.apply_orientation(orientation.or(reset).unwrap_or(Orientation::NoTransforms));
    Ok(Decoded { exif, ..Decoded::plain(image) })
}

/// Memory for what stands beside the pixels of a file, e.g. a colour profile, unpacked.
const BESIDE: u64 = 64 << 20;
/// Memory that any file may take for its pixels, and how much more for each byte of it: less than 1 GiB for 1 MiB.
/// Pixels of photographs are packed a tenth as densely.
const ANY_FILE: u64 = 256 << 20;
const DENSEST: u64 = 640;
/// Bytes of a pixel as 8-bit RGB, and as the gray that is made of it.
const FINISHED: u64 = 4;

/// Whether an image of this size is read, whose decoder takes `each` bytes a pixel: told before memory is taken, by what
/// the user allows and by what a file of this length can hold. Who allows more pixels than the usual ones means it.
pub(super) fn fits((width, height): (u32, u32), each: u64, bytes: &[u8], reading: &Reading) -> Result<(), ImageFault> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels > reading.max_pixels {
        return Err(ImageFault::TooLarge { width, height, limit: reading.max_pixels });
    }
    let (takes, length) = (pixels.saturating_mul(each.saturating_add(FINISHED)), bytes.len() as u64);
    if reading.max_pixels <= Reading::MAX_PIXELS && takes > ANY_FILE + DENSEST * length {
        return Err(ImageFault::Hollow { width, height, takes, length });
    }
    Ok(())
}

/// What a decoder says of a file.
pub(super) fn damaged(error: ImageError) -> ImageFault {
    match error {
        ImageError::Unsupported(error) => ImageFault::Form(format!("a form that is not read ({})", short(&error))),
        error => ImageFault::Damaged(short(&error)),
    }
}

/// A decoder's words; some list every value that they do not like.
pub(super) fn short(error: &impl ToString) -> String {
    let (words, most) = (error.to_string(), 160);
    match words.char_indices().nth(most) {
        Some((end, _)) => format!("{} …", &words[..end]),
        None => words,
    }
}

/// Bytes a pixel that decoders of JPEG take: colours, and the coefficients of a progressive image.
pub(super) const JPEG: u64 = 3 + 2 * 4;

/// A JPEG that was checked to hold all of its image.
fn jpeg(bytes: &[u8], reading: &Reading) -> Result<Decoded, ImageFault> {
    fits(jpeg::size(bytes)?, JPEG, bytes, reading)?;
    let whole = jpeg::check(bytes)?;
    decoded(&whole, reading)
}

/// `image`'s decoder takes the components for interleaved where each has a scan of its own and fewer samples than
/// another; there jpeg-decoder is right.
fn decoded(whole: &jpeg::Whole, reading: &Reading) -> Result<Decoded, ImageFault> {
    if !whole.separate {
        return by_library(&whole.bytes, ImageFormat::Jpeg, reading);
    }
    let mut decoder = jpeg_decoder::Decoder::new(Cursor::new(&whole.bytes[..]));
    let failed = |error: jpeg_decoder::Error| ImageFault::Damaged(error.to_string());
    let pixels = decoder.decode().map_err(failed)?;
    let info = decoder.info().ok_or_else(|| ImageFault::Damaged("no header".into()))?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    let rgb = match info.pixel_format {
        jpeg_decoder::PixelFormat::RGB24 => ImageBuffer::from_raw(width, height, pixels),
        other => return Err(ImageFault::Form(format!("a JPEG of {other:?} in separate scans is not read"))),
    };
    let mut image = DynamicImage::ImageRgb8(rgb.ok_or_else(|| ImageFault::Damaged("pixels are missing".into()))?);
    let mut exif = decoder.exif_data().map(<[u8]>::to_vec);
    let orientation = exif.as_mut().and_then(|exif| Orientation::remove_from_exif_chunk(exif));
    image.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
    Ok(Decoded { exif, ..Decoded::plain(image) })
}
