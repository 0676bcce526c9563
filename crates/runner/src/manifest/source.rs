//! Manifest text with its overrides, and where in them a mistake is.

use colormamba_support::names::nearest;
use serde::de::DeserializeOwned;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

/// A manifest that cannot run: where and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ManifestError {
    /// `FILE:LINE`, or the `--set` that is wrong.
    pub place: String,
    /// What is wrong and, where there is a nearest right name, that name.
    pub message: String,
}

/// The text of a manifest followed by its overrides.
///
/// Every span is an offset into the file and the overrides written one after another, so one number tells a line of the
/// file from an override.
pub struct Source {
    file: String,
    text: String,
    overrides: Vec<Override>,
}

/// A `key=value` as it was given, and as TOML.
struct Override {
    given: String,
    toml: String,
}

impl Override {
    /// A word that is no TOML, as in `features=random`, is text.
    fn new(given: &str) -> Self {
        let word = |value: &str| {
            let plain = |c: char| c.is_alphanumeric() || "_-./".contains(c);
            !value.is_empty() && value.chars().all(plain)
        };
        let toml = match given.split_once('=').map(|(key, value)| (key, value.trim())) {
            Some((key, value)) if word(value) && DeTable::parse(given).is_err() => format!("{key}=\"{value}\""),
            _ => given.to_string(),
        };
        Self { given: given.to_string(), toml }
    }
}

impl Source {
    /// `file` is the name shown in errors; `overrides` are `key=value` pairs, later ones win.
    pub fn new(file: impl Into<String>, text: impl Into<String>, overrides: &[String]) -> Self {
        Self {
            file: file.into(),
            text: text.into(),
            overrides: overrides.iter().map(|text| Override::new(text)).collect(),
        }
    }

    /// Reads the text into `T`.
    ///
    /// # Errors
    /// Wrong TOML, a key that `T` lacks, a value of another type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ManifestError> {
        let file = DeTable::parse(&self.text).map_err(|e| self.syntax(&e, 0))?;
        let span = file.span();
        let mut table = file.into_inner();
        let padded = self.padded();
        for (text, start) in padded.iter().zip(self.starts()) {
            let over = DeTable::parse(text).map_err(|e| self.syntax(&e, start))?;
            if !text[start..].contains('=') {
                return Err(self.error(start..start, "an override is KEY=VALUE, for example --set train.epochs=2"));
            }
            merge(&mut table, over.into_inner());
        }
        if let Some((key, span)) = array_for_table(&table) {
            return Err(self.error(span, format!("`{key}` is a table, not an array")));
        }
        T::deserialize(Deserializer::from(Spanned::new(span, table))).map_err(|e| {
            let message = plain(&with_nearest(e.message()));
            match e.span() {
                Some(span) => self.error(span, message),
                None => ManifestError { place: self.file.clone(), message },
            }
        })
    }

    /// An error at `span`.
    pub fn error(&self, span: Range<usize>, message: impl Into<String>) -> ManifestError {
        let starts = self.starts();
        let place = match starts.iter().rposition(|start| span.start >= *start) {
            Some(i) => format!("--set {}", self.overrides[i].given),
            None => {
                let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
                format!("{}:{}", self.file, 1 + before.iter().filter(|b| **b == b'\n').count())
            }
        };
        ManifestError { place, message: message.into() }
    }

    fn syntax(&self, error: &toml::de::Error, start: usize) -> ManifestError {
        let hint = if start > 0 {
            " (an override is KEY=VALUE in TOML: text that is more than a word needs quotes, key='\"text\"')"
        } else {
            ""
        };
        let span = error.span().unwrap_or(start..start);
        self.error(span.start.max(start)..span.end, format!("{}{hint}", error.message()))
    }

    /// Where each override begins.
    fn starts(&self) -> Vec<usize> {
        let mut next = self.text.len() + 1;
        let mut start = |over: &Override| {
            let this = next;
            next += over.toml.len() + 1;
            this
        };
        self.overrides.iter().map(&mut start).collect()
    }

    /// Each override after as many spaces as there is text before it.
    fn padded(&self) -> Vec<String> {
        self.overrides
            .iter()
            .zip(self.starts())
            .map(|(over, start)| format!("{}{}", " ".repeat(start), over.toml))
            .collect()
    }
}

/// Keys of tables. Serde would also read such a table from an array, as its values in order.
const TABLES: [&str; 14] = [
    "adversarial",
    "augmentation",
    "data",
    "hsv",
    "init",
    "loss",
    "lr_factors",
    "model",
    "optimizer",
    "rgb",
    "schedule",
    "synthetic",
    "train",
    "variant",
];

/// The first key of a table that has an array instead, and where that is.
fn array_for_table(table: &DeTable) -> Option<(String, Range<usize>)> {
    table.iter().find_map(|(key, value)| {
        let name = key.get_ref().as_ref();
        match value.get_ref() {
            DeValue::Table(inner) => array_for_table(inner),
            // Several variants are an array of tables.
            DeValue::Array(items) if name == "variant" => items.iter().find_map(|item| match item.get_ref() {
                DeValue::Table(inner) => array_for_table(inner),
                DeValue::Array(_) => Some((name.to_string(), item.span())),
                _ => None,
            }),
            DeValue::Array(_) if TABLES.contains(&name) => Some((name.to_string(), value.span())),
            _ => None,
        }
    })
}

