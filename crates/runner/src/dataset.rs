//! From a checked manifest to its dataset.

use crate::manifest::{Data, DatasetConfig, Features, Manifest};
use crate::usage::Usage;
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
use colormamba_data::{
    Augmentation, Dataset, Description, Photographs, Preparation, Split, Subset, Synthetic, SyntheticConfig,
};
use colormamba_features::{AutoencoderFeatures, FeatureNetwork};
use colormamba_losses::{Extractor, Networks};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Opens the manifest's dataset and reads every image once; `folder` takes precedence over its `data.root`.
///
/// # Errors
/// [`Usage`] if no folder is known or none is needed; what is wrong in the folder.
pub fn open(data: &Data, folder: Option<&Path>) -> Result<Arc<dyn Dataset>> {
    match &data.dataset {
        DatasetConfig::Photographs { dataset, subset, root } => {
            let missing = || Usage("where are the images? Give --data DIR, or `root` in the manifest's [data]".into());
            let root = folder.or(root.as_deref()).ok_or_else(missing)?;
            photographs(&Description::find(dataset)?, root, subset)
        }
        DatasetConfig::Synthetic { synthetic, .. } => {
            ensure!(folder.is_none(), Usage("--data is not for dataset = \"synthetic\", which reads no files".into()));
            let config = SyntheticConfig {
                seed: synthetic.seed,
                width: data.size,
                height: data.size,
                train: synthetic.train,
                validation: synthetic.validation,
                test: synthetic.test,
            };
            Ok(Arc::new(Synthetic::new(config)?))
        }
    }
}

/// Opens photographs and reads every one once; warns of what is known against the subset.
///
/// # Errors
/// What is wrong in the folder.
pub fn photographs(description: &Description, root: &Path, subset: &Subset) -> Result<Arc<dyn Dataset>> {
    let photographs = Photographs::open(description, root, subset)?;
    if let Some(warning) = photographs.warning() {
        eprintln!("warning: {warning}");
    }
    Ok(Arc::new(photographs))
}

/// The folder that a run records, so that its own manifest finds the images from anywhere.
///
/// # Errors
/// If the working directory is unknown.
pub fn record_root(manifest: &mut Manifest, folder: Option<&Path>) -> Result<()> {
    if let DatasetConfig::Photographs { root, dataset, .. } = &mut manifest.data.dataset {
        if dataset.ends_with(".toml") {
            *dataset = std::path::absolute(&dataset).context("the working directory is unknown")?.display().to_string();
        }
        let given: Option<PathBuf> = folder.map(Path::to_path_buf).or(root.take());
        *root = given.map(std::path::absolute).transpose().context("the working directory is unknown")?;
    }
    Ok(())
}

/// From photographs to tensors, as the manifest says.
pub fn preparation(data: &Data) -> Preparation {
    Preparation { size: Some(data.size), protocol: data.protocol, nir_hsv: data.nir_hsv }
}

/// The random changes of training pairs that the manifest asks for.
pub fn augmentation(manifest: &Manifest) -> Augmentation {
    let crate::manifest::Augmentation { mirror, contrast, crop } = manifest.augmentation;
    Augmentation { mirror, contrast, crop }
}

/// Fails if a split has no pair.
///
/// # Errors
/// Names the split.
pub fn ensure_not_empty(dataset: &dyn Dataset, split: Split) -> Result<()> {
    ensure!(dataset.len(split) > 0, "the {split} split of {} is empty", dataset.name());
    Ok(())
}

/// The fixed networks that the terms of the manifest's variants look through.
///
/// # Errors
/// A weight file that is missing or unreadable: which, and where to get it.
pub fn networks(manifest: &Manifest, device: &Device) -> Result<Networks> {
    let mut networks = Networks::default();
    for (extractor, features) in needed_features(manifest) {
        networks = match (extractor, features) {
            (Extractor::Autoencoder, Features::Random { seed }) => {
                networks.with_autoencoder(AutoencoderFeatures::random(seed, DType::F32, device)?)
            }
            (Extractor::Autoencoder, Features::Pretrained) => {
                let path = weight_file(manifest, extractor)?;
                networks.with_autoencoder(AutoencoderFeatures::load(&path, DType::F32, device)?)
            }
            (Extractor::Classifier(network), Features::Random { seed }) => {
                networks.with_classifier(FeatureNetwork::random(network, seed, DType::F32, device)?)
            }
            (Extractor::Classifier(network), Features::Pretrained) => {
                let path = weight_file(manifest, extractor)?;
                networks.with_classifier(FeatureNetwork::load(network, &path, DType::F32, device)?)
            }
        };
    }
    Ok(networks)
}

/// What the terms of the manifest's variants look through, and with which weights.
pub fn needed_features(manifest: &Manifest) -> BTreeMap<Extractor, Features> {
    let Some(features) = manifest.features else { return BTreeMap::new() };
    let extractors = manifest.variants.iter().flat_map(|variant| variant.loss.extractors());
    extractors.map(|extractor| (extractor, features)).collect()
}

/// The file of a network's published weights.
///
/// # Errors
/// If there is none: where to get it.
pub fn weight_file(manifest: &Manifest, extractor: Extractor) -> Result<PathBuf> {
    match extractor {
        Extractor::Autoencoder => Ok(manifest.weights.join("autoencoder.pth")),
        Extractor::Classifier(network) => Ok(FeatureNetwork::find(network, &manifest.weights)?),
    }
}
