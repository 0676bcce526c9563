//! Terms that compare features of fixed networks.

use crate::mean::{Squared, mean_distance};
use crate::view::{Comparison, View};
use crate::{About, LossError, Term};
use colormamba_features::Network;
use serde::{Deserialize, Serialize};

pub(crate) const FEATURE_MSE: About = About {
    name: "feature_mse",
    formula: "⟨(φ(p) − φ(t))²⟩, φ the first four blocks of a fixed auto-encoder",
    range: "0 upwards, by the auto-encoder's scale",
    source: "ColorMamba, arXiv 2408.08087, with the auto-encoder of GAN-STFM, doi:10.1109/TGRS.2021.3050551",
    options: "",
};
pub(crate) const FEATURE_COSINE: About = About { name: "feature_cosine", formula: "", range: "", source: "", options: "" };
pub(crate) const VGG: About = About { name: "vgg", formula: "", range: "", source: "", options: "" };
pub(crate) const STYLE: About = About { name: "style", formula: "", range: "", source: "", options: "" };
pub(crate) const LPIPS: About = About { name: "lpips", formula: "", range: "", source: "", options: "" };

/// Options of `vgg`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VggOptions {
    /// The network.
    pub network: Network,
}

impl Default for VggOptions {
    fn default() -> Self {
        Self { network: Network::Vgg19 }
    }
}

impl VggOptions {
    pub(crate) fn check(&self) -> Result<(), String> {
        Ok(())
    }
    pub(crate) fn taps(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Options of `style`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StyleOptions {
    /// The network.
    pub network: Network,
}

impl Default for StyleOptions {
    fn default() -> Self {
        Self { network: Network::Vgg19 }
    }
}

impl StyleOptions {
    pub(crate) fn check(&self) -> Result<(), String> {
        Ok(())
    }
    pub(crate) fn taps(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Options of `lpips`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LpipsOptions {
    /// The network.
    pub network: Network,
}

impl Default for LpipsOptions {
    fn default() -> Self {
        Self { network: Network::Vgg16 }
    }
}

impl LpipsOptions {
    pub(crate) fn taps(self) -> Vec<String> {
        Vec::new()
    }
}

/// The smallest side that the networks of a term take.
pub(crate) fn smallest_side(_: &Term) -> usize {
    1
}

pub(crate) fn feature_mse(target: &View) -> Result<Comparison, LossError> {
    let target = target.autoencoder()?.value().clone();
    Ok(Box::new(move |pred| Ok(mean_distance(pred.autoencoder()?, &target, Squared)?)))
}

pub(crate) fn feature_cosine(_: &View) -> Result<Comparison, LossError> {
    Err(LossError::Unseen { what: "feature_cosine".into() })
}

pub(crate) fn vgg(_: &VggOptions, _: &View) -> Result<Comparison, LossError> {
    Err(LossError::Unseen { what: "vgg".into() })
}

pub(crate) fn style(_: &StyleOptions, _: &View) -> Result<Comparison, LossError> {
    Err(LossError::Unseen { what: "style".into() })
}

pub(crate) fn lpips(_: LpipsOptions, _: &View) -> Result<Comparison, LossError> {
    Err(LossError::Unseen { what: "lpips".into() })
}
