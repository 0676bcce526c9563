//! The term `vgg`.

use crate::definition::{Definition, Family, Features};
use crate::layers::sum;
pub use crate::layers::{LayerPreset, Layers};
use crate::mean::{Absolute, Squared, mean_distance};
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};
use candle_core::Tensor;
use colormamba_features::Network;
use serde::{Deserialize, Serialize};

const ABOUT: About = About {
    name: "vgg",
    formula: "Σ_l w_l ⟨d(φ_l(p) − φ_l(t))⟩, φ_l the output of the classifier's ReLU l, d(x) = x² or |x|",
    range: "0 upwards, by the classifier's scale",
    source: "Johnson, Alahi, Fei-Fei, ECCV 2016, arXiv 1603.08155; the networks: Simonyan, Zisserman, ICLR 2015, arXiv \
             1409.1556",
    options: "network = \"vgg19\": vgg16, vgg19, or st-vgg16 with blur pooling (with layers of their own also alexnet, \
              squeezenet and st-alexnet, whose weights are part of the program); layers = \"features21\": a list such as \
              [\"relu1_1\", \"relu2_1\"], or features21 (the output of torchvision's features[:21]: relu4_1 of vgg19, relu4_2 of vgg16), relu1_1-5_1 \
              (the first ReLU of every block), relu1_2-3_3 (relu1_2, relu2_2, relu3_3), all; layer_weights = []: w_l in \
              the order of the layers, all 1 if empty; distance = \"l2\": l2 (x²) or l1 (|x|)",
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
    fn taps(&self) -> Vec<String> {
        self.layers.taps(self.network)
    }
}

impl Definition for VggOptions {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn family(&self) -> Family {
        Family::Feature
    }

    fn channels(&self) -> Channels {
        Channels::OneOrThree
    }

    fn smallest_side(&self) -> usize {
        1
    }

    fn check(&self) -> Result<(), String> {
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

    fn features(&self) -> Option<Features> {
        Some(Features::Classifier { network: self.network, taps: self.taps() })
    }

    fn against(&self, target: &View) -> Result<Comparison, LossError> {
        let (network, distance) = (self.network, self.distance);
        let weights = self.layer_weights.iter().copied().chain(std::iter::repeat(1.0));
        let layers = self.taps().into_iter().zip(weights).map(|(tap, weight)| {
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
}
