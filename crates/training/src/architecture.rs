//! Networks by name, as manifests and files of weights give them.

use crate::TrainingError;
use crate::network::{HeadShape, NamedTensors, Network};
use crate::networks::{ColorMambaOptions, LiteOptions};
use candle_core::DType;
use colormamba_layers::Scope;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

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

    /// What both sides of an image must be multiples of, in pixels.
    fn grid(&self) -> usize {
        1
    }

    /// The outputs of such a network.
    fn heads(&self) -> Vec<HeadShape>;

    /// The head that is the picture: `(B, 3, H, W)` in `[0, 1]`. Its target is the RGB image; it is what is scored and
    /// written.
    fn rgb(&self) -> &'static str;

    /// Channels of the feature map [`crate::FEATURES`] `(B, C, h, w)` that it gives beside its images, and that learns
    /// of others' ([`crate::Hints`]); none if it gives none.
    fn features(&self) -> Option<usize> {
        None
    }

    /// Whether activations may be bf16.
    fn takes_bf16(&self) -> bool {
        true
    }

    /// How many numbers a training step holds at least for each pixel of an image, and the option that they grow with,
    /// as `width = 64`; nothing where that was not measured.
    fn room(&self) -> Option<(u64, String)> {
        None
    }

    /// What such a network calls a tensor that files of others call `name`; the same unless it stands on a network that
    /// was published under other names.
    fn own_name(&self, name: &str) -> String {
        name.to_string()
    }

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

/// An option in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionAbout {
    /// Its name.
    pub name: &'static str,
    /// Its type and range.
    pub kind: &'static str,
    /// What it is without being named; `None` if it must be there.
    pub default: Option<&'static str>,
    /// What it is for.
    pub meaning: &'static str,
}

/// A kind of network in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkAbout {
    /// The `kind` in manifests and files of weights.
    pub kind: &'static str,
    /// What it is, and where it comes from.
    pub about: &'static str,
    /// Its options.
    pub options: &'static [OptionAbout],
}

/// Makes the enum and all that names its variants from lines `"KIND": VARIANT(OPTIONS)`. The options have the constants
/// `ABOUT` and `OPTIONS`, which describe them.
macro_rules! architectures {
    ($($kind:literal: $variant:ident($options:ty),)*) => {
        /// A network by its `kind` and options, the table `[model]` of a manifest. Without `kind` it is
        /// [`Self::ColorMamba`], which is also written without, as when all networks were.
        #[derive(Clone, Debug, PartialEq, Deserialize)]
        #[serde(tag = "kind", remote = "Self")]
        pub enum Architecture {
            $(
                #[doc = concat!("`", $kind, "`.")]
                #[serde(rename = $kind)]
                $variant($options),
            )*
        }

        impl Architecture {
            /// Every kind in words.
            pub const KINDS: &'static [NetworkAbout] =
                &[$(NetworkAbout { kind: $kind, about: <$options>::ABOUT, options: <$options>::OPTIONS },)*];

            /// Its kind.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $kind,)*
                }
            }

            /// What this kind of network does with its options.
            pub fn options(&self) -> &dyn NetworkOptions {
                match self {
                    $(Self::$variant(options) => options,)*
                }
            }
        }

        impl Serialize for Architecture {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$variant(options) => write(Tagged { kind: $kind, options }, serializer),)*
                }
            }
        }
    };
}

architectures! {
    "colormamba": ColorMamba(ColorMambaOptions),
    "lite": Lite(LiteOptions),
}

/// The kind that a table without one has.
const UNNAMED: &str = "colormamba";

/// The key of the kind, in a table and in a file of weights.
const KIND: &str = "kind";

/// The key of the options, as JSON, in a file of weights.
const OPTIONS: &str = "options";

/// Options under their kind.
#[derive(Serialize)]
struct Tagged<'a, T> {
    kind: &'static str,
    #[serde(flatten)]
    options: &'a T,
}

fn write<T: Serialize, S: Serializer>(tagged: Tagged<T>, serializer: S) -> Result<S::Ok, S::Error> {
    if tagged.kind == UNNAMED { tagged.options.serialize(serializer) } else { tagged.serialize(serializer) }
}

impl<'de> Deserialize<'de> for Architecture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut table = Map::deserialize(deserializer)?;
        table.entry(KIND).or_insert_with(|| UNNAMED.into());
        // The derived function, which wants a `kind`; not this one.
        Self::deserialize(Value::Object(table)).map_err(de::Error::custom)
    }
}

impl Architecture {
    /// What a file of its weights says of it, for [`Self::of_weights`].
    ///
    /// # Errors
    /// An option that JSON cannot hold.
    pub fn metadata(&self) -> Result<BTreeMap<String, String>, serde_json::Error> {
        serde_json::to_value(self).map(entries)
    }

