//! The lines of the logs of a run.

use crate::system::files::read_lines;
use anyhow::{Result, ensure};
use colormamba_data::Protocol;
use colormamba_features::Metric;
use colormamba_training::{GradientReport, NetworkLosses, TermValue};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// What a number was measured on: only numbers with equal settings can stand in one table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Setting {
    /// The dataset's name.
    pub dataset: String,
    /// Digest of everything that defines the split.
    pub fingerprint: String,
    /// `train`, `validation` or `test`.
    pub split: String,
    /// `raw` or `minmax`.
    pub protocol: String,
    /// Width and height in pixels.
    pub size: u32,
}

impl Setting {
    /// The setting of a dataset's split under a protocol.
    pub fn new(
        dataset: &dyn colormamba_data::Dataset,
        split: colormamba_data::Split,
        protocol: Protocol,
        size: u32,
    ) -> Self {
        Self {
            dataset: dataset.name().to_string(),
            fingerprint: dataset.fingerprint(split),
            split: split.to_string(),
            protocol: protocol.to_string(),
            size,
        }
    }

    /// A measure's spec under this setting's protocol.
    pub fn spec(&self, metric: Metric) -> String {
        spec_under(metric.spec(), &self.protocol)
    }
}

/// A spec under a protocol: any but `raw` is the last item in the brackets, `psnr[rgb,L=1,minmax]`.
pub fn spec_under(spec: &str, protocol: &str) -> String {
    match spec.strip_suffix(']') {
        Some(open) if protocol != Protocol::Raw.to_string() => format!("{open},{protocol}]"),
        _ => spec.to_string(),
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.fingerprint.get(..12).unwrap_or(&self.fingerprint);
        let Self { dataset, split, protocol, size, .. } = self;
        write!(f, "{dataset} ({short}), {split} split, protocol {protocol}, {size}x{size}")
    }
}

/// The measures of one predicted image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageScore {
    /// What was measured on.
    #[serde(flatten)]
    pub setting: Setting,
    /// The image's name in its split.
    pub image: String,
    /// Values by the measure's spec under the setting's protocol.
    pub metrics: BTreeMap<String, JsonNumber>,
    /// Whether all of the prediction is black, which the exact angular error cannot see.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub black: bool,
    /// The training pair that has the same image, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_in_training: Option<String>,
    /// BLAKE3 of the file of the prediction, if that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<String>,
    /// What it was made from; an earlier version did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Origin>,
}

/// What scores were made from, and by what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The digest of the weights, or the name of a baseline and the digest of the images that it was fitted on.
    pub source: String,
    /// BLAKE3 of the dataset's description, if that is a user's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The version of the program, and the commit that it was built from.
    pub program: String,
}

impl ImageScore {
    /// The value of a measure, if it was scored under the setting's protocol.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        self.metrics.get(&self.setting.spec(metric)).map(|number| number.0)
    }

    /// The first of these measures that it has no value of.
    pub fn lacking(&self, metrics: &[Metric]) -> Option<Metric> {
        metrics.iter().copied().find(|metric| self.value(*metric).is_none())
    }
}

/// A number that JSON may lack: infinite and undefined ones are written as text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JsonNumber(pub f64);

impl Serialize for JsonNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        if self.0.is_finite() { serializer.serialize_f64(self.0) } else { serializer.collect_str(&self.0) }
    }
}

impl<'de> Deserialize<'de> for JsonNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(f64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(value) => Ok(Self(value)),
            Form::Text(text) => text.parse().map(Self).map_err(serde::de::Error::custom),
        }
    }
}

/// The losses of one step of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeneratorLosses {
    /// What was minimised.
    pub total: f64,
    /// The adversarial losses of all heads, if there are discriminators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adversarial: Option<TermValue>,
    /// By head, the terms on its image.
    #[serde(flatten)]
    pub heads: BTreeMap<String, BTreeMap<String, TermValue>>,
}

impl GeneratorLosses {
    /// Of a step whose adversarial losses have this weight.
    pub fn new(losses: NetworkLosses, adversarial_weight: f64) -> Self {
        let adversarial: Vec<f64> = losses.heads.values().filter_map(|head| head.adversarial).collect();
        let raw = adversarial.iter().sum();
        let adversarial = (!adversarial.is_empty()).then_some(TermValue {
            raw,
            weighted: adversarial_weight * raw,
            log_weight: None,
        });
        let heads = losses.heads.into_iter().map(|(name, head)| (name, head.terms)).collect();
        Self { total: losses.total, adversarial, heads }
    }
}

/// A line of `steps.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepLine {
    /// Steps done, this one included.
    pub step: usize,
    /// The epoch, from 1.
    pub epoch: usize,
    /// Learning rate.
    pub lr: f64,
    /// The discriminators' losses, one a discriminator step.
    pub d_loss: Vec<f64>,
    /// The generator's losses, one a generator step.
    pub g_loss: Vec<GeneratorLosses>,
    /// By head, the terms' gradients in the first generator step, if the manifest asks for them in this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradients: Option<BTreeMap<String, GradientReport>>,
    /// Time the step took.
    pub seconds: f64,
}

/// A line of `epochs.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochLine {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Steps done by its end.
    pub step: usize,
    /// Learning rate.
    pub lr: f64,
    /// Mean over its steps of the last generator step's total.
    pub g_loss: f64,
    /// Means over the validation split, by the measure's spec under the data's protocol.
    pub validation: BTreeMap<String, JsonNumber>,
    /// Whether its weights are the best so far.
    pub best: bool,
}

/// The scores in a file.
///
/// # Errors
/// If it cannot be read or holds none.
pub fn read_scores(path: &Path) -> Result<Vec<ImageScore>> {
    let scores = read_lines(path)?;
    ensure!(!scores.is_empty(), "{} holds no scores", path.display());
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_other_than_raw_is_the_last_item_of_every_spec() {
        assert_eq!(spec_under("psnr[rgb,L=1]", "raw"), "psnr[rgb,L=1]");
        assert_eq!(spec_under("psnr[rgb,L=1]", "minmax"), "psnr[rgb,L=1,minmax]");
        for metric in Metric::all() {
            assert!(spec_under(metric.spec(), "minmax").ends_with(",minmax]"), "{}", metric.spec());
        }
    }

    // Without serde_json's `float_roundtrip` some of these come back as a neighbour.
    #[test]
    fn scores_survive_json() {
        for value in (1..1000).map(|i| 30.0 + 0.01 * f64::from(i).sqrt()) {
            let text = serde_json::to_string(&JsonNumber(value)).unwrap();
            assert_eq!(serde_json::from_str::<JsonNumber>(&text).unwrap(), JsonNumber(value));
        }
    }

    #[test]
    fn numbers_that_json_lacks_survive_it() {
        for value in [1.5, -0.0, f64::INFINITY, f64::NEG_INFINITY] {
            let text = serde_json::to_string(&JsonNumber(value)).unwrap();
            assert_eq!(serde_json::from_str::<JsonNumber>(&text).unwrap(), JsonNumber(value));
        }
        let text = serde_json::to_string(&JsonNumber(f64::NAN)).unwrap();
        assert!(serde_json::from_str::<JsonNumber>(&text).unwrap().0.is_nan());
    }
}
