//! Photographs that are not square.

use crate::pillow;
use image::{Pixel, imageops};
use serde::Deserialize;
use std::fmt;

/// How photographs that are not square become so, in training and in scoring: networks are trained on squares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// The centre is taken: as large a square as there is.
    #[default]
    Crop,
    /// The longer side is pressed together when the image is brought to size.
    Squeeze,
    /// The shorter side is made as long as the longer by mirroring the image at its edges.
    Pad,
}

impl Fit {
    /// A square, or for [`Fit::Squeeze`] the image as it is.
    pub fn square<P: Pixel<Subpixel = u8> + 'static>(self, image: &pillow::Image<P>) -> pillow::Image<P> {
        let (width, height) = image.dimensions();
        if width == height || width == 0 || height == 0 {
            return image.clone();
        }
        let (short, long) = (width.min(height), width.max(height));
        match self {
            Self::Squeeze => image.clone(),
            Self::Crop => imageops::crop_imm(image, (width - short) / 2, (height - short) / 2, short, short).to_image(),
            Self::Pad => {
                let before = ((long - width) / 2, (long - height) / 2);
                pillow::Image::from_fn(long, long, |x, y| {
                    *image.get_pixel(mirrored(x, before.0, width), mirrored(y, before.1, height))
                })
            }
        }
    }

    /// What becomes of an image of this size, if that is not what everyone expects; the same of all sizes, so that it is
    /// told once.
    pub(crate) fn note(self, (width, height): (u32, u32)) -> Option<String> {
        let what = match self {
            Self::Crop => "its centre is taken",
            Self::Pad => "its shorter side is lengthened by mirroring",
            Self::Squeeze => return None,
        };
        (width != height).then(|| format!("not square: {what} (fit = {self} in the description)"))
    }
}

/// The place in a row of `n` pixels that stands at `x` of a longer one, where `before` pixels come first.
fn mirrored(x: u32, before: u32, n: u32) -> u32 {
    let period = 2 * n;
    let place = (x + period * before.div_ceil(period) - before) % period;
    if place < n { place } else { period - 1 - place }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crop => "crop",
            Self::Squeeze => "squeeze",
            Self::Pad => "pad",
        })
    }
}
