//! ColorMamba (Zhai, Jin, Yang, Kang, arXiv 2408.08087): NIR and its HSV in, RGB and HSV out.

use crate::TrainingError;
use crate::architecture::{NetworkOptions, OptionAbout, OptionError};
use crate::network::{HeadShape, NamedNodes, NamedTensors, Network, Pass, tensor};
use candle_core::DType;
use colormamba::checkpoint::FIRST;
use colormamba::{EdgeMap, Generator, GeneratorConfig, ModelError, Output, UnknownEdgeMap};
use colormamba_layers::Scope;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;

/// Numbers that a training step holds at least, for each pixel of an image and channel of the width. About 140 were
/// measured (docs/benchmarks.md, `generator`).
const ACTIVATIONS: u64 = 100;

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
    /// What it is.
    pub const ABOUT: &'static str = "ColorMamba, arXiv 2408.08087. Its heads are `rgb` and `hsv`.";

    /// Its options.
    pub const OPTIONS: &'static [OptionAbout] = &[
        OptionAbout {
            name: "width",
            kind: "integer, a multiple of 8 up to 1024",
            default: None,
            meaning: "base channels; 64 as published",
        },
        OptionAbout {
            name: "depth",
            kind: "integer, 6 to 8",
            default: None,
            meaning: "halvings in G_A, so that the grid is 2^depth pixels; 8 as published",
        },
        OptionAbout {
            name: "edge_map",
            kind: "\"spatial\" or \"legacy\"",
            default: None,
            meaning: "how the edge map of the NIR image is made; \"legacy\" as published",
        },
    ];

    /// Those of a file of weights that names no kind: width and depth follow from the tensors alone, the edge map's
    /// form does not. The published files do not tell it; it is [`EdgeMap::Legacy`].
    pub(crate) fn of_weights(metadata: &BTreeMap<String, String>, tensors: &NamedTensors) -> Result<Self, OptionError> {
        let first = tensors.get(FIRST).and_then(|t| t.dims().first());
        let width = *first.ok_or_else(|| OptionError::new("width", "holds no ColorMamba generator"))?;
        let depth = 1 + (1..8).filter(|k| tensors.keys().any(|n| n.starts_with(&format!("netG_A.coder_{k}.")))).count();
        let edge_map = metadata.get("edge_map").map_or(Ok(EdgeMap::Legacy), |word| word.parse());
        let edge_map = edge_map.map_err(|e: UnknownEdgeMap| OptionError::new("edge_map", e.to_string()))?;
        Ok(Self { width, depth, edge_map })
    }

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
        let (grid, depth) = (self.grid(), self.depth);
        if size.is_multiple_of(grid) {
            return Ok(());
        }
        Err(OptionError::new("size", format!("size {size} is not a multiple of {grid}, the grid of depth {depth}")))
    }

    fn grid(&self) -> usize {
        1 << self.depth
    }

    fn heads(&self) -> Vec<HeadShape> {
        heads()
    }

    fn rgb(&self) -> &'static str {
        "rgb"
    }

    fn room(&self) -> Option<(u64, String)> {
        Some((ACTIVATIONS.saturating_mul(self.width as u64), format!("width = {}", self.width)))
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

    fn forward(&self, batch: &NamedTensors, pass: Pass) -> Result<NamedNodes, TrainingError> {
        let train = matches!(pass, Pass::Training(_));
        let Output { rgb, hsv } = Generator::forward(self, tensor(batch, "nir")?, tensor(batch, "nir_hsv")?, train)?;
        Ok(NamedNodes::from([("rgb".to_string(), rgb), ("hsv".to_string(), hsv)]))
    }

    fn check_size(&self, width: usize, height: usize) -> Result<(), TrainingError> {
        let wanted = format!("both sides must be positive multiples of {}", self.config().grid());
        self.config().check_size(width, height).map_err(|_| TrainingError::Size { width, height, wanted })
    }
}

fn heads() -> Vec<HeadShape> {
    vec![HeadShape::image("rgb", 3), HeadShape::image("hsv", 3)]
}

fn write_word<S: Serializer>(edge_map: &EdgeMap, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(edge_map)
}

fn read_word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EdgeMap, D::Error> {
    let word = String::deserialize(deserializer)?;
    let known = EdgeMap::ALL.map(|edge_map| edge_map.to_string()).join("`, `");
    word.parse().map_err(|_| de::Error::custom(format!("unknown edge map `{word}`, expected one of `{known}`")))
}
