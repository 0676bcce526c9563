//! Networks whose pictures, and feature maps, another one learns from.

use crate::manifest::{Distill, Manifest};
use crate::scoring::weights::{open, trained_elsewhere};
use crate::study::provenance::HashedFile;
use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use colormamba_data::{Batch, Dataset};
use colormamba_training::{Head, Hints, NamedTensors, TrainedNetwork, WeightFile};
use std::collections::BTreeMap;

/// Trained networks, of any kinds.
pub struct Teachers {
    networks: Vec<TrainedNetwork>,
    /// Their files.
    pub files: Vec<HashedFile>,
    /// What these say of themselves.
    headers: Vec<BTreeMap<String, String>>,
}

impl Teachers {
    /// Those that the manifest names; none if it names none.
    ///
    /// # Errors
    /// A file that cannot be read or is of no network, and a network that was trained on images prepared in another
    /// way, does not take images of the training's size, or has no features where these are asked for.
    pub fn load(manifest: &Manifest, device: &Device) -> Result<Option<Self>> {
        let Some(Distill { teachers, features, .. }) = &manifest.distill else { return Ok(None) };
        let mut all = Self { networks: Vec::new(), files: Vec::new(), headers: Vec::new() };
        for from in teachers {
            let file = open(from, device).context("distill.teachers")?;
            ensure_prepared_alike(manifest, &file)?;
            let network = file.network(None)?;
            let (side, grid) = (manifest.augmentation.size.unwrap_or(manifest.data.size), network.grid());
            ensure!(
                (side as usize).is_multiple_of(grid),
                "distill.teachers: {} takes images whose sides are multiples of {grid}, those of the training have \
                 {side} pixels",
                file.path().display()
            );
            ensure!(
                features.is_none() || network.features().is_some(),
                "distill.features: {} is of a network that gives no feature map",
                file.path().display()
            );
            all.networks.push(network);
            all.files.push(HashedFile::weights(from)?);
            all.headers.push(file.metadata);
        }
        Ok(Some(all))
    }

    /// What is learned from them on a batch: for the head `rgb` the mean of their pictures `(B, 3, H, W)`, see
    /// [`TrainedNetwork::picture`], and for [`Hints`] the feature map of each that has one.
    ///
    /// # Errors
    /// Those of the tensor operations.
    pub fn taught(&self, batch: &Batch, rgb: &str) -> Result<NamedTensors> {
        let (mut pictures, mut taught) = (Vec::new(), NamedTensors::new());
        for (index, network) in self.networks.iter().enumerate() {
            let (picture, features) = network.picture_and_features(&batch.nir, &batch.nir_hsv)?;
            pictures.push(picture);
            taught.extend(features.map(|features| (Hints::taught(index), features)));
        }
        taught.insert(Head::taught(rgb), Tensor::stack(&pictures, 0)?.mean(0)?);
        Ok(taught)
    }

    /// The channels of their feature maps.
    pub fn features(&self) -> Vec<usize> {
        self.networks.iter().filter_map(TrainedNetwork::features).collect()
    }

    /// A line for each that was trained on other images: it may have seen those that this training is scored on.
    pub fn trained_elsewhere(&self, dataset: &dyn Dataset) -> Vec<String> {
        let said = |(file, header): (&HashedFile, &BTreeMap<String, String>)| {
            Some(format!("distill.teachers: {} {}", file.path, trained_elsewhere(header, dataset)?))
        };
        self.files.iter().zip(&self.headers).filter_map(said).collect()
    }
}

/// A network sees what it was trained to see, or its pictures mean nothing. Weights of others do not say.
fn ensure_prepared_alike(manifest: &Manifest, file: &WeightFile) -> Result<()> {
    let data = &manifest.data;
    for (key, ours) in [("protocol", data.protocol.to_string()), ("nir_hsv", data.nir_hsv.to_string())] {
        let theirs = file.metadata.get(key).unwrap_or(&ours);
        ensure!(
            *theirs == ours,
            "distill.teachers: {} was trained with {key} = \"{theirs}\", this manifest has \"{ours}\"",
            file.path().display()
        );
    }
    Ok(())
}
