//! Where the published weights of the classifiers are.

use crate::{FeatureError, Network};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::LazyLock;

/// Published weights, as `weights/NETWORK.toml` describes them.
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
    /// The tensors that are read, with their shapes.
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
    /// Its SHA-256 in hexadecimal digits, or as many of the first digits as are known.
    pub sha256: String,
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

    /// How to come by the weights.
    pub(crate) fn advice(&self, network: Network, folder: &Path) -> String {
        let ways: Vec<_> =
            self.files.iter().map(|file| format!("{} to {}", file.url, folder.join(&file.name).display())).collect();
        format!(
            "`colormamba weights fetch {network}` gets them, or fetch {}; weights/{network}.toml says more (features = \
             \"random\" needs no file)",
            ways.join(" or ")
        )
    }
}

impl PublishedFile {
    /// Fails unless the file at `path` is this one, by its checksum.
    ///
    /// # Errors
    /// [`FeatureError::FileChanged`], and [`FeatureError::FileUnreadable`] if it cannot be read.
    pub fn verify(&self, network: Network, path: &Path) -> Result<(), FeatureError> {
        let (weights, path) = (network.name(), path.to_path_buf());
        let got = match sha256(&path) {
            Ok(got) => got,
            Err(error) => {
                let source = Box::new(error.into());
                return Err(FeatureError::FileUnreadable { weights, path, source });
            }
        };
        if got.starts_with(&self.sha256) {
            return Ok(());
        }
        Err(FeatureError::FileChanged { weights, path, want: self.sha256.clone(), got })
    }
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

/// A description, all of which are compiled in; that each can be read is a test's concern.
fn parsed(description: &str) -> Published {
    toml::from_str(description).unwrap_or_default()
}
