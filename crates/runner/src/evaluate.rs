//! Predictions against the truth.

use crate::interrupt;
use crate::record::{ImageScore, Number, Setting};
use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use colormamba::Colorizer;
use colormamba_data::{Dataset, Preparation, Sample, Split};
use colormamba_metrics::{Image, Measure};
use colormamba_training::{NamedTensors, Network};

/// Scores `predict` on every image of a split. `predict` makes `(3, H, W)` of a prepared pair.
///
/// # Errors
/// An image that cannot be read, predicted or measured, by its name; [`interrupt::Interrupted`] between two images.
pub fn evaluate(
    dataset: &dyn Dataset,
    split: Split,
    preparation: &Preparation,
    setting: &Setting,
    mut predict: impl FnMut(&Sample) -> Result<Tensor>,
) -> Result<Vec<ImageScore>> {
    crate::dataset::ensure_not_empty(dataset, split)?;
    let mut score = |index: usize| -> Result<ImageScore> {
        let sample = preparation.evaluation(&dataset.pair(split, index)?)?;
        let (pred, truth) = (planar(&predict(&sample)?)?, planar(&sample.rgb)?);
        let value = |m: &Measure| Ok((setting.spec(*m), Number(m.compute(&pred, &truth)?)));
        let metrics = Measure::TABLE.iter().map(value).collect::<Result<_>>()?;
        Ok(ImageScore { setting: setting.clone(), image: sample.name, metrics, seen_in_training: None })
    };
    let name = |index| format!("{split} image {}", dataset.pair_name(split, index));
    let named = |index: usize| {
        interrupt::check()?;
        score(index).with_context(|| name(index))
    };
    (0..dataset.len(split)).map(named).collect()
}

/// `(3, H, W)` as an image to be measured.
fn planar(image: &Tensor) -> Result<Image> {
    let (_, height, width) = image.dims3()?;
    let values: Vec<f32> = image.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
    Ok(Image::new(&values, height, width)?)
}

/// The head whose images are scored.
const SCORED: &str = "rgb";

/// The RGB prediction `(3, H, W)` of a network in training.
///
/// # Errors
/// If the sample does not fit the model.
pub fn predict(network: &dyn Network, sample: &Sample, device: &Device) -> Result<Tensor> {
    let (nir, nir_hsv) = inputs(sample, device)?;
    let (_, _, height, width) = nir.dims4()?;
    network.check_size(width, height)?;
    let inputs = NamedTensors::from([("nir".to_string(), nir), ("nir_hsv".to_string(), nir_hsv)]);
    let images = network.forward(&inputs, false)?;
    let image = images.get(SCORED).with_context(|| format!("the network has no output `{SCORED}` to score"))?;
    Ok(image.value().squeeze(0)?)
}

/// The RGB prediction `(3, H, W)` of trained weights.
///
/// # Errors
/// If the sample does not fit the model.
pub fn colorize(colorizer: &Colorizer, sample: &Sample, device: &Device) -> Result<Tensor> {
    let (nir, hsv) = inputs(sample, device)?;
    Ok(colorizer.colorize(&nir, &hsv)?.rgb.value().squeeze(0)?)
}

fn inputs(sample: &Sample, device: &Device) -> Result<(Tensor, Tensor)> {
    Ok((sample.nir.unsqueeze(0)?.to_device(device)?, sample.nir_hsv.unsqueeze(0)?.to_device(device)?))
}
