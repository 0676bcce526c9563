//! TIFF files: `image` decodes what it knows of them, the rest is read here by its own decoder, `tiff`.

mod bands;

use super::content::{JPEG, damaged, fits, no_page, short, upright};
use super::{Channel, Decoded, ImageFault, ReadNote, Reading, jpeg};
use image::codecs::tiff::TiffDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer, ImageDecoder};
use std::collections::BTreeSet;
use std::io::Cursor;
use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::{CompressionMethod, Tag};

/// More pages than any file of photographs has; counting ends there.
const PAGES: usize = 1000;

/// TIFF or BigTIFF, by the first bytes.
pub(super) fn is(bytes: &[u8]) -> bool {
    [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"].iter().any(|magic| bytes.starts_with(*magic))
}

pub(super) fn decode(bytes: &[u8], reading: &Reading, channel: Option<Channel>) -> Result<Decoded, ImageFault> {
    let mut notes = BTreeSet::new();
    let mut file = File::open(bytes)?;
    let pages = file.pages()?;
    let page = reading.page.unwrap_or(1);
    if page == 0 || page > pages {
        return Err(no_page(page, pages));
    }
    if pages > 1 && reading.page.is_none() {
        notes.insert(ReadNote::Page { pages });
    }
    file.decoder.seek_to_image(page - 1).map_err(failed)?;
    let size = file.decoder.dimensions().map_err(failed)?;
    file.refuse_raw()?;
    let meaning = file.numbers(Tag::PhotometricInterpretation)?.first().copied();
    if meaning == Some(YCBCR) {
        // The decoder hands these values out as they are, and files are met whose values are RGB in truth.
        return Err(ImageFault::Form("YCbCr in a TIFF is not read: save it as RGB, or as a JPEG file".into()));
    }
    let palette = meaning == Some(PALETTE);
    let plain;
    if palette || (meaning == Some(RGB) && matches!(channel, Some(Channel::Band(_)))) {
        plain = bands::plain(bytes, page).ok_or_else(|| ImageFault::Damaged("its directory leads nowhere".into()))?;
        file = File::open(&plain)?;
        file.decoder.seek_to_image(page - 1).map_err(failed)?;
    }
    let form = file.form(size, palette)?;
    let each = form.bytes_a_pixel();
    fits(size, each, bytes, reading)?;
    file = file.with_room(u64::from(size.0) * u64::from(size.1) * each);
    if form.jpeg {
        file.check_strips(reading)?;
    }
    if form.hidden() && channel.is_some() && !matches!(channel, Some(Channel::Band(_))) {
        notes.insert(ReadNote::Bands { shown: form.shown, count: form.count });
    }
    let (full, signed) = (form.full, form.signed);
    let image = match (page, channel) {
        (1, None | Some(Channel::Luma | Channel::Red | Channel::Mean | Channel::Max)) if form.known => {
            let mut decoder = TiffDecoder::new(Cursor::new(bytes)).map_err(damaged)?;
            let mut limits = image::Limits::no_limits();
            limits.max_alloc = Some(u64::from(size.0) * u64::from(size.1) * each + DIRECTORY);
            decoder.set_limits(limits).map_err(damaged)?;
            upright(decoder, None)?.image
        }
        _ => file.image(&form, channel)?,
    };
    notes.extend(full.map(ReadNote::Full));
    let picked = matches!(channel, Some(Channel::Band(_))) && !palette;
    Ok(Decoded { image, notes, picked, full: full.or(signed.then_some(SIGNED)), exif: None })
}

/// What values may mean (PhotometricInterpretation).
const RGB: u64 = 2;
const PALETTE: u64 = 3;
const YCBCR: u64 = 6;

/// Tags of raw files of cameras: the version of DNG, and sensor values that stand in directories below.
const DNG_VERSION: Tag = Tag::Unknown(50706);
const SUB_DIRECTORIES: Tag = Tag::Unknown(330);

/// What a page holds.
struct Form {
    size: (u32, u32),
    color: ColorType,
    /// Whether values are places in a palette.
    palette: bool,
    /// How many values a pixel has, and how many of them are shown: gray, or red, green and blue.
    count: usize,
    shown: usize,
    /// Whether what is not shown is transparency.
    alpha: bool,
    jpeg: bool,
    /// The largest value by the tags.
    full: Option<u16>,
    /// Whether values are signed, of 16 bits.
    signed: bool,
    /// Whether `image` decodes it rightly.
    known: bool,
    orientation: Orientation,
}

/// Memory for a page's directory, whatever the file's length, and for each value in it.
const DIRECTORY: u64 = 1 << 20;
const VALUE: u64 = 40;
/// How much longer than the file its parts may be, each with the tables that all share.
const TABLES: u64 = 16;

impl Form {
    /// Bytes of memory that a pixel takes until it is one of 8 bits: its values as they are, and those that are taken.
    fn bytes_a_pixel(&self) -> u64 {
        let values = self.count.max(self.shown).max(1) as u64;
        values * u64::from(self.color.bit_depth()).div_ceil(8) + 2 * 3
    }

    /// Whether there are bands that nobody would expect to be dropped.
    fn hidden(&self) -> bool {
        self.count > self.shown && !self.alpha
    }
}

struct File<'a> {
    bytes: &'a [u8],
    decoder: Decoder<Cursor<&'a [u8]>>,
}

