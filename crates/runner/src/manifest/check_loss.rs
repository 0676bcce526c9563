//! From the loss of a raw manifest to a checked one.

use super::check::{Check, Result};
use super::raw;
use super::source::with_nearest;
use super::{AdversarialLoss, Combination, Loss, LossTerm, Model, Terms};
use colormamba_losses::{Adversarial, Channels, LossError, Preset, Term, Weight, WeightSchedule};
use colormamba_support::names::nearest;
use colormamba_training::{HeadKind, HeadShape};
use serde::de::DeserializeOwned;
use toml::{Spanned, Value};

/// Weight of the gradient penalty where a manifest names none (Gulrajani et al., arXiv 1704.00028).
const PENALTY: f64 = 10.0;

/// What a network puts out.
pub(super) struct Outputs {
    /// Width and height of its images.
    pub(super) size: u32,
    /// Its heads.
    pub(super) heads: Vec<HeadShape>,
    /// The one that is the picture.
    pub(super) rgb: &'static str,
    /// Those that the data has targets for.
    pub(super) targets: Vec<&'static str>,
}

impl Outputs {
    /// Of a network on images of `size` pixels a side.
    pub(super) fn of(model: &Model, size: u32) -> Self {
        let options = model.architecture.options();
        Self { size, heads: options.heads(), rgb: options.rgb(), targets: model.targets() }
    }

