//! The loss of a checked manifest.

use colormamba_losses::{Adversarial, Combination, Extractor, Term, Weight, WeightSchedule};
use serde::ser::{Error, SerializeMap};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// What the network minimises: terms on each of its heads, and the adversarial loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// Every head by its name, in the network's order, with its terms.
    pub heads: Vec<(&'static str, Terms)>,
    /// How the terms are added up.
    pub combination: Combination,
    /// Without it no discriminators are trained.
    pub adversarial: Option<AdversarialLoss>,
}

/// The terms on a head, by name.
pub type Terms = BTreeMap<String, LossTerm>;

/// One table: the heads stand beside the other keys.
impl Serialize for Loss {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut table = serializer.serialize_map(None)?;
        for (head, terms) in &self.heads {
            table.serialize_entry(head, terms)?;
        }
        table.serialize_entry("combination", &self.combination)?;
        if let Some(adversarial) = &self.adversarial {
            table.serialize_entry("adversarial", adversarial)?;
        }
        table.end()
    }
}

/// A term with its weight. Serialises as the weight alone, or as a table with the options if there are any.
#[derive(Clone, Debug, PartialEq)]
pub struct LossTerm {
    /// The term with its options.
    pub term: Term,
    /// How much it counts.
    pub weight: Weight,
}

impl From<(Term, f64)> for LossTerm {
    fn from((term, weight): (Term, f64)) -> Self {
        Self { term, weight: weight.into() }
    }
}

impl Serialize for LossTerm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Table {
            weight: f64,
            #[serde(skip_serializing_if = "Option::is_none")]
            schedule: Option<WeightSchedule>,
            #[serde(flatten)]
            options: toml::Table,
        }
        let Weight { value, schedule } = self.weight;
        let named = toml::Value::try_from(&self.term).map_err(S::Error::custom)?;
        let Some(options) = named.get(self.term.name()).and_then(toml::Value::as_table).cloned() else {
            return Err(S::Error::custom("a loss term is no table of its options"));
        };
        if options.is_empty() && schedule.is_none() {
            return value.serialize(serializer);
        }
        Table { weight: value, schedule, options }.serialize(serializer)
    }
}

/// The adversarial part of the loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AdversarialLoss {
    /// How scores become losses.
    pub kind: Adversarial,
    /// Weight of each head's adversarial loss in the generator's loss.
    pub weight: f64,
    /// Scales of each discriminator; 1 is the published one.
    pub scales: usize,
    /// Weight of the gradient penalty in the discriminators' loss, for [`Adversarial::WganGp`] alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub penalty: Option<f64>,
}

impl Loss {
    /// All terms.
    pub fn terms(&self) -> impl Iterator<Item = &Term> {
        self.heads.iter().flat_map(|(_, terms)| terms.values()).map(|loss| &loss.term)
    }

    /// The terms on a head of the network.
    pub fn on(&self, head: &str) -> Option<&Terms> {
        self.heads.iter().find(|(name, _)| *name == head).map(|(_, terms)| terms)
    }

    /// The fixed networks that its terms look through.
    pub fn extractors(&self) -> impl Iterator<Item = Extractor> {
        self.terms().filter_map(Term::extractor)
    }
}
