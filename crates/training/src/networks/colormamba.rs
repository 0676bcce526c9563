//! ColorMamba (Zhai, Jin, Yang, Kang, arXiv 2408.08087): NIR and its HSV in, RGB and HSV out.

use crate::TrainingError;
use crate::architecture::{NetworkOptions, OptionError};
use crate::network::{HeadShape, NamedNodes, NamedTensors, Network, tensor};
use candle_core::DType;
use colormamba::{EdgeMap, Generator, GeneratorConfig, ModelError, Output};
use colormamba_layers::Scope;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;

/// Widest generator.
const WIDEST: usize = 1024;

/// Options of [`Generator`]: tensors `nir` `(B, 1, H, W)` in `[0, 1]` and `nir_hsv` `(B, 3, H, W)` in, the images `rgb`
/// `(B, 3, H, W)` in `[0, 1]` and `hsv` `(B, 3, H, W)` in `[-1, 1]` out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColorMambaOptions {
    /// Base width, a multiple of 8 up to 1024; 64 as published.
    pub width: usize,
    /// Halvings in the RGB network, 6 to 8; 8 as published. Both sides of an image are multiples of 2^depth.
    pub depth: usize,
    /// Which edge map guides the fusion.
    #[serde(serialize_with = "write_word", deserialize_with = "read_word")]
    pub edge_map: EdgeMap,
}

impl ColorMambaOptions {
    /// The generator's configuration.
    ///
    /// # Errors
    /// None if [`NetworkOptions::check`] has none.
    pub fn config(&self) -> Result<GeneratorConfig, ModelError> {
        GeneratorConfig::new(self.width, self.depth, self.edge_map)
    }
}

impl NetworkOptions for ColorMambaOptions {
    fn check(&self) -> Result<(), OptionError> {
        let Self { width, depth, .. } = *self;
        if !(1..=WIDEST).contains(&width) {
            return Err(OptionError::new("width", format!("width is {width}: it must be between 1 and {WIDEST}")));
        }
        if !width.is_multiple_of(8) {
            return Err(OptionError::new("width", format!("width {width} is not a multiple of 8")));
        }
        if !(6..=8).contains(&depth) {
            return Err(OptionError::new("depth", format!("depth {depth} is not 6, 7 or 8")));
        }
        Ok(())
    }

    fn check_size(&self, size: usize) -> Result<(), OptionError> {
        let (grid, depth) = (1_usize << self.depth, self.depth);
        if size.is_multiple_of(grid) {
            return Ok(());
        }
        Err(OptionError::new("size", format!("size {size} is not a multiple of {grid}, the grid of depth {depth}")))
    }

    fn heads(&self) -> Vec<HeadShape> {
        heads()
    }

    fn build(&self, scope: &Scope, activations: Option<DType>) -> Result<Box<dyn Network>, TrainingError> {
        let generator = Generator::new(scope, &self.config()?)?;
        Ok(Box::new(match activations {
            Some(activations) => generator.with_activations(activations),
            None => generator,
        }))
    }
}

impl Network for Generator {
    fn heads(&self) -> Vec<HeadShape> {
        heads()
    }

    fn forward(&self, batch: &NamedTensors, train: bool) -> Result<NamedNodes, TrainingError> {
        let Output { rgb, hsv } = Generator::forward(self, tensor(batch, "nir")?, tensor(batch, "nir_hsv")?, train)?;
        Ok(NamedNodes::from([("rgb".to_string(), rgb), ("hsv".to_string(), hsv)]))
    }

    fn check_size(&self, width: usize, height: usize) -> Result<(), TrainingError> {
        let wanted = format!("both sides must be positive multiples of {}", self.config().grid());
        self.config().check_size(width, height).map_err(|_| TrainingError::Size { width, height, wanted })
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        let config = self.config();
        let entries = [
            ("width", config.width().to_string()),
            ("depth", config.depth().to_string()),
            ("edge_map", config.edge_map().to_string()),
        ];
        entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
    }
}

fn heads() -> Vec<HeadShape> {
    vec![HeadShape { name: "rgb", channels: 3 }, HeadShape { name: "hsv", channels: 3 }]
}

fn write_word<S: Serializer>(edge_map: &EdgeMap, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(edge_map)
}

fn read_word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EdgeMap, D::Error> {
    let word = String::deserialize(deserializer)?;
    let known = EdgeMap::ALL.map(|edge_map| edge_map.to_string()).join("`, `");
    word.parse().map_err(|_| de::Error::custom(format!("unknown edge map `{word}`, expected one of `{known}`")))
}
