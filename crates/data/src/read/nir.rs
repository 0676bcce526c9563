//! Gray of an image.

use super::{Channel, ImageFault};
use crate::pillow;
use image::{DynamicImage, GrayImage, ImageBuffer, Luma, Primitive, Rgb};

/// A near-infrared photograph with the bits that its file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NirImage {
    /// From 0 to 255.
    Bits8(GrayImage),
    /// From 0 to 65535.
    Bits16(ImageBuffer<Luma<u16>, Vec<u16>>),
}

impl NirImage {
    /// Width and height in pixels.
    pub fn dimensions(&self) -> (u32, u32) {
        match self {
            Self::Bits8(image) => image.dimensions(),
            Self::Bits16(image) => image.dimensions(),
        }
    }
}

impl From<GrayImage> for NirImage {
    fn from(image: GrayImage) -> Self {
        Self::Bits8(image)
    }
}

impl From<ImageBuffer<Luma<u16>, Vec<u16>>> for NirImage {
    fn from(image: ImageBuffer<Luma<u16>, Vec<u16>>) -> Self {
        Self::Bits16(image)
    }
}

/// [`gray`] with the bits of the image.
pub(super) fn nir(image: DynamicImage, channel: Channel, picked: bool) -> Result<NirImage, ImageFault> {
    let wide = image.color().bytes_per_pixel() / image.color().channel_count() > 1;
    match (wide, colour(&image, channel, picked)?) {
        (false, false) => Ok(image.into_luma8().into()),
        (false, true) => Ok(of_rgb(&image.into_rgb8(), channel).into()),
        (true, false) => Ok(image.into_luma16().into()),
        (true, true) => Ok(of_rgb(&image.into_rgb16(), channel).into()),
    }
}

/// Of a colour image what `channel` says, of a gray one the gray, in 8 bits; `picked` if it is that band already.
pub(super) fn gray(image: DynamicImage, channel: Channel, picked: bool) -> Result<GrayImage, ImageFault> {
    match colour(&image, channel, picked)? {
        false => Ok(image.into_luma8()),
        true => Ok(of_rgb(&image.into_rgb8(), channel)),
    }
}

/// Whether something of a colour image is to be taken.
fn colour(image: &DynamicImage, channel: Channel, picked: bool) -> Result<bool, ImageFault> {
    let bands = if image.color().has_color() { 3 } else { 1 };
    match channel {
        Channel::Band(number) if number > bands && !picked => {
            Err(ImageFault::Form(format!("there is no band {number}: the image has {bands}; choose another channel")))
        }
        _ => Ok(bands > 1 && !picked),
    }
}

fn of_rgb<T>(rgb: &ImageBuffer<Rgb<T>, Vec<T>>, channel: Channel) -> ImageBuffer<Luma<T>, Vec<T>>
where
    T: Primitive + Ord + Into<u32> + TryFrom<u32>,
    Rgb<T>: image::Pixel<Subpixel = T>,
    Luma<T>: image::Pixel<Subpixel = T>,
{
    // Neither is larger than the largest of the three.
    let narrow = |level: u32| T::try_from(level).unwrap_or(T::DEFAULT_MAX_VALUE);
    let level = |levels: [T; 3]| match channel {
        Channel::Luma => narrow(pillow::luma_of(levels.map(Into::into))),
        Channel::Red | Channel::Band(1) => levels[0],
        Channel::Band(2) => levels[1],
        Channel::Band(_) => levels[2],
        Channel::Max => levels[0].max(levels[1]).max(levels[2]),
        Channel::Mean => narrow((levels.map(Into::<u32>::into).iter().sum::<u32>() + 1) / 3),
    };
    ImageBuffer::from_fn(rgb.width(), rgb.height(), |x, y| Luma([level(rgb.get_pixel(x, y).0)]))
}
