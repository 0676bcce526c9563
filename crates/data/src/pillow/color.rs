//! Luma and HSV.

use image::{GrayImage, Luma, Rgb, RgbImage};

/// Rec. 601 luma in 16-bit fixed point, rounded to nearest (`convert("L")`).
///
/// `image` uses Rec. 709 weights and truncates, so its `to_luma8` differs.
pub fn luma(rgb: &RgbImage) -> GrayImage {
    map(rgb, |Rgb(levels)| Luma([luma_of(levels.map(u32::from)) as u8]))
}

/// Of levels of up to 16 bits.
pub(crate) fn luma_of([r, g, b]: [u32; 3]) -> u32 {
    // .299, .587, .114 in units of 2^-16; they sum to 2^16, so gray stays itself.
    (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16
}

/// Hue, saturation and value, each 0..=255 (`convert("HSV")`): hue 0..=255 stands for 0..=360 degrees.
///
/// Hue and saturation are truncated, not rounded, and gray has hue 0. `palette` gives hue in degrees, unrounded.
pub fn hsv(rgb: &RgbImage) -> RgbImage {
    map(rgb, hsv_of)
}

/// Single and double precision alternate as in Pillow: the truncated hue depends on it.
fn hsv_of(Rgb([r, g, b]): Rgb<u8>) -> Rgb<u8> {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    if max == min {
        return Rgb([0, 0, max]);
    }
    let chroma = f32::from(max - min);
    let below = |channel: u8| f32::from(max - channel) / chroma;
    let sextant = if r == max {
        below(b) - below(g)
    } else if g == max {
        (2.0 + f64::from(below(r)) - f64::from(below(b))) as f32
    } else {
        (4.0 + f64::from(below(g)) - f64::from(below(r))) as f32
    };
    let hue = ((f64::from(sextant) / 6.0 + 1.0) % 1.0) as f32;
    let saturation = chroma / f32::from(max);
    // `as u8` truncates and saturates.
    Rgb([(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, max])
}

fn map<P: image::Pixel<Subpixel = u8>>(rgb: &RgbImage, f: impl Fn(Rgb<u8>) -> P) -> super::Image<P> {
    super::Image::from_fn(rgb.width(), rgb.height(), |x, y| f(*rgb.get_pixel(x, y)))
}
