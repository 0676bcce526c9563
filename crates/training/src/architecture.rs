//! Networks by name, as a manifest gives them.

use crate::TrainingError;
use crate::network::{HeadShape, Network};
use crate::networks::ColorMambaOptions;
use candle_core::DType;
use colormamba_layers::Scope;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

/// The options of one kind of network.
pub trait NetworkOptions {
    /// Whether every option has a value that means something.
    ///
    /// # Errors
    /// Names the option.
    fn check(&self) -> Result<(), OptionError>;

    /// Whether such a network takes square images of `size` pixels a side.
    ///
    /// # Errors
    /// Of the option `size`: says which it takes.
    fn check_size(&self, size: usize) -> Result<(), OptionError>;

    /// The outputs of such a network.
    fn heads(&self) -> Vec<HeadShape>;

    /// Such a network over the tensors of `scope`, see [`crate::Builder`].
    ///
    /// # Errors
    /// If the scope holds tensors of other shapes.
    fn build(&self, scope: &Scope, activations: Option<DType>) -> Result<Box<dyn Network>, TrainingError>;
}

/// An option with a value that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OptionError {
    /// The option.
    pub key: &'static str,
    /// Its value, and what it may be.
    pub message: String,
}

impl OptionError {
    /// Of an option and what is wrong with its value.
    pub fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self { key, message: message.into() }
    }
}

/// A network by its `kind` and options, the table `[model]` of a manifest. Without `kind` it is [`Self::ColorMamba`], which
/// is also written without, as when all networks were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", remote = "Self")]
pub enum Architecture {
    /// `colormamba`.
    ColorMamba(ColorMambaOptions),
}

impl Architecture {
    /// What this kind of network does with its options.
    pub fn options(&self) -> &dyn NetworkOptions {
        match self {
            Self::ColorMamba(options) => options,
        }
    }
}

impl<'de> Deserialize<'de> for Architecture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut table = Map::deserialize(deserializer)?;
        table.entry("kind").or_insert_with(|| "colormamba".into());
        // The derived function, which wants a `kind`; not this one.
        Self::deserialize(Value::Object(table)).map_err(de::Error::custom)
    }
}

impl Serialize for Architecture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::ColorMamba(options) => options.serialize(serializer),
        }
    }
}
