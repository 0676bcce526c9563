//! The term `style`.

use crate::definition::{Definition, Family, Features};
use crate::layers::{LayerPreset, Layers, sum};
use crate::mean::{Squared, mean_distance};
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};
use candle_core::{Result as CandleResult, Tensor};
use colormamba_features::Network;
use colormamba_ops::Node;
use serde::{Deserialize, Serialize};

const ABOUT: About = About {
    name: "style",
    formula: "Σ_l ‖G_l(p) − G_l(t)‖² (squared Frobenius norm) averaged over the batch, G_l = φ_l φ_lᵀ/(C H W), φ_l the \
              (C, H W) output of the classifier's ReLU l",
    range: "0 upwards, by the classifier's scale",
    source: "Gatys, Ecker, Bethge, CVPR 2016, doi:10.1109/CVPR.2016.265; scaled as by Johnson, Alahi, Fei-Fei, ECCV 2016, \
             arXiv 1603.08155",
    options: "network = \"vgg19\": vgg16, vgg19 or another, as in `vgg`; layers = \"relu1_1-5_1\": as in `vgg`",
};

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
    fn taps(&self) -> Vec<String> {
        self.layers.taps(self.network)
    }
}

impl Definition for StyleOptions {
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
        self.layers.check(self.network)
    }

    fn features(&self) -> Option<Features> {
        Some(Features::Classifier { network: self.network, taps: self.taps() })
    }

    fn against(&self, target: &View) -> Result<Comparison, LossError> {
        let network = self.network;
        let layers = self.taps().into_iter().map(|tap| {
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
}

/// F Fᵀ/(C H W) of each feature map F `(C, H W)` of `x` `(B, C, H, W)`: `(B, C, C)`.
fn gram(x: &Node) -> CandleResult<Node> {
    let x = x.contiguous()?;
    let (b, c, h, w) = x.dims4()?;
    let features = x.value().reshape((b, c, h * w))?;
    let scale = 1.0 / (c * h * w) as f64;
    let gram = (features.matmul(&features.t()?)? * scale)?;
    Node::new(gram, [&x], move |grad| {
        let both = ((grad + grad.t()?)? * scale)?;
        Ok([Some(both.matmul(&features)?.reshape((b, c, h, w))?)])
    })
}
