//! Where published weights are.

use crate::file::WeightFile;
use crate::{FeatureError, Network};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Published weights, as `weights/NAME.toml` describes them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// What the network is.
    pub what: String,
    /// Licence and terms of use.
    pub terms: String,
    /// Whom to cite.
    pub citation: String,
    /// The files that hold the weights, the preferred one first; any one of them will do.
    pub files: Vec<PublishedFile>,
    /// The tensors that are read, with their shapes; a `*` in a name stands for each layer's number.
    pub tensors: BTreeMap<String, Vec<usize>>,
}

/// A file of published weights.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedFile {
    /// The file's name here.
    pub name: String,
    /// Where it belongs, below the repository's root.
    pub place: String,
    /// Where it comes from.
    pub url: String,
    /// The same on Hugging Face's hub, if it is there.
    pub hub: Option<Hub>,
    /// Its size, if known.
    pub bytes: Option<u64>,
    /// Its SHA-256 in hexadecimal digits, or as many of the first digits as are known; none if no source that could be
    /// looked at says it: such a file is taken as it is.
    pub sha256: Option<String>,
    /// How the tensors are stored.
    pub format: String,
}

/// A file on Hugging Face's hub.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hub {
    /// Owner and name of the repository.
    pub repository: String,
    /// The file's path in it.
    pub file: String,
}

impl Published {
    /// The file that has the name of `path`.
    pub fn file_named(&self, path: &Path) -> Option<&PublishedFile> {
        let name = path.file_name()?.to_str()?;
        self.files.iter().find(|file| file.name == name)
    }

    /// Which of the files lies in `folder`; the first in the order of the description. `weights`: the description's
    /// name.
    pub(crate) fn find(&self, weights: &'static str, folder: &Path) -> Result<PathBuf, FeatureError> {
        let found = self.files.iter().map(|file| folder.join(&file.name)).find(|path| !is_missing(path));
        let first = || folder.join(self.files.first().map_or("", |file| &file.name));
        found.ok_or_else(|| self.missing(weights, &first()))
    }

    /// The file at `path`, which must be the published one if it has its name.
    pub(crate) fn open(&self, weights: &'static str, path: &Path) -> Result<WeightFile, FeatureError> {
        if is_missing(path) {
            return Err(self.missing(weights, path));
        }
        if let Some(file) = self.file_named(path) {
            file.verify(weights, path)?;
        }
        WeightFile::open(weights, path)
    }

    /// That it is not there, and how to come by it.
    fn missing(&self, weights: &'static str, path: &Path) -> FeatureError {
        let folder = path.parent().unwrap_or(path);
        let ways: Vec<_> =
            self.files.iter().map(|file| format!("{} to {}", file.url, folder.join(&file.name).display())).collect();
        let there = match folder == Path::new("weights") {
            true => String::new(),
            false => format!(" --weights {}", folder.display()),
        };
        let advice = format!(
            "`colormamba weights fetch {weights}{there}` gets them, or fetch {}; weights/{weights}.toml says more",
            ways.join(" or ")
        );
        FeatureError::FileMissing { weights, path: path.to_path_buf(), advice }
    }
}

impl PublishedFile {
    /// Fails unless the file at `path` is this one, by its checksum if that is known. `weights`: the description's
    /// name.
    ///
    /// # Errors
    /// [`FeatureError::FileChanged`], and [`FeatureError::FileUnreadable`] if it cannot be read.
    pub fn verify(&self, weights: &'static str, path: &Path) -> Result<(), FeatureError> {
        let Some(want) = self.sha256.clone() else { return Ok(()) };
        let got = sha256(path).map_err(|error| FeatureError::unreadable(weights, path, error))?;
        if got.starts_with(&want) {
            return Ok(());
        }
        Err(FeatureError::FileChanged { weights, path: path.to_path_buf(), want, got })
    }
}

/// Whether nothing is there. What cannot be looked at is no missing file: opening it says why.
pub(crate) fn is_missing(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}

/// The SHA-256 of a file, in hexadecimal digits.
fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut part = vec![0; 1 << 20];
    loop {
        match file.read(&mut part)? {
            0 => break,
            count => hasher.update(&part[..count]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What is known of a network's published weights.
pub fn published(network: Network) -> &'static Published {
    static VGG16: LazyLock<Published> = LazyLock::new(|| parsed(include_str!("../../../weights/vgg16.toml")));
    static VGG19: LazyLock<Published> = LazyLock::new(|| parsed(include_str!("../../../weights/vgg19.toml")));
    static ALEXNET: LazyLock<Published> = LazyLock::new(|| parsed(include_str!("../../../weights/alexnet.toml")));
    static SQUEEZENET: LazyLock<Published> = LazyLock::new(|| parsed(include_str!("../../../weights/squeezenet.toml")));
    static ST_VGG16: LazyLock<Published> = LazyLock::new(|| parsed(include_str!("../../../weights/st-vgg16.toml")));
    static ST_ALEXNET: LazyLock<Published> = LazyLock::new(|| parsed(include_str!("../../../weights/st-alexnet.toml")));
    match network {
        Network::Vgg16 => &VGG16,
        Network::Vgg19 => &VGG19,
        Network::AlexNet => &ALEXNET,
        Network::SqueezeNet => &SQUEEZENET,
        Network::StVgg16 => &ST_VGG16,
        Network::StAlexNet => &ST_ALEXNET,
    }
}

/// What is known of the published weights of DINOv2 ViT-L/14.
pub(crate) fn dinov2() -> &'static Published {
    static DINOV2: LazyLock<Published> = LazyLock::new(|| parsed(include_str!("../../../weights/dinov2-vitl14.toml")));
    &DINOV2
}

/// What is known of the published weights of EfficientNet-Lite0, which no feature looks through.
fn efficientnet_lite0() -> &'static Published {
    static LITE0: LazyLock<Published> =
        LazyLock::new(|| parsed(include_str!("../../../weights/efficientnet-lite0.toml")));
    &LITE0
}

/// All published weights that are not part of the program, each under its description's name.
pub fn fetchable() -> impl Iterator<Item = (&'static str, &'static Published)> {
    let networks = Network::ALL.into_iter().filter(|network| network.built_in().is_none());
    let networks = networks.map(|network| (network.name(), published(network)));
    networks.chain([(crate::dinov2::NAME, dinov2()), ("efficientnet-lite0", efficientnet_lite0())])
}

/// A description, all of which are compiled in; that each can be read is a test's concern.
fn parsed(description: &str) -> Published {
    toml::from_str(description).unwrap_or_default()
}
