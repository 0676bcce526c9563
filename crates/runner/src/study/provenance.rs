//! Where and from what a run was made.

use crate::inputs::dataset::{needed_features, published_weights};
use crate::inputs::initial;
use crate::manifest::{DatasetConfig, Features, Manifest};
use crate::system::files::write_whole;
use crate::system::terminal::note;
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use colormamba_data::{Dataset, Split};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// The content of `provenance.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Its first start.
    #[serde(flatten)]
    pub start: Start,
    /// The dataset's name.
    pub dataset: String,
    /// The file that describes it, if it is a user's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<HashedFile>,
    /// BLAKE3 of all weights before the first step.
    pub init: String,
    /// The file of the weights that the network started from, if it did not start from fresh ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_from: Option<HashedFile>,
    /// The files of the networks that it learns from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teachers: Vec<HashedFile>,
    /// By split, the digest of everything that defines it; none of an empty one.
    pub fingerprint: BTreeMap<String, String>,
    /// BLAKE3 of how images are prepared and augmented, as the manifest says it; no folder is part of it.
    #[serde(default)]
    pub preprocessing: String,
    /// The networks that the loss looks through, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub features: BTreeMap<String, FeatureWeights>,
    /// Its further starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumed: Vec<Resumed>,
}

/// A start of the program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Version of this program.
    pub version: String,
    /// Commit it was built from, if that was known; `-dirty` if files differed from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Name of the machine.
    pub host: String,
    /// `cpu`.
    pub device: String,
    /// Worker threads; results are the same bits only for the same number.
    pub threads: usize,
    /// When, UTC.
    pub started: String,
}

/// A start from a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resumed {
    /// Steps done before.
    pub step: usize,
    /// On what.
    #[serde(flatten)]
    pub start: Start,
}

/// A file that a run was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HashedFile {
    /// Its path as the manifest gave it; it may have moved.
    pub path: String,
    /// BLAKE3 of its content.
    pub blake3: String,
}

impl HashedFile {
    fn description(manifest: &Manifest) -> Option<Self> {
        match &manifest.data.dataset {
            DatasetConfig::Photographs { dataset: path, description_blake3: Some(blake3), .. } => {
                Some(Self { path: path.clone(), blake3: blake3.clone() })
            }
            _ => None,
        }
    }

    /// Of weights as they are now, see [`initial::content`].
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn weights(from: &Path) -> Result<Self> {
        let (path, content) = initial::content(from)?;
        Ok(Self { path, blake3: blake3::hash(&content).to_hex().to_string() })
    }
}

/// Which weights a network of the loss has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum FeatureWeights {
    /// The published ones.
    Pretrained {
        /// BLAKE3 of their file.
        blake3: String,
    },
    /// Random ones.
    Random {
        /// Their seed.
        seed: u64,
    },
}

impl Provenance {
    /// Of a run that starts here and now from `weights`, on `device`.
    ///
    /// # Errors
    /// If a weight or a file of weights cannot be read.
    pub fn now(
        manifest: &Manifest,
        dataset: &dyn Dataset,
        weights: &BTreeMap<String, Tensor>,
        teachers: &[HashedFile],
        device: &Device,
    ) -> Result<Self> {
        let there = Split::ALL.into_iter().filter(|split| dataset.len(*split) > 0);
        Ok(Self {
            start: Start::now(device),
            dataset: dataset.name().to_string(),
            description: HashedFile::description(manifest),
            init: digest(weights)?,
            init_from: manifest.model.init.as_ref().map(|init| HashedFile::weights(&init.from)).transpose()?,
            teachers: teachers.to_vec(),
            fingerprint: there.map(|split| (split.to_string(), dataset.fingerprint(split))).collect(),
            preprocessing: preprocessing(manifest)?,
            features: FeatureWeights::of(manifest)?,
            resumed: Vec::new(),
        })
    }

    /// Every program that trained it, each once.
    pub fn programs(&self) -> BTreeSet<String> {
        std::iter::once(&self.start)
            .chain(self.resumed.iter().map(|resumed| &resumed.start))
            .map(Start::program)
            .collect()
    }