    /// The network whose weights a file holds, by what its header says and by its tensors. A file that names no kind is
    /// of ColorMamba: the published ones, and those from before there were other kinds.
    ///
    /// # Errors
    /// A kind or options that are not known, tensors of no ColorMamba in a file that names no kind.
    pub fn of_weights(metadata: &BTreeMap<String, String>, tensors: &NamedTensors) -> Result<Self, OptionError> {
        let Some(kind) = metadata.get(KIND) else {
            return Ok(Self::ColorMamba(ColorMambaOptions::of_weights(metadata, tensors)?));
        };
        let known: Vec<&str> = Self::KINDS.iter().map(|about| about.kind).collect();
        if !known.contains(&kind.as_str()) {
            let known = known.join("`, `");
            let message = format!("weights of a network of kind `{kind}`, which is not known; known are `{known}`");
            return Err(OptionError::new(KIND, message));
        }
        let wrong = |what: String| OptionError::new(OPTIONS, format!("options of a network of kind `{kind}`: {what}"));
        let options = metadata.get(OPTIONS).ok_or_else(|| wrong("its header has none".into()))?;
        let mut table: Map<String, Value> = serde_json::from_str(options).map_err(|e| wrong(e.to_string()))?;
        table.insert(KIND.to_string(), kind.as_str().into());
        let architecture = Self::deserialize(Value::Object(table)).map_err(|e| wrong(e.to_string()))?;
        architecture.options().check().map_err(|e| wrong(e.to_string()))?;
        Ok(architecture)
    }
}

/// An architecture's table as the entries of a header: options each for itself if it has no kind, as when all files
/// were of ColorMamba; else kind and options apart, so that no option can be taken for what a run says of itself.
fn entries(table: Value) -> BTreeMap<String, String> {
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let Value::Object(mut table) = table else { return BTreeMap::new() };
    match table.remove(KIND) {
        None => table.into_iter().map(|(key, value)| (key, text(value))).collect(),
        Some(kind) => [(KIND, text(kind)), (OPTIONS, Value::Object(table).to_string())]
            .map(|(key, value)| (key.to_string(), value))
            .into(),
    }
}

/// Its kind and options in words.
impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(Value::Object(table)) = serde_json::to_value(self) else { return f.write_str(self.kind()) };
        let options = table.iter().filter(|(key, _)| *key != KIND).map(|(key, value)| format!("{key} {value}"));
        write!(f, "{} with {}", self.kind(), options.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::HeadKind;

    #[derive(Serialize)]
    struct Options {
        width: usize,
        word: &'static str,
    }

    /// A kind that is not there yet.
    fn table(kind: &'static str) -> Value {
        let options = Options { width: 4, word: "8" };
        write(Tagged { kind, options: &options }, serde_json::value::Serializer).unwrap()
    }

    fn pairs(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    fn options() -> ColorMambaOptions {
        ColorMambaOptions { width: 8, depth: 6, edge_map: colormamba::EdgeMap::Spatial }
    }

    #[test]
    fn every_kind_but_colormamba_is_written() {
        assert_eq!(table("colormamba"), serde_json::json!({"width": 4, "word": "8"}));
        assert_eq!(table("other"), serde_json::json!({"kind": "other", "width": 4, "word": "8"}));
        assert_eq!(entries(table("colormamba")), pairs(&[("width", "4"), ("word", "8")]));
        assert_eq!(entries(table("other")), pairs(&[("kind", "other"), ("options", r#"{"width":4,"word":"8"}"#)]));
    }

    #[test]
    fn a_file_says_which_network_it_is_of() {
        let of = |entries: &[(&str, &str)]| Architecture::of_weights(&pairs(entries), &NamedTensors::new());
        let text = r#"{"width": 8, "depth": 6, "edge_map": "spatial"}"#;
        let named = of(&[("kind", "colormamba"), ("options", text), ("size", "64")]).unwrap();
        assert_eq!(named, Architecture::ColorMamba(options()));
        assert_eq!(named.metadata().unwrap(), pairs(&[("depth", "6"), ("edge_map", "spatial"), ("width", "8")]));
        assert_eq!(named.to_string(), r#"colormamba with depth 6, edge_map "spatial", width 8"#);
        let says = |entries: &[(&str, &str)], wanted: &str| {
            let text = of(entries).unwrap_err().to_string();
            assert!(text.contains(wanted), "{wanted} in {text}");
        };
        says(&[("kind", "unet")], "a network of kind `unet`, which is not known; known are `colormamba`, `lite`");
        says(&[("kind", "colormamba")], "options of a network of kind `colormamba`: its header has none");
        says(&[("kind", "colormamba"), ("options", "8")], "options of a network of kind `colormamba`: ");
        says(&[("kind", "colormamba"), ("options", r#"{"wide": 8}"#)], "unknown field `wide`");
        says(&[("kind", "colormamba"), ("options", &text.replace('8', "9"))], "width 9 is not a multiple of 8");
        says(&[], "holds no ColorMamba generator");
    }

    /// What a network's file must hold to; the macro does the rest.
    #[test]
    fn every_kind_is_described() {
        let architectures = [
            Architecture::ColorMamba(options()),
            Architecture::Lite(LiteOptions { width: 8, dropout: 0.1, stochastic_depth: 0.1 }),
        ];
        assert_eq!(architectures.len(), Architecture::KINDS.len(), "one of each kind");
        for (architecture, about) in architectures.iter().zip(Architecture::KINDS) {
            let table = serde_json::to_value(architecture).unwrap();
            let mut written: Vec<&str> = table.as_object().unwrap().keys().map(String::as_str).collect();
            written.retain(|key| *key != KIND);
            let mut described: Vec<&str> = about.options.iter().map(|option| option.name).collect();
            described.sort_unstable();
            assert_eq!((about.kind, described), (architecture.kind(), written));
            let heads = architecture.options().heads();
            let rgb = heads.iter().find(|head| head.name == architecture.options().rgb());
            assert_eq!(rgb.map(|head| head.kind), Some(HeadKind::Image { channels: 3 }), "{architecture}");
            for reserved in ["preset", "combination", "total", "adversarial", "nir", "nir_hsv"] {
                assert!(heads.iter().all(|head| head.name != reserved), "{reserved} has another meaning");
            }
        }
    }
}
