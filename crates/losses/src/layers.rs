//! What the terms share that compare feature maps of classifiers.

use crate::LossError;
use crate::scalar::weighted_sum;
use colormamba_features::Network;
use colormamba_ops::Node;
use serde::{Deserialize, Serialize};

/// Feature maps of a classifier; serialises as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "layers are features21, relu1_1-5_1, relu1_2-3_3, all or a list such as [\"relu1_1\"]")]
pub enum Layers {
    /// By the name of a choice.
    Preset(LayerPreset),
    /// By their own names.
    Names(Vec<String>),
}

/// Usual choices of feature maps, those of a VGG but for `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayerPreset {
    /// What torchvision's `features[:21]` ends in: relu4_1 of VGG-19, relu4_2 of VGG-16.
    #[serde(rename = "features21")]
    Features21,
    /// relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1.
    #[serde(rename = "relu1_1-5_1")]
    FirstOfBlocks,
    /// relu1_2, relu2_2 and relu3_3.
    #[serde(rename = "relu1_2-3_3")]
    EarlyBlocks,
    /// Every ReLU.
    #[serde(rename = "all")]
    All,
}

impl LayerPreset {
    fn taps(self, network: Network) -> &'static [&'static str] {
        match (self, network) {
            (Self::Features21, Network::Vgg16 | Network::StVgg16) => &["relu4_2"],
            (Self::Features21, _) => &["relu4_1"],
            (Self::FirstOfBlocks, _) => &["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"],
            (Self::EarlyBlocks, _) => &["relu1_2", "relu2_2", "relu3_3"],
            (Self::All, network) => network.taps(),
        }
    }

    /// Only a VGG has the layers of most choices.
    fn check(self, network: Network) -> Result<(), String> {
        let known = network.taps();
        if self.taps(network).iter().all(|tap| known.contains(tap)) {
            return Ok(());
        }
        let own = known.join(", ");
        Err(format!(
            "network is {network}, it must be vgg16 or vgg19 (or st-vgg16) unless layers lists some of its own, {own}"
        ))
    }
}

impl Layers {
    pub(crate) fn taps(&self, network: Network) -> Vec<String> {
        match self {
            Self::Preset(preset) => preset.taps(network).iter().map(|tap| tap.to_string()).collect(),
            Self::Names(names) => names.clone(),
        }
    }

    /// Says what is wrong with these layers of `network`.
    pub(crate) fn check(&self, network: Network) -> Result<(), String> {
        let names = match self {
            Self::Preset(preset) => return preset.check(network),
            Self::Names(names) => names,
        };
        if names.is_empty() {
            return Err("layers is empty".into());
        }
        for (index, name) in names.iter().enumerate() {
            if !network.taps().contains(&name.as_str()) {
                return Err(format!("layers names `{name}`; those of {network} are {}", network.taps().join(", ")));
            }
            if names[..index].contains(name) {
                return Err(format!("layers names `{name}` twice"));
            }
        }
        Ok(())
    }
}

/// The weighted sum of the layers' parts.
pub(crate) fn sum(parts: impl Iterator<Item = Result<(Node, f64), LossError>>) -> Result<Node, LossError> {
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    let parts: Vec<(&Node, f64)> = parts.iter().map(|(part, weight)| (part, *weight)).collect();
    Ok(weighted_sum(&parts)?)
}
