//! The term `lpips`.

use crate::definition::{Definition, Family, Features};
use crate::layers::sum;
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};
use colormamba_features::LpipsNetwork;
use serde::{Deserialize, Serialize};

const ABOUT: About = About {
    name: "lpips",
    formula: "Σ_l ⟨Σ_c w_lc (φ̂_lc(p) − φ̂_lc(t))²⟩, φ̂_l = φ_l/(‖φ_l‖ + 1e-10) along the channels, φ_l the output of the \
              classifier's ReLU l, w learned",
    range: "0 upwards, mostly below 1",
    source: "Zhang, Isola, Efros, Shechtman, Wang, CVPR 2018, arXiv 1801.03924, version 0.1 of its weights",
    options: "network = \"vgg\": vgg (VGG-16), alex (AlexNet), squeeze (SqueezeNet 1.1), or with blur \
              pooling st-vgg and st-alex (ST-LPIPS, arXiv 2207.13686; the weights of st-alex are part of the \
              program)",
};

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

impl Definition for LpipsOptions {
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
        Ok(())
    }

    fn features(&self) -> Option<Features> {
        let taps = self.network.taps().iter().map(|tap| tap.to_string()).collect();
        Some(Features::Classifier { network: self.network.classifier(), taps })
    }

    fn against(&self, target: &View) -> Result<Comparison, LossError> {
        let network = self.network.classifier();
        let layers = self.network.layers()?.into_iter().map(|layer| {
            let target = target.tap(network, layer.tap())?.value();
            Ok(layer.against(target)?)
        });
        let layers = layers.collect::<Result<Vec<_>, LossError>>()?;
        Ok(Box::new(move |pred| {
            sum(layers.iter().map(|layer| Ok((layer.mean(pred.tap(network, layer.tap())?)?, 1.0))))
        }))
    }
}
