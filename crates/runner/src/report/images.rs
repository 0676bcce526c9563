//! Pictures: single predictions, and a sheet that shows them side by side.

use crate::system::files::write_whole;
use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use font8x8::UnicodeFonts;
use image::imageops::FilterType;
use image::{ImageFormat, Rgb, RgbImage};
use std::io::Cursor;
use std::path::Path;

/// `(3, H, W)` or `(1, H, W)` in `[0, 1]` as 8-bit RGB; values outside are cut off.
///
/// # Errors
/// If the tensor has another shape.
pub fn from_tensor(image: &Tensor) -> Result<RgbImage> {
    let (channels, height, width) = image.dims3()?;
    let values: Vec<f32> = image.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
    let plane = height * width;
    let byte = |v: f32| (v.clamp(0.0, 1.0) * 255.0).round() as u8;
    let pixel = |x: u32, y: u32| {
        let at = y as usize * width + x as usize;
        Rgb(std::array::from_fn(|c| byte(values[c.min(channels - 1) * plane + at])))
    };
    Ok(RgbImage::from_fn(width as u32, height as u32, pixel))
}

/// Writes a PNG, whole or not at all.
///
/// # Errors
/// Names the file.
pub fn write_png(path: &Path, image: &RgbImage) -> Result<()> {
    write_whole(path, &png(image).with_context(|| path.display().to_string())?)
}

/// The bytes of a PNG file.
///
/// # Errors
/// If the image cannot be encoded.
pub fn png(image: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).context("cannot encode a PNG")?;
    Ok(bytes.into_inner())
}

/// A tile of that width and height in the place of an image that cannot be shown: gray, with a word on it.
pub fn placeholder(word: &str, size: Option<(u32, u32)>) -> RgbImage {
    let mut tile = RgbImage::from_pixel(WIDTH, WIDTH, Rgb([200; 3]));
    write_label(&mut tile, GUTTER, (WIDTH - GLYPH) / 2, word, WIDTH - 2 * GUTTER);
    let (width, height) = size.unwrap_or((WIDTH, WIDTH));
    image::imageops::resize(&tile, width, height, FilterType::Nearest)
}

const GUTTER: u32 = 4;
const GLYPH: u32 = 8;

/// Small images are enlarged to at least this width, so that there is room for their labels.
const WIDTH: u32 = 128;

/// Images in rows under a line of labels, on white. All images have the size of the first.
pub fn sheet(labels: &[String], rows: &[Vec<RgbImage>]) -> RgbImage {
    let (width, height) = rows.first().and_then(|row| row.first()).map_or((1, 1), RgbImage::dimensions);
    let scale = WIDTH.div_ceil(width.max(1));
    let (width, height) = (scale * width, scale * height);
    let top = 2 * GUTTER + GLYPH;
    let place = |row: usize, column: usize| (column as u32 * (width + GUTTER), top + row as u32 * (height + GUTTER));
    let (right, bottom) = place(rows.len(), labels.len());
    let mut sheet = RgbImage::from_pixel(right.max(1), bottom.max(1), Rgb([255; 3]));
    for (column, label) in labels.iter().enumerate() {
        write_label(&mut sheet, place(0, column).0, GUTTER, label, width);
    }
    for (y, row) in rows.iter().enumerate() {
        for (x, image) in row.iter().enumerate() {
            let (left, top) = place(y, x);
            let image = image::imageops::resize(image, width, height, FilterType::Nearest);
            image::imageops::replace(&mut sheet, &image, left.into(), top.into());
        }
    }
    sheet
}

/// Writes as much of `text` as fits into `width` pixels. The font has ASCII alone; anything else becomes a blank.
fn write_label(sheet: &mut RgbImage, left: u32, top: u32, text: &str, width: u32) {
    for (i, c) in text.chars().take((width / GLYPH) as usize).enumerate() {
        let glyph = font8x8::BASIC_FONTS.get(c).unwrap_or_default();
        for (y, bits) in glyph.iter().enumerate() {
            for x in (0..GLYPH).filter(|x| bits >> x & 1 == 1) {
                sheet.put_pixel(left + i as u32 * GLYPH + x, top + y as u32, Rgb([0; 3]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_outside_the_range_are_cut_off_and_gray_becomes_rgb() {
        let gray = Tensor::new(&[[[-1.0_f32, 0.5], [1.0, 7.0]]], &Device::Cpu).unwrap();
        let image = from_tensor(&gray).unwrap();
        assert_eq!(image.into_raw(), [0, 0, 0, 128, 128, 128, 255, 255, 255, 255, 255, 255]);
        let planes = Tensor::new(&[[[0.0_f32]], [[1.0]], [[0.2]]], &Device::Cpu).unwrap();
        assert_eq!(from_tensor(&planes).unwrap().into_raw(), [0, 255, 51]);
    }

    #[test]
    fn a_sheet_has_a_labelled_column_per_image() {
        let image = RgbImage::from_pixel(64, 32, Rgb([9; 3]));
        let labels = ["NIR", "a label that is too long"].map(String::from);
        let sheet = sheet(&labels, &[vec![image.clone(), image.clone()], vec![image.clone(), image]]);
        assert_eq!(sheet.dimensions(), (2 * 132, 16 + 2 * 68));
        let red = |x, y| sheet.get_pixel(x, y)[0];
        assert_eq!(
            [red(0, 16), red(127, 79), red(128, 16), red(132, 16), red(0, 80), red(0, 84)],
            [9, 9, 255, 9, 255, 9]
        );
        let inked = |columns: std::ops::Range<u32>| columns.filter(|x| (4..12).any(|y| red(*x, y) == 0)).count();
        assert!(inked(0..24) > 9 && inked(24..132) == 0 && inked(132..260) > 60 && inked(260..264) == 0);
    }
}