fn failed(error: tiff::TiffError) -> ImageFault {
    match error {
        tiff::TiffError::UnsupportedError(error) => {
            ImageFault::Form(format!("a form of TIFF that is not read ({})", short(&error)))
        }
        error => ImageFault::Damaged(short(&error)),
    }
}

impl<'a> File<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, ImageFault> {
        let decoder = Decoder::new(Cursor::new(bytes)).map_err(failed)?;
        Ok(Self { bytes, decoder }.with_room(0))
    }

    /// The same, with memory for so many bytes of pixels, beside what its directories may take: a file has no more values in
    /// them than bytes.
    fn with_room(self, pixels: u64) -> Self {
        let directory = DIRECTORY.saturating_add(VALUE * self.bytes.len() as u64);
        let mut limits = Limits::unlimited();
        limits.decoding_buffer_size = usize::try_from(pixels.max(directory)).unwrap_or(usize::MAX);
        limits.intermediate_buffer_size = limits.decoding_buffer_size;
        Self { decoder: self.decoder.with_limits(limits), ..self }
    }

    fn pages(&mut self) -> Result<usize, ImageFault> {
        let mut pages = 1;
        while pages < PAGES && self.decoder.more_images() {
            // A page whose header cannot be read is none that could be taken.
            if self.decoder.next_image().is_err() {
                break;
            }
            pages += 1;
        }
        Ok(pages)
    }

    /// The first page of a raw file is a small preview.
    fn refuse_raw(&mut self) -> Result<(), ImageFault> {
        let reduced = self.numbers(Tag::NewSubfileType)?.first().is_some_and(|kind| kind & 1 == 1);
        let raw = self.bytes.get(8..10) == Some(b"CR")
            || self.decoder.find_tag(DNG_VERSION).map_err(failed)?.is_some()
            || (reduced && self.decoder.find_tag(SUB_DIRECTORIES).map_err(failed)?.is_some());
        match raw {
            true => Err(ImageFault::Kind("a camera's raw file".into())),
            false => Ok(()),
        }
    }

    fn numbers(&mut self, tag: Tag) -> Result<Vec<u64>, ImageFault> {
        Ok(self.decoder.find_tag_unsigned_vec(tag).map_err(failed)?.unwrap_or_default())
    }

    fn form(&mut self, size: (u32, u32), palette: bool) -> Result<Form, ImageFault> {
        let color = self.decoder.colortype().map_err(failed)?;
        let count = self.numbers(Tag::SamplesPerPixel)?.first().map_or(1, |count| *count as usize);
        let shown = match color {
            ColorType::Gray(_) | ColorType::GrayA(_) => 1,
            ColorType::Multiband { .. } => 0,
            ColorType::CMYK(_) | ColorType::CMYKA(_) => 4,
            _ => 3,
        };
        let alpha = matches!(color, ColorType::GrayA(_) | ColorType::RGBA(_));
        let compression = self.numbers(Tag::Compression)?;
        let jpeg = compression.first() == Some(&u64::from(CompressionMethod::ModernJPEG.to_u16()));
        let formats = self.numbers(Tag::SampleFormat)?;
        let integers = formats.iter().all(|format| *format == 1);
        let signed = color.bit_depth() == 16 && formats.first() == Some(&2);
        let known = integers
            && !jpeg
            && !palette
            && matches!(
                color,
                ColorType::Gray(1 | 8 | 16)
                    | ColorType::GrayA(8 | 16)
                    | ColorType::RGB(8 | 16)
                    | ColorType::RGBA(8 | 16)
                    | ColorType::CMYK(8 | 16)
            );
        let full = self.numbers(Tag::Unknown(281))?.into_iter().max();
        // Some files have the largest of their own values there; what a sensor can give is one less than a power of two.
        let full = full.and_then(|full| u16::try_from(full).ok());
        let full = full.filter(|full| (256..u16::MAX).contains(full) && (full + 1).is_power_of_two());
        let orientation = self.numbers(Tag::Orientation)?.first().and_then(|value| u8::try_from(*value).ok());
        let orientation = orientation.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms);
        Ok(Form { size, color, palette, count, shown, alpha, jpeg, full, signed, known, orientation })
    }

    /// Each strip or tile of a JPEG in a TIFF is a file of its own but for its tables, and is checked like one.
    fn check_strips(&mut self, reading: &Reading) -> Result<(), ImageFault> {
        let tables = self.decoder.find_tag(Tag::JPEGTables).map_err(failed)?;
        let tables = tables.map(|value| value.into_u8_vec()).transpose().map_err(failed)?.unwrap_or_default();
        let tables = tables.strip_suffix(b"\xff\xd9").unwrap_or(&tables).to_vec();
        let pairs = [(Tag::StripOffsets, Tag::StripByteCounts), (Tag::TileOffsets, Tag::TileByteCounts)];
        for (offsets, lengths) in pairs {
            let (offsets, lengths) = (self.numbers(offsets)?, self.numbers(lengths)?);
            let sum = lengths
                .iter()
                .fold(0u64, |sum, length| sum.saturating_add(tables.len() as u64).saturating_add(*length));
            if sum > DIRECTORY + TABLES * self.bytes.len() as u64 {
                return Err(ImageFault::Damaged("its parts are longer than the file".into()));
            }
            for (offset, length) in offsets.into_iter().zip(lengths) {
                let end = offset.saturating_add(length);
                let strip = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
                let strip = strip.and_then(|(start, end)| self.bytes.get(start..end));
                let strip = strip.ok_or_else(|| ImageFault::Damaged("a part lies beyond the file's end".into()))?;
                let whole = match tables.is_empty() {
                    true => strip.to_vec(),
                    false => [&tables, strip.strip_prefix(b"\xff\xd8").unwrap_or(strip)].concat(),
                };
                fits(jpeg::size(&whole)?, JPEG, self.bytes, reading)?;
                jpeg::check(&whole)?;
            }
        }
        Ok(())
    }

    /// The page, upright; of several bands that of `channel`.
    fn image(&mut self, form: &Form, channel: Option<Channel>) -> Result<DynamicImage, ImageFault> {
        let mut buffer = DecodingResult::U8(Vec::new());
        let layout = self.decoder.read_image_to_buffer(&mut buffer).map_err(failed)?;
        let planar = layout.planes > 1;
        let bands = self.bands(form, channel)?;
        let pick = Pick { form, bands: &bands, planar };
        let mut image = match (form.color, buffer) {
            (ColorType::Gray(8), DecodingResult::U8(values)) if form.palette => self.coloured(form, &values)?,
            (_, _) if form.color.bit_depth() < 8 => {
                return Err(ImageFault::Form(
                    "a TIFF of fewer than 8 bits a value is read only if it has 1 and one page: save it as PNG".into(),
                ));
            }
            (_, DecodingResult::U8(values)) => pick.eight(&values),
            (_, DecodingResult::U16(values)) => pick.sixteen(&values),
            (_, DecodingResult::I16(values)) => pick.sixteen(&unsigned(&values)?),
            (_, DecodingResult::F16(values)) => pick.sixteen(&fractions(values.iter().map(|value| value.to_f64()))?),
            (_, DecodingResult::F32(values)) => pick.sixteen(&fractions(values.iter().map(|value| f64::from(*value)))?),
            (_, DecodingResult::F64(values)) => pick.sixteen(&fractions(values.iter().copied())?),
            _ => return Err(ImageFault::Form(format!("values of {:?} in a TIFF are not read", form.color))),
        }
        .ok_or_else(|| ImageFault::Damaged("pixels are missing".into()))?;
        image.apply_orientation(form.orientation);
        Ok(image)
    }

    /// The places of the values that make the image: one or three.
    fn bands(&self, form: &Form, channel: Option<Channel>) -> Result<Vec<usize>, ImageFault> {
        match (channel, form.color) {
            _ if form.palette => Ok(vec![0]),
            (Some(Channel::Band(number)), _) if number <= form.count => Ok(vec![number - 1]),
            (Some(Channel::Band(number)), _) => {
                let count = form.count;
                Err(ImageFault::Form(format!(
                    "there is no band {number}: the file has {count}; choose another channel"
                )))
            }
            (_, ColorType::Multiband { .. }) if form.count > 1 => {
                let count = form.count;
                Err(ImageFault::Form(format!(
                    "the file has {count} bands: say which by channel = 1 to {count}, or --channel of colorize"
                )))
            }
            (_, ColorType::CMYK(_) | ColorType::CMYKA(_) | ColorType::Lab(_)) => {
                Err(ImageFault::Form(format!("{:?} in a TIFF of this form is not read: save it as RGB", form.color)))
            }
            _ => Ok((0..form.shown.max(1)).collect()),
        }
    }

    /// Places in a palette as their colours.
    fn coloured(&mut self, form: &Form, values: &[u8]) -> Result<Option<DynamicImage>, ImageFault> {
        // All reds, all greens, all blues, in 16 bits.
        let map = self.numbers(Tag::ColorMap)?;
        let entries = map.len() / 3;
        let mut pixels = Vec::with_capacity(3 * values.len());
        for &value in values {
            for colour in 0..3 {
                let level = map.get(colour * entries + usize::from(value)).filter(|_| usize::from(value) < entries);
                let level = level.ok_or_else(|| ImageFault::Damaged("a colour that its palette lacks".into()))?;
                pixels.push((level >> 8) as u8);
            }
        }
        Ok(ImageBuffer::from_raw(form.size.0, form.size.1, pixels).map(DynamicImage::ImageRgb8))
    }
}

