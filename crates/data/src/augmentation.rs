use crate::{DataError, ImagePair, pillow};
use image::imageops::{crop_imm, flip_horizontal};
use image::{GrayImage, RgbImage};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Random changes to training pairs, the same for both images of a pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Augmentation {
    /// Probability of mirroring left and right, in `[0, 1]`.
    pub mirror: f64,
    /// Probability of changing the contrast by a factor from `[0.5, 1.5)`, in `[0, 1]`. Changes the RGB image and the
    /// NIR image's HSV ([`crate::NirHsv::Published`]), never the gray input.
    pub contrast: f64,
    /// Side of a square cut out at random, in pixels; `None` keeps the whole.
    pub crop: Option<u32>,
}

impl Augmentation {
    /// As ColorMamba (arXiv 2408.08087) was trained: ½, ½, 200 of 256 pixels.
    pub fn published() -> Self {
        Self { mirror: 0.5, contrast: 0.5, crop: Some(200) }
    }

    /// Nothing is changed.
    pub fn none() -> Self {
        Self { mirror: 0.0, contrast: 0.0, crop: None }
    }

    /// Draws what happens to one pair. Always as many random numbers, so that switching one change off leaves the
    /// others as they were.
    pub(crate) fn draw(&self, pair: &ImagePair, rng: &mut ChaCha8Rng) -> Result<Change, DataError> {
        let (width, height) = pair.rgb.dimensions();
        let mirror = rng.random::<f64>() < self.mirror;
        let contrasted = rng.random::<f64>() < self.contrast;
        let factor = rng.random_range(0.5..1.5f32);
        let (right, down) = (rng.random::<f64>(), rng.random::<f64>());
        if self.crop.is_some_and(|side| side == 0 || side > width.min(height)) {
            let side = self.crop.unwrap_or_default();
            let needed = format!("the augmentation crops {side}x{side}; set another crop, or none");
            return Err(DataError::WrongSize { name: pair.name.clone(), size: (width, height), needed });
        }
        // `as u32` of a value in [0, free + 1) is in 0..=free.
        let place = |u: f64, free: u32| (u * (f64::from(free) + 1.0)) as u32;
        let crop = self.crop.map(|side| (place(right, width - side), place(down, height - side), side));
        Ok(Change { mirror, factor: contrasted.then_some(factor), crop })
    }
}

/// What [`Augmentation::draw`] decided for one pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    mirror: bool,
    factor: Option<f32>,
    /// Left, top, side.
    crop: Option<(u32, u32, u32)>,
}

/// A pair, and the NIR image once more with the RGB image's contrast.
pub(crate) struct Changed {
    pub nir: GrayImage,
    pub nir_contrasted: GrayImage,
    pub rgb: RgbImage,
}

impl Change {
    pub(crate) const NONE: Change = Change { mirror: false, factor: None, crop: None };

    /// Mirror, contrast, crop, in this order: the contrast turns about the mean of the whole image.
    pub(crate) fn apply(&self, pair: &ImagePair) -> Changed {
        let nir = self.mirrored(&pair.nir);
        Changed {
            nir_contrasted: self.cropped(self.contrasted(nir.clone())),
            nir: self.cropped(nir),
            rgb: self.cropped(self.contrasted(self.mirrored(&pair.rgb))),
        }
    }

    fn mirrored<P: image::Pixel<Subpixel = u8> + 'static>(&self, image: &pillow::Image<P>) -> pillow::Image<P> {
        if self.mirror { flip_horizontal(image) } else { image.clone() }
    }

    fn contrasted<P: image::Pixel<Subpixel = u8>>(&self, image: pillow::Image<P>) -> pillow::Image<P> {
        match self.factor {
            Some(factor) => pillow::contrast(&image, factor),
            None => image,
        }
    }

    fn cropped<P: image::Pixel<Subpixel = u8> + 'static>(&self, image: pillow::Image<P>) -> pillow::Image<P> {
        match self.crop {
            Some((left, top, side)) => crop_imm(&image, left, top, side, side).to_image(),
            None => image,
        }
    }
}
