//! Predictions against the truth.

use crate::inputs::dataset::{ensure_not_empty, preparation};
use crate::manifest::Data;
use crate::study::record::{ImageScore, JsonNumber, Setting};
use crate::system::interrupt;
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use colormamba_colorize::NotFinite;
use colormamba_data::{Dataset, Preparation, Sample, Split};
use colormamba_features::LoadedMetric;
use colormamba_metrics::{Image, Pair};
use colormamba_training::{Network, TrainedNetwork};

/// The images of a split with all that decides on their scores.
pub struct Scoring<'a> {
    /// Where the images are from.
    pub dataset: &'a dyn Dataset,
    /// Which of them.
    pub split: Split,
    /// How they become tensors.
    pub preparation: Preparation,
    /// What their scores are recorded under.
    pub setting: Setting,
    /// What is measured.
    pub metrics: &'a [LoadedMetric],
}

impl<'a> Scoring<'a> {
    /// Of images that are prepared to squares of `size` pixels.
    pub fn new(
        dataset: &'a dyn Dataset,
        split: Split,
        preparation: Preparation,
        size: u32,
        metrics: &'a [LoadedMetric],
    ) -> Self {
        let setting = Setting::new(dataset, split, preparation.protocol, size);
        Self { dataset, split, preparation, setting, metrics }
    }

    /// As a manifest prepares its images.
    pub fn of(data: &Data, dataset: &'a dyn Dataset, split: Split, metrics: &'a [LoadedMetric]) -> Self {
        Self::new(dataset, split, preparation(data), data.size, metrics)
    }

    /// Scores `predict`, which makes `(3, H, W)` of a prepared pair, on every image.
    ///
    /// # Errors
    /// An image that cannot be read, predicted or measured, by its name; [`interrupt::Interrupted`] between two images.
    pub fn evaluate(&self, mut predict: impl FnMut(&Sample) -> Result<Tensor>) -> Result<Vec<ImageScore>> {
        ensure_not_empty(self.dataset, self.split)?;
        let named = |index: usize| {
            interrupt::check()?;
            let name = || format!("{} image {}", self.split, self.dataset.pair_name(self.split, index));
            self.score(index, &mut predict).with_context(name)
        };
        (0..self.dataset.len(self.split)).map(named).collect()
    }

    fn score(&self, index: usize, predict: &mut impl FnMut(&Sample) -> Result<Tensor>) -> Result<ImageScore> {
        let sample = self.preparation.evaluation(&self.dataset.pair(self.split, index)?)?;
        let pred = predict(&sample)?;
        ensure_finite(&pred)?;
        let (pred, truth) = (planar(&pred)?, planar(&sample.rgb)?);
        let pair = Pair::new(&pred, &truth)?;
        let value = |m: &LoadedMetric| Ok((self.setting.spec(m.metric()), JsonNumber(m.value(&pair)?)));
        let metrics = self.metrics.iter().map(value).collect::<Result<_>>()?;
        let (setting, image, black) = (self.setting.clone(), sample.name, pred.is_black());
        Ok(ImageScore { setting, image, metrics, black, seen_in_training: None, prediction: None, made: None })
    }
}

/// Fails if an image holds infinite values or values that are no numbers: as bytes they would be an image like any
/// other.
///
/// # Errors
/// [`NotFinite`].
pub fn ensure_finite(image: &Tensor) -> Result<()> {
    // Zero times any other number is zero.
    let sum = image.affine(0.0, 0.0)?.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    ensure!(!sum.is_nan(), NotFinite);
    Ok(())
}

/// `(3, H, W)` as an image to be measured.
fn planar(image: &Tensor) -> Result<Image> {
    let (_, height, width) = image.dims3()?;
    let values: Vec<f32> = image.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
    Ok(Image::new(&values, height, width)?)
}

/// The picture `(3, H, W)` that the head `rgb` of a network in training makes.
///
/// # Errors
/// If the sample does not fit the model.
pub fn predict(network: &dyn Network, rgb: &str, sample: &Sample, device: &Device) -> Result<Tensor> {
    let (nir, nir_hsv) = inputs(sample, device)?;
    Ok(colormamba_training::picture(network, rgb, &nir, &nir_hsv)?.squeeze(0)?)
}

/// The picture `(3, H, W)` of trained weights.
///
/// # Errors
/// If the sample does not fit the model.
pub fn colorize(network: &TrainedNetwork, sample: &Sample, device: &Device) -> Result<Tensor> {
    let (nir, nir_hsv) = inputs(sample, device)?;
    let image = network.picture(&nir, &nir_hsv)?.squeeze(0)?;
    ensure_finite(&image)?;
    Ok(image)
}

fn inputs(sample: &Sample, device: &Device) -> Result<(Tensor, Tensor)> {
    Ok((sample.nir.unsqueeze(0)?.to_device(device)?, sample.nir_hsv.unsqueeze(0)?.to_device(device)?))
}
