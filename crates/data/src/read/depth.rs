//! Values of 16 bits.

use super::{ImageFault, ReadNote};
use image::DynamicImage;

/// The largest value of an image of 16 bits, transparency left out.
pub(super) fn largest(image: &DynamicImage) -> Option<u16> {
    let of = |values: &[u16], channels: usize, shown: usize| {
        values.chunks_exact(channels).flat_map(|pixel| &pixel[..shown]).copied().max()
    };
    match image {
        DynamicImage::ImageLuma16(image) => of(image, 1, 1),
        DynamicImage::ImageLumaA16(image) => of(image, 2, 1),
        DynamicImage::ImageRgb16(image) => of(image, 3, 3),
        DynamicImage::ImageRgba16(image) => of(image, 4, 3),
        _ => None,
    }
}

/// The image with `full` as white, if its values are of 16 bits and `full` is the largest that there can be; any other as it
/// is. Values are rounded to one of `levels` steps, 255 or 65535.
///
/// # Errors
/// [`ImageFault::Form`] if there is a larger one.
pub(super) fn scaled(image: DynamicImage, full: u16, levels: u16) -> Result<DynamicImage, ImageFault> {
    let Some(largest) = largest(&image) else { return Ok(image) };
    if largest > full {
        return Err(ImageFault::Form(format!(
            "there is a value of {largest}, but the largest is to be {full}: say how many bits the camera has (bits, or \
             --bits of colorize)"
        )));
    }
    let (largest, half) = (u32::from(full.max(1)), u32::from(full / 2));
    let levels = u32::from(levels);
    let level = |value: u16| ((u32::from(value.min(full)) * levels + half) / largest * (65535 / levels)) as u16;
    let mut image = image;
    match &mut image {
        DynamicImage::ImageLuma16(image) => image.iter_mut().for_each(|value| *value = level(*value)),
        DynamicImage::ImageLumaA16(image) => image.iter_mut().for_each(|value| *value = level(*value)),
        DynamicImage::ImageRgb16(image) => image.iter_mut().for_each(|value| *value = level(*value)),
        DynamicImage::ImageRgba16(image) => image.iter_mut().for_each(|value| *value = level(*value)),
        _ => {}
    }
    Ok(image)
}

/// That values of 16 bits whose largest is this may be those of a sensor of fewer bits.
pub(super) fn note(largest: u16) -> Option<ReadNote> {
    let bits = (u16::BITS - largest.leading_zeros()).next_multiple_of(2).max(10);
    (bits < 16).then_some(ReadNote::Low { bits })
}
