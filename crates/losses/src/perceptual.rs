//! Terms that compare features of fixed networks.

mod cosine;
mod gram;
mod layers;

pub use layers::{LayerPreset, Layers};

use crate::mean::{Absolute, Squared, mean_distance};
use crate::scalar::weighted_sum;
use crate::view::{Comparison, View};
use crate::{About, LossError, Term};
use candle_core::Tensor;
use colormamba_features::{LpipsNetwork, Network};
use colormamba_ops::Node;
use cosine::mean_cosine_distance;
use gram::gram;
use serde::{Deserialize, Serialize};

pub(crate) const FEATURE_MSE: About = About {
    name: "feature_mse",
    formula: "⟨(φ(p) − φ(t))²⟩, φ the first four blocks of a fixed auto-encoder",
    range: "0 upwards, by the auto-encoder's scale",
    source: "ColorMamba, arXiv 2408.08087, with the auto-encoder of GAN-STFM, doi:10.1109/TGRS.2021.3050551",
    options: "",
};

pub(crate) const FEATURE_COSINE: About = About {
    name: "feature_cosine",
    formula: "1 − ⟨φ(p)·φ(t) / (‖φ(p)‖ ‖φ(t)‖)⟩ along the channels, φ the first four blocks of a fixed auto-encoder",
    range: "0 to 2",
    source: "ColorMamba, arXiv 2408.08087, with the auto-encoder of GAN-STFM, doi:10.1109/TGRS.2021.3050551",
    options: "",
};

pub(crate) const VGG: About = About {
    name: "vgg",
    formula: "Σ_l w_l ⟨d(φ_l(p) − φ_l(t))⟩, φ_l the output of the classifier's ReLU l, d(x) = x² or |x|",
    range: "0 upwards, by the classifier's scale",
    source: "Johnson, Alahi, Fei-Fei, ECCV 2016, arXiv 1603.08155; the networks: Simonyan, Zisserman, ICLR 2015, arXiv \
             1409.1556",
    options: "network = \"vgg19\": vgg16 or vgg19; layers = \"features21\": a list such as [\"relu1_1\", \"relu2_1\"], or \
              features21 (the output of torchvision's features[:21]: relu4_1 of vgg19, relu4_2 of vgg16), relu1_1-5_1 \
              (the first ReLU of every block), relu1_2-3_3 (relu1_2, relu2_2, relu3_3), all; layer_weights = []: w_l in \
              the order of the layers, all 1 if empty; distance = \"l2\": l2 (x²) or l1 (|x|)",
};

pub(crate) const STYLE: About = About {
    name: "style",
    formula: "Σ_l ‖G_l(p) − G_l(t)‖² (squared Frobenius norm) averaged over the batch, G_l = φ_l φ_lᵀ/(C H W), φ_l the \
              (C, H W) output of the classifier's ReLU l",
    range: "0 upwards, by the classifier's scale",
    source: "Gatys, Ecker, Bethge, CVPR 2016, doi:10.1109/CVPR.2016.265; scaled as by Johnson, Alahi, Fei-Fei, ECCV 2016, \
             arXiv 1603.08155",
    options: "network = \"vgg19\": vgg16 or vgg19; layers = \"relu1_1-5_1\": as in `vgg`",
};

pub(crate) const LPIPS: About = About {
    name: "lpips",
    formula: "Σ_l ⟨Σ_c w_lc (φ̂_lc(p) − φ̂_lc(t))²⟩, φ̂_l = φ_l/(‖φ_l‖ + 1e-10) along the channels, φ_l the output of the \
              classifier's ReLU l, w learned",
    range: "0 upwards, mostly below 1",
    source: "Zhang, Isola, Efros, Shechtman, Wang, CVPR 2018, arXiv 1801.03924, version 0.1 of its weights",
    options: "network = \"vgg\": vgg (VGG-16), alex (AlexNet) or squeeze (SqueezeNet 1.1)",
};

/// How features are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeatureDistance {
    /// |x|.
    L1,
    /// x².
    #[default]
    L2,
}

/// Options of `vgg`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VggOptions {
    /// VGG-16 or VGG-19.
    pub network: Network,
    /// The feature maps.
    pub layers: Layers,
    /// A weight for each of them, at least 0; 1 for all if there are none.
    pub layer_weights: Vec<f64>,
    /// How they are compared.
    pub distance: FeatureDistance,
}

impl Default for VggOptions {
    fn default() -> Self {
        Self {
            network: Network::Vgg19,
            layers: Layers::Preset(LayerPreset::Features21),
            layer_weights: Vec::new(),
            distance: FeatureDistance::default(),
        }
    }
}

