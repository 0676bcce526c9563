//! Trained weights that colorize photographs.

use crate::levels::{Level, Scale};
use crate::lightness::Lightness;
use crate::options::{Depth, Options, Tiles};
use crate::photograph::Photograph;
use crate::picture::{Colours, Picture};
use crate::plane::{Plane, within};
use crate::tiles::tiled;
use crate::{ColorizeError, NotFinite, Trained};
use candle_core::{DType, Device, Tensor};
use colormamba_data::{NirHsv, NirImage};
use colormamba_lite::GuidedMaps;
use colormamba_ops::{logits, offset_gain};
use colormamba_training::{LocalColour, TrainedNetwork, WeightFile};
use std::borrow::Cow;
use std::path::Path;

/// Windows of the guided fit reach so many pixels of the small image to every side.
const RADIUS: usize = 2;

/// Pixels by which what the network sees is continued at every side, for its coefficients alone: a network that pads
/// with zeros sees the border of what it is given, and a photograph would show it as a frame.
const MARGIN: usize = 32;

/// The variance of the NIR image, whose values go from 0 to 1, below which a window counts as flat.
const FLAT: f32 = 1e-4;

/// The file of [`built_in`].
pub const BUILT_IN: &[u8] = include_bytes!("../model/lite.safetensors");

/// The weights that are part of the library: a network of kind `lite`, in f16. `model/README.md` says what they were
/// trained on, what they reach, and where they fail.
///
/// # Errors
/// If there is no memory for them.
pub fn built_in(device: &Device) -> Result<WeightFile, ColorizeError> {
    Ok(WeightFile::of_bytes(Path::new("the weights of the program"), BUILT_IN, device)?)
}

/// Trained weights that colorize photographs of any size.
pub struct Colorizer {
    network: TrainedNetwork,
    trained: Trained,
}

impl Colorizer {
    /// Of a checkpoint of a run, or of published weights.
    ///
    /// # Errors
    /// [`ColorizeError::Weights`] and [`ColorizeError::Header`] name the file and what is wrong with it.
    pub fn load(path: &Path, device: &Device) -> Result<Self, ColorizeError> {
        Self::of(&WeightFile::load(path, device)?, None)
    }

    /// Of the weights that are part of the library, [`built_in`].
    ///
    /// # Errors
    /// If there is no memory for them.
    pub fn built_in(device: &Device) -> Result<Self, ColorizeError> {
        Self::of(&built_in(device)?, None)
    }

    /// Of the content of such a file; `name` is for errors.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_bytes(
        name: &Path,
        content: impl Into<Cow<'static, [u8]>>,
        device: &Device,
    ) -> Result<Self, ColorizeError> {
        Self::of(&WeightFile::of_bytes(name, content, device)?, None)
    }

    /// Of weights that were read. Activations are of the given type, or of that of the images, f32.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn of(file: &WeightFile, activations: Option<DType>) -> Result<Self, ColorizeError> {
        let trained = Trained::of(file.path(), &file.metadata)?;
        Ok(Self { network: file.network(activations)?, trained })
    }

    /// Whether the network gives local coefficients, so that tiles mean nothing to it.
    pub fn is_local(&self) -> bool {
        self.network.local().is_some()
    }

    /// A photograph in colour. The result is a function of weights, photograph and options alone: not of threads, nor
    /// of what was colorized before.
    ///
    /// # Errors
    /// [`ColorizeError::Options`] for options that mean nothing or do not apply, [`ColorizeError::Empty`] for a
    /// photograph without pixels, [`ColorizeError::NotFinite`] for weights that are of no use, and what the network
    /// refuses.
    pub fn colorize(&self, nir: &NirImage, options: &Options) -> Result<Picture, ColorizeError> {
        options.check()?;
        if options.tiles.is_some() && self.is_local() {
            let text = "the network gives local coefficients for the whole photograph: it takes no tiles";
            return Err(ColorizeError::Options(text.into()));
        }
        let (width, height) = nir.dimensions();
        if width == 0 || height == 0 {
            return Err(ColorizeError::Empty);
        }
        let size = (width as usize, height as usize);
        match nir {
            NirImage::Bits8(image) => self.of_levels(image.as_raw(), size, options, Depth::Eight),
            NirImage::Bits16(image) => self.of_levels(image.as_raw(), size, options, Depth::Sixteen),
        }
    }

    fn of_levels<T: Level>(
        &self,
        levels: &[T],
        size: (usize, usize),
        options: &Options,
        depth: Depth,
    ) -> Result<Picture, ColorizeError> {
        let photograph = Photograph::new(levels, size, self.trained.protocol);
        let colours = self.colours(&photograph, options)?;
        let lightness = options.keep_luma.then(Lightness::of::<T>);
        Ok(colours.picture(&photograph, lightness.as_ref(), options.depth.unwrap_or(depth)))
    }

    fn colours<T: Level>(&self, photograph: &Photograph<T>, options: &Options) -> Result<Colours, ColorizeError> {
        let side = options.working_side.unwrap_or(self.trained.size as usize).max(1);
        let (size, small) = (photograph.size(), within(photograph.size(), side));
        let network = Averaged { colorizer: self, scale: &photograph.scale, mirror: options.mirror };
        if size == small || options.tiles.is_some() {
            let plane = Plane::of(photograph.levels, size);
            return Ok(Colours::Planes(match (self.network.local(), options.tiles) {
                (Some(local), _) => {
                    let framed = network.coefficients(local, &plane.framed(MARGIN))?;
                    self.offset_gain(local, &photograph.scale, &plane, plane.unframed(&framed, MARGIN))?
                }
                (None, tiles) => network.tiled(&plane, tiles)?,
            }));
        }
        let plane = Plane::shrunk(photograph.levels, size, small);
        let guide: Vec<f32> = plane.levels.iter().map(|&level| photograph.scale.nir(level.into())).collect();
        let fit = |maps: &[f32]| {
            let maps: Vec<&[f32]> = maps.chunks_exact(guide.len()).collect();
            GuidedMaps::fit(&maps, &guide, small, RADIUS, FLAT)
        };
        Ok(match self.network.local() {
            Some(local) => {
                let framed = network.coefficients(local, &plane.framed(MARGIN))?;
                let maps = fit(&plane.unframed(&framed, MARGIN));
                Colours::OffsetGain { maps, logits: logits(&photograph.values, local.darkest()) }
            }
            None => Colours::Line(fit(&network.tiled(&plane, None)?)),
        })
    }

    /// The picture that coefficients make of a plane, as the network itself does.
    fn offset_gain(
        &self,
        local: &dyn LocalColour,
        scale: &Scale,
        plane: &Plane,
        coefficients: Vec<f32>,
    ) -> Result<Vec<f32>, ColorizeError> {
        let nir = self.tensor(plane, |level| scale.nir(level))?;
        let shape = (1, coefficients.len() / plane.levels.len(), plane.height, plane.width);
        let coefficients = Tensor::from_vec(coefficients, shape, self.network.device())?;
        flat(offset_gain(&nir, &coefficients, local.darkest())?.value())
    }

    /// `(1, 1, H, W)` of what becomes of the levels.
    fn tensor(&self, plane: &Plane, value: impl Fn(f64) -> f32) -> Result<Tensor, ColorizeError> {
        let values: Vec<f32> = plane.levels.iter().map(|&level| value(level.into())).collect();
        Ok(Tensor::from_vec(values, (1, 1, plane.height, plane.width), self.network.device())?)
    }
}