/// Takes some bands of a page.
struct Pick<'a> {
    form: &'a Form,
    bands: &'a [usize],
    /// Whether the bands lie one after the other.
    planar: bool,
}

impl Pick<'_> {
    fn of<T: Copy>(&self, values: &[T]) -> Vec<T> {
        let pixels = self.form.size.0 as usize * self.form.size.1 as usize;
        let count = values.len() / pixels.max(1);
        let at = |pixel: usize, band: usize| if self.planar { band * pixels + pixel } else { pixel * count + band };
        (0..pixels)
            .flat_map(|pixel| self.bands.iter().filter_map(move |&band| values.get(at(pixel, band)).copied()))
            .collect()
    }

    fn eight(&self, values: &[u8]) -> Option<DynamicImage> {
        let ((width, height), values) = (self.form.size, self.of(values));
        match self.bands.len() {
            1 => ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageLuma8),
            _ => ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageRgb8),
        }
    }

    fn sixteen(&self, values: &[u16]) -> Option<DynamicImage> {
        let ((width, height), values) = (self.form.size, self.of(values));
        match self.bands.len() {
            1 => ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageLuma16),
            _ => ImageBuffer::from_raw(width, height, values).map(DynamicImage::ImageRgb16),
        }
    }
}

/// The largest signed value.
const SIGNED: u16 = 32767;

/// Signed values, of which none may be negative.
fn unsigned(values: &[i16]) -> Result<Vec<u16>, ImageFault> {
    match values.iter().min() {
        Some(least) if *least < 0 => {
            Err(ImageFault::Form(format!("there is a value of {least}: signed values are read from 0 to 32767")))
        }
        _ => Ok(values.iter().map(|value| value.unsigned_abs()).collect()),
    }
}

/// Floating-point values from 0 to 1, in steps of 1/65535.
fn fractions(values: impl Iterator<Item = f64> + Clone) -> Result<Vec<u16>, ImageFault> {
    let outside = values.clone().find(|value| !(0.0..=1.0).contains(value));
    match outside {
        Some(value) => Err(ImageFault::Form(format!(
            "there is a value of {value}: floating-point values are read from 0 to 1; divide by the largest there can be"
        ))),
        None => Ok(values.map(|value| (value * 65535.0).round() as u16).collect()),
    }
}
