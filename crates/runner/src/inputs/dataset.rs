//! From a checked manifest to its dataset.

use crate::inputs::overlap;
use crate::manifest::{Data, DatasetConfig, Features, Manifest};
use crate::system::files::read_if_there;
use crate::system::terminal::note;
use crate::system::usage::UsageError;
use anyhow::{Context, Result, anyhow, ensure};
use candle_core::{DType, Device};
use colormamba_data::{
    Augmentation, Crop, Dataset, Description, Photographs, Preparation, Split, Subset, Synthetic, SyntheticConfig,
};
use colormamba_features::{AutoencoderFeatures, FeatureError, FeatureNetwork};
use colormamba_losses::{Extractor, Networks};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file of the auto-encoder in the folder of weights.
const AUTOENCODER: &str = "autoencoder.pth";

/// Opens the manifest's dataset and reads every image once; `folder` takes precedence over its `data.root`. Warns of
/// images that are in two of its splits.
///
/// # Errors
/// [`UsageError`] if no folder is known or none is needed; what is wrong in the folder.
pub fn open(data: &Data, folder: Option<&Path>) -> Result<Arc<dyn Dataset>> {
    let Opened { scored, warnings, .. } = open_both(data, folder, None, None)?;
    warnings.iter().for_each(|text| note(text));
    Ok(scored)
}

/// The dataset that was trained on and the one that is scored.
pub struct Opened {
    /// The manifest's.
    pub trained: Arc<dyn Dataset>,
    /// That of another subset of the same images, or the manifest's.
    pub scored: Arc<dyn Dataset>,
    /// Of the images in two of its splits, and what is known beside.
    pub warnings: Vec<String>,
}

/// As [`open`], with another subset to score, and without printing the warnings. `copy` is where a copy of the
/// dataset's description may lie.
///
/// # Errors
/// As [`open`]; [`UsageError`] if the dataset has no such subset.
pub fn open_both(data: &Data, folder: Option<&Path>, subset: Option<&Subset>, copy: Option<&Path>) -> Result<Opened> {
    match &data.dataset {
        DatasetConfig::Photographs { dataset, description_blake3, subset: own, root } => {
            let missing =
                || UsageError("where are the images? Give --data DIR, or `root` in the manifest's [data]".into());
            let root = folder.or(root.as_deref()).ok_or_else(missing)?;
            let description = match description_blake3 {
                None => Description::find(dataset)?,
                Some(digest) => Description::parse(&described(dataset, digest, copy)?, dataset)?,
            };
            for subset in [Some(own), subset].into_iter().flatten() {
                description.choices(subset).map_err(|e| UsageError(e.to_string()))?;
            }
            let own = Photographs::open(&description, root, own)?;
            let scored = subset.map_or_else(|| Ok(own.clone()), |subset| own.with_subset(subset))?;
            let warnings = overlap::warnings(&scored);
            Ok(Opened { trained: Arc::new(own), scored: Arc::new(scored), warnings })
        }
        DatasetConfig::Synthetic { synthetic, .. } => {
            ensure!(
                folder.is_none(),
                UsageError("--data is not for dataset = \"synthetic\", which reads no files".into())
            );
            ensure!(subset.is_none(), UsageError("--subset is not for dataset = \"synthetic\", which has none".into()));
            let config = SyntheticConfig {
                seed: synthetic.seed,
                width: data.size,
                height: data.size,
                train: synthetic.train,
                validation: synthetic.validation,
                test: synthetic.test,
            };
            let drawn = Arc::new(Synthetic::new(config)?);
            Ok(Opened { trained: drawn.clone(), scored: drawn, warnings: Vec::new() })
        }
    }
}

/// The text of a dataset's description with this BLAKE3 digest: a copy, or the file that the manifest names.
///
/// # Errors
/// If neither has the digest.
pub fn described(file: &str, digest: &str, copy: Option<&Path>) -> Result<String> {
    let candidates = copy.into_iter().chain([Path::new(file)]);
    let contents = candidates.map(read_if_there).collect::<Result<Vec<_>>>()?;
    let found = contents.into_iter().flatten().find(|text| blake3::hash(text).to_hex().as_str() == digest);
    let text = found.and_then(|text| String::from_utf8(text).ok());
    text.with_context(|| {
        format!(
            "{file}: missing, or no longer the description with the BLAKE3 digest {digest} that the manifest asks for; \
             restore it (each run keeps a copy as dataset.toml), or drop `description_blake3` from the manifest"
        )
    })
}

