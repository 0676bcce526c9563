//! Classifiers of ImageNet and the names of their feature maps.

use crate::plan::{Pool, Step, plan};
use serde::{Deserialize, Serialize};
use strum::{Display, IntoStaticStr};

/// A published classifier, of which only the convolutions are used.
///
/// Sources: VGG, Simonyan and Zisserman, ICLR 2015, arXiv 1409.1556; AlexNet, Krizhevsky, arXiv 1404.5997; SqueezeNet,
/// Iandola et al., arXiv 1602.07360. Layers and their numbers are those of torchvision. The two that tolerate shifts: Ghildyal,
/// Liu, "Shift-tolerant perceptual similarity metric", ECCV 2022, arXiv 2207.13686.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Display, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Network {
    /// VGG-16 without batch norm.
    Vgg16,
    /// VGG-19 without batch norm.
    Vgg19,
    /// AlexNet (torchvision's, "one weird trick").
    AlexNet,
    /// SqueezeNet 1.1.
    SqueezeNet,
    /// VGG-16 with blur pooling, of ST-LPIPS.
    #[serde(rename = "st-vgg16")]
    #[strum(serialize = "st-vgg16")]
    StVgg16,
    /// AlexNet with blur pooling, of ST-LPIPS; its weights are part of the program.
    #[serde(rename = "st-alexnet")]
    #[strum(serialize = "st-alexnet")]
    StAlexNet,
}

/// A static, as a constant would be part of the program once for every crate that asks for it.
static ST_ALEXNET: &[u8] = include_bytes!("../../../weights/stlpips/alexnet.safetensors");

impl Network {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Vgg16, Self::Vgg19, Self::AlexNet, Self::SqueezeNet, Self::StVgg16, Self::StAlexNet];

    /// The name in manifests, and of the description under `weights/`.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|network| network.name() == name)
    }

    /// Its published weights as a `.safetensors` file, if they are part of the program.
    pub fn built_in(self) -> Option<&'static [u8]> {
        match self {
            Self::StAlexNet => Some(ST_ALEXNET),
            _ => None,
        }
    }

    /// The names of the feature maps, each after its ReLU, from the first layer on.
    ///
    /// Those of VGG are `relu{block}_{layer}`; AlexNet's `relu1` to `relu5`; SqueezeNet's `relu1` to `relu7` are the
    /// seven maps of LPIPS: after the first convolution and the fire modules 2, 4, 5, 6, 7 and 8, counted from 1.
    pub fn taps(self) -> &'static [&'static str] {
        match self {
            Self::Vgg16 | Self::StVgg16 => &[
                "relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_3", "relu4_1", "relu4_2",
                "relu4_3", "relu5_1", "relu5_2", "relu5_3",
            ],
            Self::Vgg19 => &[
                "relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_3", "relu3_4", "relu4_1",
                "relu4_2", "relu4_3", "relu4_4", "relu5_1", "relu5_2", "relu5_3", "relu5_4",
            ],
            Self::AlexNet | Self::StAlexNet => &["relu1", "relu2", "relu3", "relu4", "relu5"],
            Self::SqueezeNet => &["relu1", "relu2", "relu3", "relu4", "relu5", "relu6", "relu7"],
        }
    }

    /// The smallest height and width in pixels of an image that has all these feature maps. Unknown names count as
    /// none.
    pub fn smallest_side<T: AsRef<str>>(self, taps: &[T]) -> usize {
        let plan = plan(self);
        let deepest = plan.iter().rposition(|layer| taps.iter().any(|tap| layer.tap == Some(tap.as_ref())));
        let layers = plan.iter().take(deepest.map_or(0, |deepest| deepest + 1));
        layers.rev().fold(1, |side, layer| match layer.step {
            Step::Conv { kernel, stride, padding, blur, .. } => {
                let side = if blur { before_blur(side) } else { side };
                ((side - 1) * stride + kernel).saturating_sub(2 * padding).max(1)
            }
            Step::Pool(Pool::Two) => 2 * side,
            Step::Pool(Pool::Three) => 2 * side + 1,
            Step::Pool(Pool::ThreeUp) => 2 * side,
            Step::Pool(Pool::Blurred(window)) => before_blur(side) + window - 1,
            Step::Fire { .. } => side,
        })
    }
}

/// The smallest side that blur pooling makes one of `side` pixels of.
fn before_blur(side: usize) -> usize {
    (2 * side).saturating_sub(3).max(3)
}