    /// Reads the file.
    ///
    /// # Errors
    /// If it cannot be read or understood.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Fails if a network of the loss no longer has the weights that the run was started with.
    ///
    /// # Errors
    /// Also if a file of weights cannot be read.
    pub fn ensure_same_features(&self, manifest: &Manifest) -> Result<()> {
        let now = FeatureWeights::of(manifest)?;
        for (network, then) in &self.features {
            let now = now.get(network).map_or("none".to_string(), ToString::to_string);
            ensure!(
                then.to_string() == now,
                "the weights of {network} are not those that the run was started with: then {then}, now {now}; put that \
                 file back into {}, or give the study another name or --out",
                manifest.weights.display()
            );
        }
        Ok(())
    }

    /// Fails unless these are the teachers that the run was started with.
    ///
    /// # Errors
    /// Names the first that is another.
    pub fn ensure_same_teachers(&self, teachers: &[HashedFile]) -> Result<()> {
        let other = self.teachers.iter().zip(teachers).find(|(then, now)| then.blake3 != now.blake3);
        let named = other.map_or("their number", |(_, now)| now.path.as_str());
        ensure!(
            other.is_none() && self.teachers.len() == teachers.len(),
            "distill.teachers: {named} is not what the run was started with: put the file back, or give the study \
             another name or --out"
        );
        Ok(())
    }

    /// Adds a start after `step` steps to the file, and warns if its number of threads is not that of the first start.
    ///
    /// # Errors
    /// If the file cannot be read, understood or written.
    pub fn add_resume(path: &Path, step: usize, device: &Device) -> Result<()> {
        let mut provenance = Self::read(path)?;
        let start = Start::now(device);
        let (first, now) = (provenance.start.threads, start.threads);
        if first != now {
            note(&format!(
                "warning: {} was started with --threads {first} and goes on with {now}: its results will not be the same \
                 bits as those of an uninterrupted run",
                path.parent().unwrap_or(path).display()
            ));
        }
        provenance.resumed.push(Resumed { step, start });
        write_whole(path, toml::to_string(&provenance)?.as_bytes())
    }
}

/// The version of this program, and the commit that it was built from if that is known.
pub fn program() -> String {
    called(env!("CARGO_PKG_VERSION"), option_env!("COLORMAMBA_COMMIT"))
}

fn called(version: &str, commit: Option<&str>) -> String {
    commit.map_or_else(|| version.to_string(), |commit| format!("{version} ({commit})"))
}

impl Start {
    /// What [`program`] was then.
    fn program(&self) -> String {
        called(&self.version, self.commit.as_deref())
    }

    fn now(device: &Device) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_string(),
            commit: option_env!("COLORMAMBA_COMMIT").map(String::from),
            host: host(),
            device: colormamba_cuda::name(device),
            threads: rayon::current_num_threads(),
            started: jiff::Timestamp::now().strftime("%FT%TZ").to_string(),
        }
    }
}

impl fmt::Display for FeatureWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pretrained { blake3 } => write!(f, "BLAKE3 {blake3}"),
            Self::Random { seed } => write!(f, "random from seed {seed}"),
        }
    }
}

impl FeatureWeights {
    /// Of all networks that the manifest's variants look through.
    ///
    /// # Errors
    /// If a weight file cannot be read.
    pub fn of(manifest: &Manifest) -> Result<BTreeMap<String, Self>> {
        let weights = |(extractor, features)| {
            let weights = match features {
                Features::Random { seed } => Self::Random { seed },
                Features::Pretrained => {
                    let content = published_weights(manifest, extractor)?;
                    Self::Pretrained { blake3: blake3::hash(&content).to_hex().to_string() }
                }
            };
            Ok((extractor.to_string(), weights))
        };
        needed_features(manifest).into_iter().map(weights).collect()
    }
}

fn preprocessing(manifest: &Manifest) -> Result<String> {
    let data = &manifest.data;
    let augmentation = toml::to_string(&manifest.augmentation)?;
    let text = format!("{} {} {}\n{augmentation}", data.size, data.protocol, data.nir_hsv);
    Ok(blake3::hash(text.as_bytes()).to_hex().to_string())
}

/// BLAKE3 over names, shapes and little-endian f64 values, in the order of the names.
fn digest(tensors: &BTreeMap<String, Tensor>) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for (name, tensor) in tensors {
        hasher.update(format!("{name} {:?}\n", tensor.dims()).as_bytes());
        let values: Vec<f64> = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        hasher.update(&bytes);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn host() -> String {
    let named = ["HOSTNAME", "COMPUTERNAME"].iter().find_map(|key| std::env::var(key).ok());
    let kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    named.or_else(kernel).map_or_else(|| "unknown".to_string(), |name| name.trim().to_string())
}
