use crate::augmentation::{Change, Changed};
use crate::{Augmentation, DataError, ImagePair, Protocol, pillow};
use candle_core::{Device, Tensor};
use image::{GrayImage, Luma, Pixel};
use rand_chacha::ChaCha8Rng;
use strum::{Display, EnumString, VariantNames};

/// How the HSV image of a NIR photograph, `(0, 0, v)`, is made: a second input of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, EnumString, VariantNames)]
#[strum(serialize_all = "lowercase", parse_err_ty = DataError, parse_err_fn = unknown_nir_hsv)]
pub enum NirHsv {
    /// `v` is the gray input.
    Gray,
    /// `v / (max v + 1e-3)`, under either protocol, where `v` has the contrast change that the RGB image got and the
    /// gray input did not: what published weights were trained with.
    Published,
}

impl NirHsv {
    /// Every form.
    pub const ALL: [NirHsv; 2] = [NirHsv::Gray, NirHsv::Published];
}

fn unknown_nir_hsv(word: &str) -> DataError {
    DataError::choice::<NirHsv>("nir_hsv", word)
}

/// From 8-bit photographs to what a network takes and is scored against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preparation {
    /// Images of another size are resized to `size` × `size` pixels ([`pillow::resize`]); `None` keeps theirs.
    pub size: Option<u32>,
    /// The scale of every array.
    pub protocol: Protocol,
    /// How the NIR image's HSV is made.
    pub nir_hsv: NirHsv,
}

/// A pair as tensors: f32 on the CPU, values in `[0, 1]`.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The pair's name.
    pub name: String,
    /// `(1, H, W)`: near infrared.
    pub nir: Tensor,
    /// `(3, H, W)`: HSV of the near infrared, `(0, 0, v)`.
    pub nir_hsv: Tensor,
    /// `(3, H, W)`: colour.
    pub rgb: Tensor,
    /// `(3, H, W)`: HSV of the colour image ([`pillow::hsv`]: a turn of hue is 255 levels), scaled as the others.
    pub hsv: Tensor,
}

impl Preparation {
    /// A pair without random changes.
    ///
    /// # Errors
    /// [`DataError::SizeMismatch`] if the images differ in size, [`DataError::WrongSize`] if they are empty.
    pub fn evaluation(&self, pair: &ImagePair) -> Result<Sample, DataError> {
        check_sizes(pair)?;
        self.sample(pair, &Change::NONE)
    }

    /// A pair with random changes: mirror, contrast and crop, then the resize and the scale of an evaluation.
    ///
    /// # Errors
    /// As [`Self::evaluation`]; and [`DataError::WrongSize`] if the images are smaller than the crop.
    pub fn training(
        &self,
        pair: &ImagePair,
        augmentation: &Augmentation,
        rng: &mut ChaCha8Rng,
    ) -> Result<Sample, DataError> {
        check_sizes(pair)?;
        let at_size = Self { size: augmentation.size.or(self.size), ..*self };
        at_size.sample(pair, &augmentation.draw(pair, rng)?)
    }

    /// The network's inputs from a NIR image alone: the gray image `(1, H, W)` and its HSV `(3, H, W)`.
    ///
    /// # Errors
    /// [`DataError::WrongSize`] if the image is empty.
    pub fn nir(&self, nir: &GrayImage) -> Result<(Tensor, Tensor), DataError> {
        check_not_empty("NIR image", nir.dimensions())?;
        let nir = self.resized(nir);
        Ok((self.scaled(&nir)?, self.hsv_of_nir(&nir, &nir)?))
    }

    fn sample(&self, pair: &ImagePair, change: &Change) -> Result<Sample, DataError> {
        let Changed { nir, nir_contrasted, rgb } = change.apply(pair);
        let (nir, nir_contrasted, rgb) = (self.resized(&nir), self.resized(&nir_contrasted), self.resized(&rgb));
        Ok(Sample {
            name: pair.name.clone(),
            nir: self.scaled(&nir)?,
            nir_hsv: self.hsv_of_nir(&nir, &nir_contrasted)?,
            rgb: self.scaled(&rgb)?,
            hsv: self.scaled(&pillow::hsv(&rgb))?,
        })
    }

    fn resized<P: Pixel<Subpixel = u8>>(&self, image: &pillow::Image<P>) -> pillow::Image<P> {
        match self.size {
            Some(size) => pillow::resize(image, size, size),
            None => image.clone(),
        }
    }

    fn scaled<P: Pixel<Subpixel = u8>>(&self, image: &pillow::Image<P>) -> Result<Tensor, DataError> {
        let levels = self.protocol.levels(image);
        tensor(image, |level| levels[level])
    }

    fn hsv_of_nir(&self, nir: &GrayImage, contrasted: &GrayImage) -> Result<Tensor, DataError> {
        let value = match self.nir_hsv {
            NirHsv::Gray => self.scaled(nir)?,
            // The array (0, 0, v) stretched as a whole: its minimum is 0.
            NirHsv::Published => {
                let (_, max) = range(contrasted);
                tensor::<Luma<u8>>(contrasted, |level| level as f64 / (max + 1e-3))?
            }
        };
        Ok(value.pad_with_zeros(0, 2, 0)?)
    }
}

impl Protocol {
    /// What each of the 256 levels of this image becomes.
    pub fn levels<P: Pixel<Subpixel = u8>>(self, image: &pillow::Image<P>) -> [f64; 256] {
        let (min, span) = self.scale(range(image));
        std::array::from_fn(|level| (level as f64 - min) / span)
    }

    /// What is taken off a level and what the rest is divided by, both in levels of 8 bits, in an image whose smallest and
    /// largest level these are.
    pub fn scale(self, (min, max): (f64, f64)) -> (f64, f64) {
        match self {
            Self::Raw => (0.0, 255.0),
            Self::Minmax => (min, max - min + 1e-3),
        }
    }
}

/// Smallest and largest value over all pixels and channels.
fn range<P: Pixel<Subpixel = u8>>(image: &pillow::Image<P>) -> (f64, f64) {
    let (min, max) = image.iter().fold((u8::MAX, u8::MIN), |(min, max), &v| (min.min(v), max.max(v)));
    (f64::from(min), f64::from(max))
}

/// `(C, H, W)`, each of the 256 levels mapped in f64 and then rounded to f32.
fn tensor<P: Pixel<Subpixel = u8>>(image: &pillow::Image<P>, f: impl Fn(usize) -> f64) -> Result<Tensor, DataError> {
    let table: [f32; 256] = std::array::from_fn(|level| f(level) as f32);
    let channels = usize::from(P::CHANNEL_COUNT);
    let plane = |channel: usize| image.as_raw().iter().skip(channel).step_by(channels);
    let values: Vec<f32> = (0..channels).flat_map(plane).map(|&level| table[usize::from(level)]).collect();
    let shape = (channels, image.height() as usize, image.width() as usize);
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

fn check_sizes(pair: &ImagePair) -> Result<(), DataError> {
    let (nir, rgb) = (pair.nir.dimensions(), pair.rgb.dimensions());
    if nir != rgb {
        return Err(DataError::SizeMismatch { name: pair.name.clone(), input: "NIR".to_string(), nir, rgb });
    }
    check_not_empty(&pair.name, rgb)
}

fn check_not_empty(name: &str, size: (u32, u32)) -> Result<(), DataError> {
    if size.0 == 0 || size.1 == 0 {
        let needed = "at least one pixel is needed".to_string();
        return Err(DataError::WrongSize { name: name.to_string(), size, needed });
    }
    Ok(())
}
