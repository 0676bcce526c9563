//! Contrast.

use super::Image;
use image::Pixel;

/// Moves every value away from (`factor` > 1) or towards (`factor` < 1) the image's mean luma
/// (`ImageEnhance.Contrast(image).enhance(factor)`).
///
/// The mean is rounded to an integer first; the blend is in single precision, truncated and clipped to 0..=255.
/// `image`'s `contrast` stretches about mid-gray instead.
pub fn contrast<P: Pixel<Subpixel = u8>>(image: &Image<P>, factor: f32) -> Image<P> {
    let mean = f32::from(mean_luma(image));
    let table: [u8; 256] = std::array::from_fn(|value| (mean + factor * (value as f32 - mean)) as u8);
    let mut changed = image.clone();
    changed.iter_mut().for_each(|value| *value = table[usize::from(*value)]);
    changed
}

fn mean_luma<P: Pixel<Subpixel = u8>>(image: &Image<P>) -> u8 {
    let sum: u64 = image.pixels().map(|pixel| u64::from(super::color::luma_of(pixel.to_rgb().0.map(u32::from)))).sum();
    let count = image.pixels().len().max(1);
    (sum as f64 / count as f64 + 0.5) as u8
}