    fn names(&self) -> Vec<&'static str> {
        self.heads.iter().map(|shape| shape.name).collect()
    }

    fn no_terms(&self) -> Vec<(&'static str, Terms)> {
        self.names().into_iter().map(|name| (name, Terms::new())).collect()
    }
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
            None => Loss { heads: outputs.no_terms(), combination, adversarial: None },
            Some(name) => Loss { combination, ..self.preset(name, outputs)? },
        };
        for (head, raw) in &loss.heads {
            let Some((_, terms)) = checked.heads.iter_mut().find(|(name, _)| name == head.get_ref()) else {
                return self.unknown_head(head, outputs);
            };
            let Some(raw) = raw.terms() else {
                return self.fail(head, format!("`{}` is a table of terms with their weights", head.get_ref()));
            };
            terms.extend(self.terms(raw, outputs, head.get_ref())?);
        }
        if let Some(raw) = &loss.adversarial {
            checked.adversarial = Some(self.adversarial(raw, outputs.size)?);
        }
        if checked.terms().next().is_none() && checked.adversarial.is_none() {
            return self.fail(raw, "this loss has no term");
        }
        Ok(checked)
    }

    fn unknown_head<T>(&self, head: &Spanned<String>, outputs: &Outputs) -> Result<T> {
        let (given, heads) = (head.get_ref(), outputs.names());
        let near = nearest(given, raw::Loss::KEYS.into_iter().chain(heads.iter().copied()));
        let (keys, heads) = (raw::Loss::KEYS.join("`, `"), heads.join("`, `"));
        let hint = match near {
            Some(near) => format!("did you mean `{near}`? The network's heads are `{heads}`"),
            None => format!("known are `{keys}` and the network's heads, `{heads}`"),
        };
        self.fail(head, format!("unknown key `{given}`, {hint}"))
    }

    /// A loss of the literature: on the picture and, if it has terms for the HSV form, on the head `hsv`, which the network
    /// must have then.
    fn preset(&self, name: &Spanned<String>, outputs: &Outputs) -> Result<Loss> {
        let preset = Preset::named(name.get_ref()).or_else(|e| self.fail(name, e.to_string()))?;
        let mut heads = outputs.no_terms();
        let on_rgb = preset.rgb.into_iter().map(|weighted| (outputs.rgb, weighted));
        let on_hsv = preset.hsv.into_iter().map(|weighted| ("hsv", weighted));
        for (head, (term, weight)) in on_rgb.chain(on_hsv) {
            self.fits(name, &term, outputs, head)?;
            if let Some((_, terms)) = heads.iter_mut().find(|(name, _)| *name == head) {
                terms.insert(term.to_string(), LossTerm::from((term, weight)));
            }
        }
        let adversarial = preset.adversarial;
        Ok(Loss {
            heads,
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
        let most = colormamba::MOST_SCALES;
        let scales = raw.scales.as_ref().map_or(Ok(1), |scales| self.up_to(most, scales, "scales"))?;
        let smallest = colormamba::Discriminator::smallest_side(scales);
        if (size as usize) < smallest {
            let needs = if scales == 1 { "1 scale needs" } else { &format!("{scales} scales need") };
            let message = format!("{needs} images of at least {smallest} pixels, size is {size}");
            return match &raw.scales {
                Some(at) => self.fail(at, message),
                None => self.fail(&raw.kind, message),
            };
        }
        let penalty = match (kind, &raw.penalty) {
            (Adversarial::WganGp, None) => Some(PENALTY),
            (Adversarial::WganGp, Some(penalty)) => Some(self.above_zero(penalty, "penalty")?),
            (_, Some(penalty)) => return self.fail(penalty, "`penalty` is for kind = \"wgan_gp\""),
            (_, None) => None,
        };
        Ok(AdversarialLoss { kind, weight: self.above_zero(&raw.weight, "weight")?, scales, penalty })
    }

    pub(super) fn terms(&self, raw: &raw::Terms, outputs: &Outputs, head: &str) -> Result<Terms> {
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

    /// Whether a term can look at a head.
    fn fits<V>(&self, at: &Spanned<V>, term: &Term, outputs: &Outputs, head: &str) -> Result<()> {
        let heads = outputs.names().join("`, `");
        let Some(shape) = outputs.heads.iter().find(|shape| shape.name == head) else {
            return self.fail(at, format!("`{term}`: the network has no head `{head}`, its heads are `{heads}`"));
        };
        if !outputs.targets.contains(&head) {
            let targets = outputs.targets.join("`, `");
            return self.fail(at, format!("`{term}`: the data has no target for `{head}`, it has `{targets}`"));
        }
        let (takes, kind) = (term.channels(), shape.kind);
        let fits = match kind {
            HeadKind::Image { channels } => takes.takes(channels),
            HeadKind::Classes { .. } => takes == Channels::Classes,
        };
        if !fits {
            let images = if takes == Channels::Classes { "" } else { "images of " };
            return self.fail(at, format!("`{term}` takes {images}{takes}, the head `{head}` holds {kind}"));
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
    use std::collections::BTreeMap;

    /// The loss of one variant under a network with a grey picture, class scores, and an output that nobody knows.
    fn checked(text: &str) -> Result<Loss> {
        checked_at(64, text)
    }

    fn checked_at(size: u32, text: &str) -> Result<Loss> {
        let source = Source::new("m.toml", text, &[]);
        let heads = vec![HeadShape::image("grey", 1), HeadShape::classes("scene", 10), HeadShape::image("depth", 1)];
        let outputs = Outputs { size, heads, rgb: "grey", targets: vec!["grey", "scene"] };
        Check { source: &source }.loss(&source.read::<BTreeMap<String, Spanned<raw::Loss>>>()?["loss"], &outputs)
    }

    fn says(text: &str, wanted: &str) {
        assert_eq!(checked(text).unwrap_err().to_string(), format!("m.toml:1: {wanted}"));
    }

    #[test]
    fn a_term_must_fit_the_head_that_it_looks_at() {
        let loss = checked("loss = { grey = { mse = 1 }, scene = { cross_entropy = 2 } }").unwrap();
        assert_eq!(loss.on("grey").unwrap().len(), 1);
        assert_eq!(loss.on("scene").unwrap()["cross_entropy"].weight.value, 2.0);
        says(
            "loss.grey = { hue = 1 }",
            "`hue` takes images of 3 channels, the head `grey` holds an image of 1 channel",
        );
        says(
            "loss.grey = { cross_entropy = 1 }",
            "`cross_entropy` takes class scores (B, n), the head `grey` holds an image of 1 channel",
        );
        says(
            "loss.scene = { mse = 1 }",
            "`mse` takes images of any number of channels, the head `scene` holds scores of 10 classes",
        );
        says("loss.depth = { mse = 1 }", "`mse`: the data has no target for `depth`, it has `grey`, `scene`");
    }

    #[test]
    fn losses_go_by_the_names_of_the_heads() {
        let heads = "`grey`, `scene`, `depth`";
        says(
            "loss.hsv = { mse = 1 }",
            &format!(
                "unknown key `hsv`, known are `preset`, `combination`, `adversarial` and the network's heads, {heads}"
            ),
        );
        says(
            "loss.gray = { mse = 1 }",
            &format!("unknown key `gray`, did you mean `grey`? The network's heads are {heads}"),
        );
        for value in ["1", "1.5", "true", "\"mse\"", "[1, { a = 1 }]"] {
            says(&format!("loss.grey = {value}"), "`grey` is a table of terms with their weights");
        }
    }

    #[test]
    fn a_preset_is_on_the_picture() {
        let loss = checked("loss.preset = \"fusion8\"").unwrap();
        assert_eq!(loss.on("grey").unwrap().keys().collect::<Vec<_>>(), ["l1", "mse"]);
        let error = checked_at(192, "loss.preset = \"colormamba\"").unwrap_err().to_string();
        assert_eq!(error, "m.toml:1: `mse`: the network has no head `hsv`, its heads are `grey`, `scene`, `depth`");
    }

    #[test]
    fn a_discriminator_needs_images_that_are_large_enough() {
        let lsgan = |more| format!("loss.adversarial = {{ kind = \"lsgan\", weight = 1{more} }}");
        assert!(checked_at(32, &lsgan("")).is_ok());
        let wanted = "m.toml:1: 1 scale needs images of at least 24 pixels, size is 16";
        assert_eq!(checked_at(16, &lsgan("")).unwrap_err().to_string(), wanted);
        let wanted = "m.toml:1: 2 scales need images of at least 48 pixels, size is 32";
        assert_eq!(checked_at(32, &lsgan(", scales = 2")).unwrap_err().to_string(), wanted);
    }

    #[test]
    fn a_loss_is_written_under_the_names_of_the_heads() {
        let loss = checked("loss = { scene = { cross_entropy = 2 } }").unwrap();
        let text = toml::to_string(&BTreeMap::from([("loss", &loss)])).unwrap();
        assert_eq!(checked(&text).unwrap(), loss, "{text}");
    }
}