/// The folder that a run records, so that its own manifest finds the images from anywhere.
///
/// # Errors
/// If the working directory is unknown.
pub fn record_root(manifest: &mut Manifest, folder: Option<&Path>) -> Result<()> {
    if let DatasetConfig::Photographs { root, .. } = &mut manifest.data.dataset {
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
    let crate::manifest::Augmentation { mirror, contrast, crop, crop_share, tone, size } = manifest.augmentation;
    let crop = crop.map(Crop::Side).or(crop_share.map(|[low, high]| Crop::Share(low, high)));
    Augmentation { mirror, contrast, crop, tone, size }
}

/// Fails if a split has no pair.
///
/// # Errors
/// Names the split, and those that can be scored in its place.
pub fn ensure_not_empty(dataset: &dyn Dataset, split: Split) -> Result<()> {
    let others = Split::ALL.into_iter().filter(|other| split != Split::Train && dataset.len(*other) > 0);
    let others: Vec<String> = others.map(|other| format!("--split {other}")).collect();
    let advice = if others.is_empty() { String::new() } else { format!(": score {}", others.join(" or ")) };
    ensure!(dataset.len(split) > 0, "the {split} split of {} is empty{advice}", dataset.name());
    Ok(())
}

/// Says what a training without validation pairs lacks, if the dataset has none.
pub fn warn_without_validation(dataset: &dyn Dataset) {
    if dataset.len(Split::Validation) == 0 {
        note(&format!("warning: {}", without_validation(dataset.name())));
    }
}

/// What to say of a dataset without validation pairs.
pub fn without_validation(name: &str) -> String {
    format!(
        "{name}: there are no validation pairs: the last weights are kept and there is no table (`holdout = 0.1` in the \
         dataset's description would hold out a tenth of the training pairs)"
    )
}

/// The fixed networks that the terms of the manifest's variants look through.
///
/// # Errors
/// A weight file that is missing or unreadable: which, and where to get it.
pub fn networks(manifest: &Manifest, device: &Device) -> Result<Networks> {
    let mut networks = Networks::default();
    for (extractor, features) in needed_features(manifest) {
        networks = with_network(networks, manifest, (extractor, features), device).map_err(|error| match error {
            FeatureError::FileMissing { .. } => anyhow!("{error}; features = \"random\" in the manifest needs no file"),
            error => error.into(),
        })?;
    }
    Ok(networks)
}

fn with_network(
    networks: Networks,
    manifest: &Manifest,
    (extractor, features): (Extractor, Features),
    device: &Device,
) -> Result<Networks, FeatureError> {
    let (folder, dtype) = (&manifest.weights, DType::F32);
    Ok(match (extractor, features) {
        (Extractor::Autoencoder, Features::Random { seed }) => {
            networks.with_autoencoder(AutoencoderFeatures::random(seed, dtype, device)?)
        }
        (Extractor::Autoencoder, Features::Pretrained) => {
            networks.with_autoencoder(AutoencoderFeatures::load(&folder.join(AUTOENCODER), dtype, device)?)
        }
        (Extractor::Classifier(network), Features::Random { seed }) => {
            networks.with_classifier(FeatureNetwork::random(network, seed, dtype, device)?)
        }
        (Extractor::Classifier(network), Features::Pretrained) => {
            networks.with_classifier(FeatureNetwork::pretrained(network, folder, dtype, device)?)
        }
    })
}

/// What the terms of the manifest's variants look through, and with which weights.
pub fn needed_features(manifest: &Manifest) -> BTreeMap<Extractor, Features> {
    let Some(features) = manifest.features else { return BTreeMap::new() };
    let extractors = manifest.variants.iter().flat_map(|variant| variant.loss.extractors());
    extractors.map(|extractor| (extractor, features)).collect()
}

/// The names of the networks that the manifest's variants look through with random weights, if there are any.
pub fn random_features(manifest: &Manifest) -> Option<String> {
    let needed = needed_features(manifest);
    let random = needed.iter().filter(|(_, features)| matches!(features, Features::Random { .. }));
    let names: Vec<String> = random.map(|(extractor, _)| extractor.to_string()).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// The file of a network's published weights, as it is stored or as it is part of the program.
///
/// # Errors
/// If there is none: where to get it; if it cannot be read.
pub fn published_weights(manifest: &Manifest, extractor: Extractor) -> Result<Cow<'static, [u8]>> {
    let path = match extractor {
        Extractor::Autoencoder => manifest.weights.join(AUTOENCODER),
        Extractor::Classifier(network) => match network.built_in() {
            Some(content) => return Ok(content.into()),
            None => FeatureNetwork::find(network, &manifest.weights)?,
        },
    };
    Ok(std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?.into())
}
