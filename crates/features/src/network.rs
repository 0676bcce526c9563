//! Classifiers of ImageNet with named feature maps.

use crate::FeatureError;
use candle_core::{DType, Device};
use colormamba_ops::Node;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A published classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// VGG-16 without batch norm.
    Vgg16,
    /// VGG-19 without batch norm.
    Vgg19,
    /// AlexNet (torchvision's, "one weird trick").
    AlexNet,
    /// SqueezeNet 1.1.
    SqueezeNet,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vgg16 => "vgg16",
            Self::Vgg19 => "vgg19",
            Self::AlexNet => "alexnet",
            Self::SqueezeNet => "squeezenet",
        })
    }
}

/// A classifier's convolutions with their weights.
pub struct FeatureNetwork {
    network: Network,
}

impl FeatureNetwork {
    /// Random weights.
    ///
    /// # Errors
    /// Those of the device.
    pub fn random(network: Network, _seed: u64, _dtype: DType, _device: &Device) -> Result<Self, FeatureError> {
        Ok(Self { network })
    }

    /// Stub.
    ///
    /// # Errors
    /// None.
    pub fn load(
        network: Network,
        _path: &std::path::Path,
        _dtype: DType,
        _device: &Device,
    ) -> Result<Self, FeatureError> {
        Ok(Self { network })
    }

    /// Stub.
    ///
    /// # Errors
    /// None.
    pub fn find(_network: Network, folder: &std::path::Path) -> Result<std::path::PathBuf, FeatureError> {
        Ok(folder.to_path_buf())
    }

    /// Which network it is.
    pub fn network(&self) -> Network {
        self.network
    }

    /// The feature maps of these names.
    ///
    /// # Errors
    /// If a tap is unknown.
    pub fn forward(&self, _image: &Node, _taps: &[String]) -> Result<BTreeMap<String, Node>, FeatureError> {
        Ok(BTreeMap::new())
    }
}