fn merge<'i>(table: &mut DeTable<'i>, over: DeTable<'i>) {
    for (key, value) in over {
        let Some((old_key, mut old)) = table.remove_entry(&key) else {
            table.insert(key, value);
            continue;
        };
        match (old.get_mut(), value.get_ref()) {
            (DeValue::Table(into), DeValue::Table(_)) => {
                if let DeValue::Table(from) = value.into_inner() {
                    merge(into, from);
                }
                table.insert(old_key, old);
            }
            _ => {
                table.insert(key, value);
            }
        }
    }
}

/// Replaces serde's list of what was expected by the nearest name, if one is near.
pub(super) fn with_nearest(message: &str) -> String {
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let (kind, [given, known @ ..]) = (message.split('`').next().unwrap_or_default(), names.as_slice()) else {
        return message.to_string();
    };
    if !kind.starts_with("unknown") {
        return message.to_string();
    }
    let kind = kind.trim().replace("field", "key").replace("variant", "value");
    match nearest(given, known.iter().copied()) {
        Some(name) => format!("{kind} `{given}`, did you mean `{name}`?"),
        None => format!("{kind} `{given}`, known are `{}`", known.join("`, `")),
    }
}

/// What serde says of a value of another type, without the names that types have in Rust.
pub(super) fn plain(message: &str) -> String {
    let parts = message.strip_prefix("invalid type: ").or(message.strip_prefix("invalid value: "));
    let Some((found, wanted)) = parts.and_then(|parts| parts.rsplit_once(", expected ")) else {
        return message.to_string();
    };
    let wanted = match wanted {
        "i64" | "u32" | "usize" | "u64" => "a whole number",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "text",
        "a sequence" => "a list",
        "a map" => "a table",
        other => other,
    };
    let kinds = [
        ("string ", "the text "),
        ("integer ", ""),
        ("floating point ", ""),
        ("boolean ", ""),
        ("sequence", "a list"),
        ("map", "a table"),
    ];
    let named = kinds.into_iter().find_map(|(kind, word)| Some(format!("{word}{}", found.strip_prefix(kind)?)));
    let found = named.unwrap_or_else(|| found.to_string());
    format!("{wanted} is expected, not {found}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        train: Train,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Train {
        epochs: Spanned<i64>,
        #[serde(default)]
        rate: f64,
    }

    fn read(text: &str, overrides: &[&str]) -> Result<Config, ManifestError> {
        let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
        Source::new("m.toml", text, &overrides).read()
    }

    #[test]
    fn an_override_replaces_one_key_and_leaves_its_neighbours() {
        let config = read("[train]\nepochs = 1\nrate = 2\n", &["train.epochs=7", "train.epochs = 8"]).unwrap();
        assert_eq!((*config.train.epochs.get_ref(), config.train.rate), (8, 2.0));
        let config = read("train = { epochs = 1, rate = 2 }", &["train.rate=0.5"]).unwrap();
        assert_eq!((*config.train.epochs.get_ref(), config.train.rate), (1, 0.5));
    }

    #[test]
    fn a_word_needs_no_quotes() {
        #[derive(Debug, serde::Deserialize)]
        struct Words {
            a: String,
            b: f64,
        }
        let overrides = ["a=pre-trained".to_string(), "b=1e-3".into(), "a = ../x.pth".into()];
        let words: Words = Source::new("m.toml", "", &overrides).read().unwrap();
        assert_eq!((words.a.as_str(), words.b), ("../x.pth", 1e-3));
        let error = read("[train]\nepochs = 1\n", &["train.rate=fast"]).unwrap_err();
        assert_eq!(error.place, "--set train.rate=fast");
        assert_eq!(read("[train]\nepochs = 1\n", &["train.rate={"]).unwrap_err().place, "--set train.rate={");
    }

    #[test]
    fn mistakes_are_placed_by_line_or_by_override() {
        let error = read("[train]\nepochs = 1\nepoch = 2\n", &[]).unwrap_err();
        assert_eq!(error.to_string(), "m.toml:3: unknown key `epoch`, did you mean `epochs`?");
        let error = read("[train]\nepochs = 1\n", &["train.rate=1", "train.epoks=2"]).unwrap_err();
        assert_eq!(error.to_string(), "--set train.epoks=2: unknown key `epoks`, did you mean `epochs`?");
        let error = read("[train]\nepochs = 1\n", &["train.epochs=two"]).unwrap_err();
        assert_eq!(error.to_string(), "--set train.epochs=two: a whole number is expected, not the text \"two\"");
        let error = read("[train]\nepochs = 1\nrate = [1]", &[]).unwrap_err();
        assert_eq!(error.to_string(), "m.toml:3: a number is expected, not a list");
        assert_eq!(read("[train]\nepochs = = 1", &[]).unwrap_err().place, "m.toml:2");
        assert_eq!(read("[train]\nepochs = 1", &["train"]).unwrap_err().place, "--set train");
        assert_eq!(read("[train]\nepochs = 'x'", &[]).unwrap_err().place, "m.toml:2");
        assert_eq!(read("[train]\nepochs = 1", &["train.epochs='x'"]).unwrap_err().place, "--set train.epochs='x'");
    }

    proptest! {
        #[test]
        fn no_text_and_no_override_panics(text in "\\PC{0,40}", over in "\\PC{0,20}", key in "[a-z.=\\[\\]\"0-9]{0,12}") {
            let _ = read(&text, &[&over]);
            let _ = read("[train]\nepochs = 1\n", &[&over, &key]);
            let _ = read(&key, &[&key]);
        }
    }
}
