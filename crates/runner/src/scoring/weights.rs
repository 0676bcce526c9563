//! A file of weights with what must be known to use it.

use crate::inputs::hub::located;
use crate::inputs::initial::is_built_in;
use crate::manifest::{BEST, weights_file};
use crate::system::files::exists;
use crate::system::terminal::note;
use crate::system::usage::UsageError;
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
use colormamba::checkpoint;
use colormamba_colorize::{Trained, built_in};
use colormamba_data::{Bits, Channel, Dataset, Preparation, Reading, Subset};
use colormamba_training::{TrainedNetwork, WeightFile};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Weights that are ready to be scored, and how their images are prepared.
pub struct Weights {
    /// The model.
    pub network: TrainedNetwork,
    /// As in their training.
    pub preparation: Preparation,
    /// Width and height of the training's images, in pixels.
    pub size: u32,
    /// The checksum that they were written with, else that of their file.
    pub digest: String,
    metadata: BTreeMap<String, String>,
}

/// Loads weights, and says so if they are of a run of an earlier version, whose damage cannot be seen.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn load(path: &Path, device: &Device) -> Result<WeightFile> {
    let file = WeightFile::load(path, device)?;
    if !file.metadata.is_empty() && file.checksum.is_none() {
        note(&without_checksum(path));
    }
    if let Some(text) = &file.passed_over {
        note(&format!("note: {}: {text}", path.display()));
    }
    Ok(file)
}

/// [`load`] of a checkpoint of a run, the best one of a run's folder, published weights, a file on a hub ([`located`],
/// where progress is of interest, was called before), or `built-in` for the weights of the program.
///
/// # Errors
/// [`UsageError`] for a folder without weights; names the file and what is wrong with it.
pub fn open(from: &Path, device: &Device) -> Result<WeightFile> {
    if is_built_in(from) {
        return Ok(built_in(device)?);
    }
    let from = &located(from, true)?;
    let path = &weights_file(from);
    let lacks = |run: Option<PathBuf>| {
        let name =
            run.map_or("the folder of a run".to_string(), |run| format!("the folder of a run, {}", run.display()));
        UsageError(format!("{} holds no {BEST}: name {name}, or a file of weights", from.display()))
    };
    ensure!(path == from || exists(path)?, lacks(first_run(from)));
    load(path, device)
}

/// The first run below a folder that has weights, as where a study's folder is named for one of its runs'.
fn first_run(folder: &Path) -> Option<PathBuf> {
    let below = |folder: &Path| {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
        entries.sort();
        entries
    };
    let variants = below(folder);
    let runs: Vec<PathBuf> = variants.iter().flat_map(|variant| below(variant)).collect();
    variants.into_iter().chain(runs).find(|run| run.join(BEST).is_file())
}

/// The checksum that weights were written with, else that of their file.
///
/// # Errors
/// A file that cannot be read.
pub fn digest(file: &WeightFile) -> Result<String> {
    Ok(file.checksum.clone().map_or_else(|| checkpoint::digest(file.path()), Ok)?)
}

/// What is asked for of a photograph's file; the weights decide on the rest.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// See [`Reading::bits`].
    pub bits: Option<Bits>,
    /// See [`Reading::channel`].
    pub channel: Option<Channel>,
    /// See [`Reading::page`].
    pub page: Option<usize>,
    /// See [`Reading::max_pixels`].
    pub max_pixels: u64,
}

/// How photographs are to be read for these weights: as asked for, else as those of the training were, which is said.
///
/// # Errors
/// A header that says what is not known.
pub fn reading(file: &WeightFile, asked: Asked) -> Result<Reading> {
    let Reading { bits, channel, .. } = Reading::default();
    let mut taken = Vec::new();
    let reading = Reading {
        bits: or_trained(file, "bits", asked.bits, &mut taken)?.unwrap_or(bits),
        channel: or_trained(file, "channel", asked.channel, &mut taken)?.unwrap_or(channel),
        page: or_trained(file, "page", asked.page, &mut taken)?,
        max_pixels: asked.max_pixels,
    };
    let plain = [format!("bits = {bits}"), format!("channel = {channel}")];
    taken.retain(|text| !plain.contains(text));
    if !taken.is_empty() {
        note(&format!("note: the photographs are read as those of the weights' training: {}", taken.join(", ")));
    }
    Ok(reading)
}

/// What is asked for, else what the header says under `key`, which is added to `taken`.
fn or_trained<T: FromStr>(
    file: &WeightFile,
    key: &str,
    asked: Option<T>,
    taken: &mut Vec<String>,
) -> Result<Option<T>> {
    let Some(word) = file.metadata.get(key).filter(|_| asked.is_none()) else { return Ok(asked) };
    taken.push(format!("{key} = {word}"));
    let known = word.parse().ok();
    let unknown = || format!("{}: the header says {key} = {word}, which is not known", file.path().display());
    known.with_context(unknown).map(Some)
}

/// What to say of weights that were trained on another dataset or subset than this, by their header. One of an earlier
/// version does not tell.
pub fn trained_elsewhere(header: &BTreeMap<String, String>, dataset: &dyn Dataset) -> Option<String> {
    let subset: Subset = header.get("subset").and_then(|word| word.parse().ok()).unwrap_or_default();
    let trained = subset.of(header.get("dataset")?);
    let these = dataset.name();
    (trained != these).then(|| format!("was trained on {trained}, these images are of {these}"))
}

/// What to say of a checkpoint of an earlier version.
pub fn without_checksum(path: &Path) -> String {
    format!("note: {} is of an earlier version and has no checksum: damage would not be seen", path.display())
}

impl Weights {
    /// What the header says of something, if it does.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// See [`trained_elsewhere`].
    pub fn trained_elsewhere(&self, dataset: &dyn Dataset) -> Option<String> {
        trained_elsewhere(&self.metadata, dataset)
    }

    /// Of what [`open`] reads. Activations are of the given type, or of that of the images.
    ///
    /// # Errors
    /// As [`open`].
    pub fn load(from: &Path, device: &Device, activations: Option<DType>) -> Result<Self> {
        let file = open(from, device)?;
        let Trained { size, protocol, nir_hsv } = Trained::of(file.path(), &file.metadata)?;
        let preparation = Preparation { size: Some(size), protocol, nir_hsv };
        let (network, digest) = (file.network(activations)?, digest(&file)?);
        Ok(Self { network, preparation, size, digest, metadata: file.metadata })
    }
}
