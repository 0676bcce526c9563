//! Terms for images with speckle.

use crate::view::{Comparison, View};
use crate::{About, LossError, Term};
use serde::{Deserialize, Deserializer, Serialize};

pub(crate) const LOG_DOMAIN: About = About { name: "log_domain", formula: "", range: "", source: "", options: "" };
pub(crate) const ENL: About = About { name: "enl", formula: "", range: "", source: "", options: "" };

/// Options of `log_domain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogDomainOptions {
    /// Added to intensities before the logarithm; above 0.
    pub eps: f64,
    /// What compares the logarithms: a pixel or structure term, as a name or as a table with options.
    #[serde(deserialize_with = "name_or_table")]
    pub term: Box<Term>,
}

impl Default for LogDomainOptions {
    fn default() -> Self {
        Self { eps: 1e-3, term: Box::new(Term::L1 {}) }
    }
}

fn name_or_table<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<Term>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Name(String),
        Table(Term),
    }
    match Form::deserialize(deserializer)? {
        Form::Name(name) => name.parse().map(Box::new).map_err(serde::de::Error::custom),
        Form::Table(term) => Ok(Box::new(term)),
    }
}

impl LogDomainOptions {
    pub(crate) fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Options of `enl`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnlOptions {
    /// Side of the square windows in pixels, at least 2.
    pub window: usize,
    /// Which windows count.
    pub mask: Mask,
}

/// Which windows count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mask {
    /// All.
    All,
    /// The homogeneous half.
    Homogeneous,
}

impl Default for EnlOptions {
    fn default() -> Self {
        Self { window: 7, mask: Mask::Homogeneous }
    }
}

impl EnlOptions {
    pub(crate) fn check(self) -> Result<(), String> {
        Ok(())
    }
}

pub(crate) fn log_domain(_: &LogDomainOptions, _: &View) -> Result<Comparison, LossError> {
    Err(LossError::Unseen { what: "log_domain".into() })
}

pub(crate) fn enl(_: EnlOptions, _: &View) -> Result<Comparison, LossError> {
    Err(LossError::Unseen { what: "enl".into() })
}
