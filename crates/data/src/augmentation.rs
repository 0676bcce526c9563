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
    /// A square cut out at random; `None` keeps the whole.
    pub crop: Option<Crop>,
    /// Largest magnitude of ln γ, where the NIR image alone becomes `levels^γ` and ln γ is uniform: what another exposure
    /// or another camera's tone curve would change. 0 leaves it.
    pub tone: f64,
    /// Width and height that the square is resized to, in pixels; `None` for those of the preparation. Smaller than in
    /// evaluation, things look smaller in training than crops alone make them look (Touvron et al., arXiv 1906.06423).
    pub size: Option<u32>,
}

/// The side of a square that is cut out at random.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Crop {
    /// In pixels.
    Side(u32),
    /// A share of the image's shorter side, uniform between two of `(0, 1]`: scenes of other distances.
    Share(f64, f64),
}

impl Crop {
    /// The side in an image whose shorter side is `shorter` pixels, for `u` from `[0, 1)`.
    fn side(self, shorter: u32, u: f64) -> u32 {
        match self {
            Self::Side(side) => side,
            // Rounded, and the last pixel is never cut away.
            Self::Share(low, high) => ((low + u * (high - low)) * f64::from(shorter)).round().max(1.0) as u32,
        }
    }
}

impl Augmentation {
    /// As ColorMamba (arXiv 2408.08087) was trained: ½, ½, 200 of 256 pixels.
    pub fn published() -> Self {
        Self { mirror: 0.5, contrast: 0.5, crop: Some(Crop::Side(200)), tone: 0.0, size: None }
    }

    /// Nothing is changed.
    pub fn none() -> Self {
        Self { mirror: 0.0, contrast: 0.0, crop: None, tone: 0.0, size: None }
    }

    /// Draws what happens to one pair. Always as many random numbers, so that switching one change off leaves the
    /// others as they were.
    pub(crate) fn draw(&self, pair: &ImagePair, rng: &mut ChaCha8Rng) -> Result<Change, DataError> {
        let (width, height) = pair.rgb.dimensions();
        let mirror = rng.random::<f64>() < self.mirror;
        let contrasted = rng.random::<f64>() < self.contrast;
        let factor = rng.random_range(0.5..1.5f32);
        let (right, down) = (rng.random::<f64>(), rng.random::<f64>());
        let (share, tone) = (rng.random::<f64>(), rng.random_range(-1.0..=1.0));
        let side = self.crop.map(|crop| crop.side(width.min(height), share));
        if let Some(side) = side.filter(|side| *side == 0 || *side > width.min(height)) {
            let needed = format!("the augmentation crops {side}x{side}; set another crop, or none");
            return Err(DataError::WrongSize { name: pair.name.clone(), size: (width, height), needed });
        }
        // `as u32` of a value in [0, free + 1) is in 0..=free.
        let place = |u: f64, free: u32| (u * (f64::from(free) + 1.0)) as u32;
        let crop = side.map(|side| (place(right, width - side), place(down, height - side), side));
        let gamma = (self.tone > 0.0).then(|| (self.tone * tone).exp());
        Ok(Change { mirror, factor: contrasted.then_some(factor), crop, gamma })
    }
}

/// What [`Augmentation::draw`] decided for one pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    mirror: bool,
    factor: Option<f32>,
    /// Left, top, side.
    crop: Option<(u32, u32, u32)>,
    /// The power of the NIR image's levels.
    gamma: Option<f64>,
}

/// A pair, and the NIR image once more with the RGB image's contrast.
pub(crate) struct Changed {
    pub nir: GrayImage,
    pub nir_contrasted: GrayImage,
    pub rgb: RgbImage,
}

impl Change {
    pub(crate) const NONE: Change = Change { mirror: false, factor: None, crop: None, gamma: None };

    /// Mirror, tone, contrast, crop, in this order: the contrast turns about the mean of the whole image.
    pub(crate) fn apply(&self, pair: &ImagePair) -> Changed {
        let nir = self.toned(self.mirrored(&pair.nir));
        Changed {
            nir_contrasted: self.cropped(self.contrasted(nir.clone())),
            nir: self.cropped(nir),
            rgb: self.cropped(self.contrasted(self.mirrored(&pair.rgb))),
        }
    }

    fn mirrored<P: image::Pixel<Subpixel = u8> + 'static>(&self, image: &pillow::Image<P>) -> pillow::Image<P> {
        if self.mirror { flip_horizontal(image) } else { image.clone() }
    }

    fn toned(&self, mut nir: GrayImage) -> GrayImage {
        if let Some(gamma) = self.gamma {
            let level = |level: usize| ((level as f64 / 255.0).powf(gamma) * 255.0).round() as u8;
            let levels: [u8; 256] = std::array::from_fn(level);
            nir.iter_mut().for_each(|value| *value = levels[usize::from(*value)]);
        }
        nir
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