impl VggOptions {
    pub(crate) fn check(&self) -> Result<(), String> {
        self.layers.check(self.network)?;
        let (weights, layers) = (self.layer_weights.len(), self.taps().len());
        if weights != 0 && weights != layers {
            return Err(format!("layer_weights has {weights} weights for {layers} layers"));
        }
        match self.layer_weights.iter().find(|w| !(w.is_finite() && **w >= 0.0)) {
            Some(weight) => {
                Err(format!("layer_weights holds {weight}; a weight is a finite number that is not negative"))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn taps(&self) -> Vec<String> {
        self.layers.taps(self.network)
    }
}

/// Options of `style`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StyleOptions {
    /// VGG-16 or VGG-19.
    pub network: Network,
    /// The feature maps.
    pub layers: Layers,
}

impl Default for StyleOptions {
    fn default() -> Self {
        Self { network: Network::Vgg19, layers: Layers::Preset(LayerPreset::FirstOfBlocks) }
    }
}

impl StyleOptions {
    pub(crate) fn check(&self) -> Result<(), String> {
        self.layers.check(self.network)
    }

    pub(crate) fn taps(&self) -> Vec<String> {
        self.layers.taps(self.network)
    }
}

/// Options of `lpips`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LpipsOptions {
    /// The classifier.
    pub network: LpipsNetwork,
}

impl Default for LpipsOptions {
    fn default() -> Self {
        Self { network: LpipsNetwork::Vgg }
    }
}

impl LpipsOptions {
    pub(crate) fn taps(self) -> Vec<String> {
        self.network.taps().iter().map(|tap| tap.to_string()).collect()
    }
}

/// The smallest side that a term's classifier takes.
pub(crate) fn smallest_side(term: &Term) -> usize {
    let network = match term {
        Term::Vgg(options) => options.network,
        Term::Style(options) => options.network,
        Term::Lpips(options) => options.network.classifier(),
        _ => return 1,
    };
    network.smallest_side(&term.taps())
}

pub(crate) fn feature_mse(target: &View) -> Result<Comparison, LossError> {
    let target = target.autoencoder()?.value().clone();
    Ok(Box::new(move |pred| Ok(mean_distance(pred.autoencoder()?, &target, Squared)?)))
}

pub(crate) fn feature_cosine(target: &View) -> Result<Comparison, LossError> {
    let target = target.autoencoder()?.value().clone();
    Ok(Box::new(move |pred| Ok(mean_cosine_distance(pred.autoencoder()?, &target)?)))
}

pub(crate) fn vgg(options: &VggOptions, target: &View) -> Result<Comparison, LossError> {
    let (network, distance) = (options.network, options.distance);
    let weights = options.layer_weights.iter().copied().chain(std::iter::repeat(1.0));
    let layers = options.taps().into_iter().zip(weights).map(|(tap, weight)| {
        let target = target.tap(network, &tap)?.value().clone();
        Ok((tap, weight, target))
    });
    let layers: Vec<(String, f64, Tensor)> = layers.collect::<Result<_, LossError>>()?;
    Ok(Box::new(move |pred| {
        let part = |(tap, weight, target): &(String, f64, Tensor)| {
            let features = pred.tap(network, tap)?;
            let mean = match distance {
                FeatureDistance::L1 => mean_distance(features, target, Absolute)?,
                FeatureDistance::L2 => mean_distance(features, target, Squared)?,
            };
            Ok((mean, *weight))
        };
        sum(layers.iter().map(part))
    }))
}

pub(crate) fn style(options: &StyleOptions, target: &View) -> Result<Comparison, LossError> {
    let network = options.network;
    let layers = options.taps().into_iter().map(|tap| {
        let target = gram(target.tap(network, &tap)?)?.value().clone();
        Ok((tap, target))
    });
    let layers: Vec<(String, Tensor)> = layers.collect::<Result<_, LossError>>()?;
    Ok(Box::new(move |pred| {
        let part = |(tap, target): &(String, Tensor)| {
            let elements = target.elem_count() / target.dim(0)?;
            // The mean is over the elements too.
            Ok((mean_distance(&gram(pred.tap(network, tap)?)?, target, Squared)?, elements as f64))
        };
        sum(layers.iter().map(part))
    }))
}

pub(crate) fn lpips(options: LpipsOptions, target: &View) -> Result<Comparison, LossError> {
    let network = options.network.classifier();
    let layers = options.network.layers()?.into_iter().map(|layer| {
        let target = target.tap(network, layer.tap())?.value();
        Ok(layer.against(target)?)
    });
    let layers = layers.collect::<Result<Vec<_>, LossError>>()?;
    Ok(Box::new(move |pred| sum(layers.iter().map(|layer| Ok((layer.mean(pred.tap(network, layer.tap())?)?, 1.0))))))
}

/// The weighted sum of the layers' parts.
fn sum(parts: impl Iterator<Item = Result<(Node, f64), LossError>>) -> Result<Node, LossError> {
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    let parts: Vec<(&Node, f64)> = parts.iter().map(|(part, weight)| (part, *weight)).collect();
    Ok(weighted_sum(&parts)?)
}
