//! The small network of local offsets and gains: NIR in, RGB out.

use crate::TrainingError;
use crate::architecture::{NetworkOptions, OptionAbout, OptionError};
use crate::network::{FEATURES, HeadShape, LocalColour, NamedNodes, NamedTensors, Network, Pass, tensor};
use candle_core::{DType, Tensor};
use colormamba_layers::Scope;
use colormamba_lite::{DARKEST, Dropping, Lite, WIDTHS, own_name};
use serde::{Deserialize, Serialize};

/// Options of [`Lite`]: a tensor `nir` `(B, 1, H, W)` in `[0, 1]` in, the image `rgb` `(B, 3, H, W)` in `[0, 1]` out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiteOptions {
    /// Base width of the decoder, see [`WIDTHS`].
    pub width: usize,
    /// See [`Dropping::channels`].
    #[serde(default, skip_serializing_if = "none")]
    pub dropout: f64,
    /// See [`Dropping::blocks`].
    #[serde(default, skip_serializing_if = "none")]
    pub stochastic_depth: f64,
}

fn none(share: &f64) -> bool {
    *share == 0.0
}

impl LiteOptions {
    /// What it is.
    pub const ABOUT: &'static str = "A U-Net on an EfficientNet-Lite0 encoder (arXiv 1905.11946) that gives an offset and a \
                                     gain for each colour, `rgb = sigmoid(offset + gain · logit(nir))`: detail is the NIR \
                                     image's own. Takes images of any size. Its head is `rgb`.";

    /// Its options.
    pub const OPTIONS: &'static [OptionAbout] = &[
        OptionAbout {
            name: "width",
            kind: "integer, 4 to 256",
            default: None,
            meaning: "base channels of the decoder; 32 as shipped",
        },
        OptionAbout {
            name: "dropout",
            kind: "0 to below 1",
            default: Some("0"),
            meaning: "share of the bottleneck's channels that a pass in training leaves out (arXiv 1411.4280)",
        },
        OptionAbout {
            name: "stochastic_depth",
            kind: "0 to below 1",
            default: Some("0"),
            meaning: "share of images for which a pass in training leaves out the encoder's last block with a skip; \
                      less for those before it (arXiv 1603.09382)",
        },
    ];
}

impl NetworkOptions for LiteOptions {
    fn check(&self) -> Result<(), OptionError> {
        if !WIDTHS.contains(&self.width) {
            let (least, most) = (WIDTHS.start(), WIDTHS.end());
            let message = format!("width is {}: it must be between {least} and {most}", self.width);
            return Err(OptionError::new("width", message));
        }
        for (key, share) in [("dropout", self.dropout), ("stochastic_depth", self.stochastic_depth)] {
            if !(0.0..1.0).contains(&share) {
                return Err(OptionError::new(key, format!("{key} is {share}: it must be at least 0 and below 1")));
            }
        }
        Ok(())
    }

    fn check_size(&self, _: usize) -> Result<(), OptionError> {
        Ok(())
    }

    fn takes_bf16(&self) -> bool {
        false
    }

    /// About 340 were measured at width 32 (`run --profile`): 718 MiB at batch 8 and 256x256.
    fn room(&self) -> Option<(u64, String)> {
        Some((200 + 4 * self.width as u64, format!("width = {}", self.width)))
    }

    fn heads(&self) -> Vec<HeadShape> {
        heads()
    }

    fn rgb(&self) -> &'static str {
        RGB
    }

    /// Those of the bottleneck, at stride 32.
    fn features(&self) -> Option<usize> {
        Some(Lite::features(self.width))
    }

    /// Of a published EfficientNet-Lite0, the encoder.
    fn own_name(&self, name: &str) -> String {
        own_name(name).unwrap_or_else(|| name.to_string())
    }

    fn build(&self, scope: &Scope, activations: Option<DType>) -> Result<Box<dyn Network>, TrainingError> {
        if let Some(other) = activations.filter(|activations| *activations == DType::BF16) {
            return Err(TrainingError::Precision { kind: "lite", asked: other.as_str() });
        }
        let dropping = Dropping { channels: self.dropout, blocks: self.stochastic_depth };
        Ok(Box::new(Lite::new(scope, self.width)?.with_dropping(dropping)))
    }
}

const RGB: &str = "rgb";

impl Network for Lite {
    fn heads(&self) -> Vec<HeadShape> {
        heads()
    }

    fn forward(&self, batch: &NamedTensors, pass: Pass) -> Result<NamedNodes, TrainingError> {
        let (picture, features) = self.with_features(tensor(batch, "nir")?, pass.chance())?;
        Ok(NamedNodes::from([(RGB.to_string(), picture), (FEATURES.to_string(), features)]))
    }

    fn check_size(&self, _: usize, _: usize) -> Result<(), TrainingError> {
        Ok(())
    }

    fn local(&self) -> Option<&dyn LocalColour> {
        Some(self)
    }
}

impl LocalColour for Lite {
    fn coefficients(&self, nir: &Tensor) -> Result<Tensor, TrainingError> {
        Ok(Lite::coefficients(self, nir, None)?.value().clone())
    }

    fn darkest(&self) -> f64 {
        DARKEST
    }
}

fn heads() -> Vec<HeadShape> {
    vec![HeadShape::image(RGB, 3)]
}
