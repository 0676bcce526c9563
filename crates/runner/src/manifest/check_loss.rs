//! From the loss of a raw manifest to a checked one.

use super::check::{Check, Result};
use super::raw;
use super::source::with_nearest;
use super::{AdversarialLoss, Combination, Loss, LossTerm};
use colormamba_losses::{Adversarial, LossError, Preset, Term, Weight, WeightSchedule};
use colormamba_training::HeadShape;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use toml::{Spanned, Value};

/// Weight of the gradient penalty where a manifest names none (Gulrajani et al., arXiv 1704.00028).
const PENALTY: f64 = 10.0;

/// What a network puts out.
pub(super) struct Outputs {
    /// Width and height of its images.
    pub(super) size: u32,
    /// Its images by name.
    pub(super) heads: Vec<HeadShape>,
}

impl Check<'_> {
    /// A loss on what the network puts out. What a preset gives is replaced by what the manifest names itself.
    pub(super) fn loss(&self, raw: &Spanned<raw::Loss>, outputs: &Outputs) -> Result<Loss> {
        let loss = raw.get_ref();
        let combination = match &loss.combination {
            None => Combination::Fixed,
            Some(word) => {
                let kinds = [("fixed", Combination::Fixed), ("dynamic", Combination::Dynamic)];
                self.choice(word, "combination", &kinds)?
            }
        };
        let mut checked = match &loss.preset {
            None => Loss { rgb: BTreeMap::new(), hsv: BTreeMap::new(), combination, adversarial: None },
            Some(name) => Loss { combination, ..self.preset(name, outputs)? },
        };
        checked.rgb.extend(self.terms(&loss.rgb, outputs, "rgb")?);
        checked.hsv.extend(self.terms(&loss.hsv, outputs, "hsv")?);
        if let Some(raw) = &loss.adversarial {
            checked.adversarial = Some(self.adversarial(raw, outputs.size)?);
        }
        if checked.rgb.is_empty() && checked.hsv.is_empty() && checked.adversarial.is_none() {
            return self.fail(raw, "this loss has no term");
        }
        Ok(checked)
    }

    fn preset(&self, name: &Spanned<String>, outputs: &Outputs) -> Result<Loss> {
        let preset = Preset::named(name.get_ref()).or_else(|e| self.fail(name, e.to_string()))?;
        let terms = |terms: Vec<(Term, f64)>, head: &str| -> Result<BTreeMap<String, LossTerm>> {
            let named = terms.into_iter().map(|(term, weight)| {
                self.fits(name, &term, outputs, head)?;
                Ok((term.to_string(), LossTerm::from((term, weight))))
            });
            named.collect()
        };
        let adversarial = preset.adversarial;
        Ok(Loss {
            rgb: terms(preset.rgb, "rgb")?,
            hsv: terms(preset.hsv, "hsv")?,
            combination: Combination::Fixed,
            adversarial: adversarial.map(|(kind, weight)| AdversarialLoss { kind, weight, scales: 1, penalty: None }),
        })
    }

    fn adversarial(&self, raw: &raw::Adversarial, size: u32) -> Result<AdversarialLoss> {
        let kinds = [
            ("lsgan", Adversarial::Lsgan),
            ("vanilla", Adversarial::Vanilla),
            ("hinge", Adversarial::Hinge),
            ("wgan_gp", Adversarial::WganGp),
        ];
        let kind = self.choice(&raw.kind, "adversarial loss", &kinds)?;
        let scales = match &raw.scales {
            None => 1,
            Some(scales) => {
                let count = self.up_to(colormamba::MOST_SCALES, scales, "scales")?;
                let smallest = colormamba::Discriminator::smallest_side(count);
                if (size as usize) < smallest {
                    let message = format!("{count} scales need images of at least {smallest} pixels, size is {size}");
                    return self.fail(scales, message);
                }
                count
            }
        };
        let penalty = match (kind, &raw.penalty) {
            (Adversarial::WganGp, None) => Some(PENALTY),
            (Adversarial::WganGp, Some(penalty)) => Some(self.above_zero(penalty, "penalty")?),
            (_, Some(penalty)) => return self.fail(penalty, "`penalty` is for kind = \"wgan_gp\""),
            (_, None) => None,
        };
        Ok(AdversarialLoss { kind, weight: self.above_zero(&raw.weight, "weight")?, scales, penalty })
    }

    fn terms(&self, raw: &raw::Terms, outputs: &Outputs, head: &str) -> Result<BTreeMap<String, LossTerm>> {
        let named = raw.iter().map(|(name, value)| {
            let term = self.term(name, value)?;
            self.fits(name, &term.term, outputs, head)?;
            Ok((name.get_ref().clone(), term))
        });
        named.collect()
    }

    fn term(&self, name: &Spanned<String>, value: &Spanned<Value>) -> Result<LossTerm> {
        let mut term: Term = name.get_ref().parse().or_else(|e: LossError| self.fail(name, e.to_string()))?;
        let weight = match value.get_ref() {
            Value::Table(table) => {
                let mut options = table.clone();
                let number = match options.remove("weight") {
                    None => return self.fail(value, format!("`{term}` needs a `weight`")),
                    Some(number) => self.number(value, &number)?,
                };
                let schedule = options.remove("schedule");
                let schedule = schedule.map(|table| self.part::<WeightSchedule>(value, &term, table)).transpose()?;
                let named = toml::Table::from_iter([(name.get_ref().clone(), Value::Table(options))]);
                term = self.part(value, &term, Value::Table(named))?;
                Weight { value: number, schedule }
            }
            number => self.number(value, number)?.into(),
        };
        term.check().or_else(|e| self.fail(value, e.to_string()))?;
        weight.check(term.name()).or_else(|e| self.fail(value, e.to_string()))?;
        Ok(LossTerm { term, weight })
    }

    fn number(&self, at: &Spanned<Value>, value: &Value) -> Result<f64> {
        match value {
            Value::Float(number) => Ok(*number),
            Value::Integer(number) => Ok(*number as f64),
            other => self.fail(at, format!("a weight is a number, not {}", other.type_str())),
        }
    }

    /// A part of a term's table.
    fn part<T: DeserializeOwned>(&self, at: &Spanned<Value>, term: &Term, value: Value) -> Result<T> {
        T::deserialize(value).or_else(|e| self.fail(at, format!("`{term}`: {}", with_nearest(e.message()))))
    }

    /// Whether a term can look at the images of an output.
    fn fits<V>(&self, at: &Spanned<V>, term: &Term, outputs: &Outputs, head: &str) -> Result<()> {
        let Some(shape) = outputs.heads.iter().find(|shape| shape.name == head) else {
            return self.fail(at, format!("`{term}`: the network has no output `{head}`"));
        };
        if !term.channels().takes(shape.channels) {
            let (takes, channels) = (term.channels(), shape.channels);
            return self.fail(at, format!("`{term}` takes images of {takes}, the output `{head}` has {channels}"));
        }
        let size = outputs.size;
        let smallest = term.smallest_side();
        if (size as usize) < smallest {
            return self.fail(at, format!("`{term}` needs images of at least {smallest} pixels, size is {size}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Source;

    /// The loss of one variant under a network with one grey output.
    fn checked(text: &str) -> Result<Loss> {
        let source = Source::new("m.toml", text, &[]);
        let outputs = Outputs { size: 64, heads: vec![HeadShape { name: "rgb", channels: 1 }] };
        Check { source: &source }.loss(&source.read::<BTreeMap<String, Spanned<raw::Loss>>>()?["loss"], &outputs)
    }

    #[test]
    fn a_term_must_fit_the_output_that_it_looks_at() {
        assert_eq!(checked("loss.rgb = { mse = 1 }").unwrap().rgb.len(), 1);
        let error = checked("loss.rgb = { hue = 1 }").unwrap_err().to_string();
        assert_eq!(error, "m.toml:1: `hue` takes images of 3 channels, the output `rgb` has 1");
        let error = checked("loss.hsv = { mse = 1 }").unwrap_err().to_string();
        assert_eq!(error, "m.toml:1: `mse`: the network has no output `hsv`");
    }
}
