//! The loss of a checked manifest.

use colormamba_losses::{Adversarial, Extractor, Term, Weight, WeightSchedule};
use serde::ser::Error;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// What the generator minimises: terms on RGB and on HSV, and the adversarial loss.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Loss {
    /// Terms on the RGB image, by name.
    pub rgb: BTreeMap<String, LossTerm>,
    /// Terms on the HSV image, by name.
    pub hsv: BTreeMap<String, LossTerm>,
    /// How the terms are added up.
    pub combination: Combination,
    /// Without it no discriminators are trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adversarial: Option<AdversarialLoss>,
}

/// How terms are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Combination {
    /// By their weights.
    Fixed,
    /// By weights that are learned; see [`colormamba_losses::ImageObjective::with_log_weights`].
    Dynamic,
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
        self.rgb.values().chain(self.hsv.values()).map(|loss| &loss.term)
    }

    /// The terms on a head of the network.
    pub fn on(&self, head: &str) -> Option<&BTreeMap<String, LossTerm>> {
        match head {
            "rgb" => Some(&self.rgb),
            "hsv" => Some(&self.hsv),
            _ => None,
        }
    }

    /// The fixed networks that its terms look through.
    pub fn extractors(&self) -> impl Iterator<Item = Extractor> {
        self.terms().filter_map(Term::extractor)
    }
}