/// A network whose output may be the mean over an image and its mirror image.
struct Averaged<'a> {
    colorizer: &'a Colorizer,
    scale: &'a Scale,
    mirror: bool,
}

impl Averaged<'_> {
    /// Six planes.
    fn coefficients(&self, local: &dyn LocalColour, plane: &Plane) -> Result<Vec<f32>, ColorizeError> {
        self.mean(plane, |plane| {
            let nir = self.colorizer.tensor(plane, |level| self.scale.nir(level))?;
            flat(&local.coefficients(&nir)?)
        })
    }

    /// Three planes, of tiles or of the whole at once.
    fn tiled(&self, plane: &Plane, tiles: Option<Tiles>) -> Result<Vec<f32>, ColorizeError> {
        let whole = Tiles { side: plane.width.max(plane.height), overlap: 0 };
        let grid = self.colorizer.network.grid();
        tiled(plane, tiles.unwrap_or(whole), grid, |piece| self.mean(piece, |piece| self.picture(piece)))
    }

    fn picture(&self, plane: &Plane) -> Result<Vec<f32>, ColorizeError> {
        let Self { colorizer, scale, .. } = self;
        let nir = colorizer.tensor(plane, |level| scale.nir(level))?;
        let value = match colorizer.trained.nir_hsv {
            NirHsv::Gray => nir.clone(),
            NirHsv::Published => colorizer.tensor(plane, |level| scale.published_value(level))?,
        };
        flat(&colorizer.network.picture(&nir, &value.pad_with_zeros(1, 2, 0)?)?)
    }

    fn mean(
        &self,
        plane: &Plane,
        f: impl Fn(&Plane) -> Result<Vec<f32>, ColorizeError>,
    ) -> Result<Vec<f32>, ColorizeError> {
        let mut values = f(plane)?;
        if self.mirror {
            let mut mirror = plane.clone();
            flip(&mut mirror.levels, plane.width);
            let mut other = f(&mirror)?;
            flip(&mut other, plane.width);
            values.iter_mut().zip(other).for_each(|(value, other)| *value = 0.5 * (*value + other));
        }
        Ok(values)
    }
}

/// Turns every row around.
fn flip(values: &mut [f32], width: usize) {
    values.chunks_exact_mut(width).for_each(<[f32]>::reverse);
}

/// The values of a network's output.
fn flat(output: &Tensor) -> Result<Vec<f32>, ColorizeError> {
    let values: Vec<f32> = output.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
    if values.iter().all(|value| value.is_finite()) { Ok(values) } else { Err(NotFinite.into()) }
}
