//! From the loss of a raw manifest to a checked one.

use super::check::{Check, Result};
use super::raw;
use super::source::with_nearest;
use super::{AdversarialLoss, Combination, Loss, LossTerm};
use colormamba_losses::{Adversarial, LossError, Preset, Term, Weight, WeightSchedule};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use toml::{Spanned, Value};

/// Weight of the gradient penalty where a manifest names none (Gulrajani et al., arXiv 1704.00028).
const PENALTY: f64 = 10.0;

impl Check<'_> {
    /// A loss on images of `size` pixels. What a preset gives is replaced by what the manifest names itself.
    pub(super) fn loss(&self, raw: &Spanned<raw::Loss>, size: u32) -> Result<Loss> {
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
            Some(name) => Loss { combination, ..self.preset(name, size)? },
        };
        checked.rgb.extend(self.terms(&loss.rgb, size)?);
        checked.hsv.extend(self.terms(&loss.hsv, size)?);
        if let Some(raw) = &loss.adversarial {
            checked.adversarial = Some(self.adversarial(raw, size)?);
        }
        if checked.rgb.is_empty() && checked.hsv.is_empty() && checked.adversarial.is_none() {
            return self.fail(raw, "this loss has no term");
        }
        Ok(checked)
    }

    fn preset(&self, name: &Spanned<String>, size: u32) -> Result<Loss> {
        let preset = Preset::named(name.get_ref()).or_else(|e| self.fail(name, e.to_string()))?;
        let terms = |terms: Vec<(Term, f64)>| -> Result<BTreeMap<String, LossTerm>> {
            let named = terms.into_iter().map(|(term, weight)| {
                self.fits(name, &term, size)?;
                Ok((term.to_string(), LossTerm::from((term, weight))))
            });
            named.collect()
        };
        let adversarial = preset.adversarial;
        Ok(Loss {
            rgb: terms(preset.rgb)?,
            hsv: terms(preset.hsv)?,
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

    fn terms(&self, raw: &raw::Terms, size: u32) -> Result<BTreeMap<String, LossTerm>> {
        let named = raw.iter().map(|(name, value)| Ok((name.get_ref().clone(), self.term(name, value, size)?)));
        named.collect()
    }

    fn term(&self, name: &Spanned<String>, value: &Spanned<Value>, size: u32) -> Result<LossTerm> {
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
        self.fits(name, &term, size)?;
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

    fn fits<V>(&self, at: &Spanned<V>, term: &Term, size: u32) -> Result<()> {
        let smallest = term.smallest_side();
        if (size as usize) < smallest {
            return self.fail(at, format!("`{term}` needs images of at least {smallest} pixels, size is {size}"));
        }
        Ok(())
    }
}
