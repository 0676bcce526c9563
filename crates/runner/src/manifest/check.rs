//! From a raw manifest to a checked one.

use super::check_loss::Outputs;
use super::raw;
use super::source::{ManifestError, Source, with_nearest};
use super::{
    Augmentation, Checked, DEFAULT_WEIGHTS, Data, DatasetConfig, Distill, Features, Init, LARGEST_SIDE, MOST_SCENES,
    Manifest, Model, Precision, SYNTHETIC, SyntheticScenes, Variant,
};
use crate::scoring::measures;
use candle_core::DType;
use colormamba_data::{Description, NirHsv, Protocol, Subset};
use colormamba_features::Metric;
use colormamba_support::names::nearest;
use colormamba_training::Architecture;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::PathBuf;
use toml::{Spanned, Table, Value};

/// What a study's folder holds beside the folders of its variants.
pub(crate) const RESERVED: [&str; 6] =
    ["baselines", "contact-sheet.png", "manifest.toml", "table.csv", "table.md", "table.tex"];

pub(super) type Result<T> = std::result::Result<T, ManifestError>;

pub fn manifest(source: &Source, raw: &raw::Manifest) -> Result<Manifest> {
    let check = Check { source };
    let model = check.model(&raw.model)?;
    let data = check.data(&raw.data, &model)?;
    let augmentation = check.augmentation(&raw.augmentation, &model)?;
    let train = check.train(&raw.train, &model)?;
    let prepared = Prepared { data: &data, augmentation: &augmentation, precision: train.precision };
    let variants = check.variants(raw, &model, &prepared)?;
    let outputs = Outputs::of(&model, prepared.smallest());
    let networks = variants.iter().map(|variant| variant.model.as_ref().unwrap_or(&model)).collect::<Vec<_>>();
    let distill = raw.distill.as_ref().map(|distill| check.distill(distill, &outputs, &networks)).transpose()?;
    Ok(Manifest {
        name: check.folder_name(&raw.name)?,
        seeds: check.seeds(raw.seeds.as_ref())?,
        features: check.features(raw, &variants)?,
        measures: check.measures(raw.measures.as_ref(), data.size)?,
        weights: raw.weights.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_WEIGHTS)),
        data,
        train,
        augmentation,
        distill,
        model,
        variants,
        checked: Checked,
    })
}

/// What networks are given, and how they compute.
struct Prepared<'a> {
    data: &'a Data,
    augmentation: &'a Augmentation,
    precision: Precision,
}

impl Prepared<'_> {
    /// The sides of images in scoring and in training.
    fn sides(&self) -> [u32; 2] {
        [self.data.size, self.augmentation.size.unwrap_or(self.data.size)]
    }

    fn smallest(&self) -> u32 {
        let [scored, trained] = self.sides();
        scored.min(trained)
    }
}

pub(super) struct Check<'a> {
    pub(super) source: &'a Source,
}

impl Check<'_> {
    pub(super) fn fail<T, V>(&self, at: &Spanned<V>, message: impl Into<String>) -> Result<T> {
        Err(self.source.error(at.span(), message))
    }

    /// A name that is also a folder: letters, digits, `-`, `_` and `.`, not hidden.
    fn folder_name(&self, name: &Spanned<String>) -> Result<String> {
        let fine = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        let text = name.get_ref();
        if text.is_empty() || text.starts_with('.') || !text.chars().all(fine) {
            return self.fail(name, format!("`{text}` names a folder: use letters, digits, `-`, `_` and inner `.`"));
        }
        Ok(text.clone())
    }

    fn seeds(&self, seeds: Option<&Spanned<Vec<u64>>>) -> Result<Vec<u64>> {
        let Some(seeds) = seeds else { return Ok(vec![1]) };
        if seeds.get_ref().is_empty() {
            return self.fail(seeds, "`seeds` is empty");
        }
        let distinct: BTreeSet<&u64> = seeds.get_ref().iter().collect();
        if distinct.len() < seeds.get_ref().len() {
            return self.fail(seeds, "`seeds` names a seed twice");
        }
        Ok(seeds.get_ref().clone())
    }

    fn measures(&self, raw: Option<&Spanned<Vec<String>>>, size: u32) -> Result<Vec<Metric>> {
        let Some(raw) = raw else { return Ok(measures::published()) };
        let metrics = measures::named(raw.get_ref()).or_else(|e| self.fail(raw, e.to_string()))?;
        if metrics.is_empty() {
            return self.fail(raw, "`measures` is empty");
        }
        match metrics.iter().find(|metric| metric.smallest_side() > size as usize) {
            None => Ok(metrics),
            Some(metric) => {
                let (name, side) = (metric.name(), metric.smallest_side());
                self.fail(raw, format!("`{name}` needs images of at least {side} pixels, size is {size}"))
            }
        }
    }

    fn features(&self, raw: &raw::Manifest, variants: &[Variant]) -> Result<Option<Features>> {
        if let Some(features) = &raw.features {
            let kinds = [("pretrained", Features::Pretrained), ("random", Features::Random { seed: 0 })];
            let kind = self.choice(features, "features", &kinds)?;
            return match (kind, &raw.feature_seed) {
                (Features::Random { .. }, seed) => {
                    Ok(Some(Features::Random { seed: seed.as_ref().map_or(0, |s| *s.get_ref()) }))
                }
                (kind, None) => Ok(Some(kind)),
                (_, Some(seed)) => self.fail(seed, "`feature_seed` is for features = \"random\""),
            };
        }
        if let Some(seed) = &raw.feature_seed {
            return self.fail(seed, "`feature_seed` is for features = \"random\"");
        }
        for (variant, raw) in variants.iter().zip(&raw.variant) {
            if let Some(term) = variant.loss.terms().find(|term| term.extractor().is_some()) {
                let message = format!("`{term}` needs features = \"pretrained\" or \"random\"");
                let loss = raw.loss.get_ref();
                let mut named = loss.heads.iter().filter_map(|(_, head)| head.terms()).flat_map(BTreeMap::keys);
                let named = named.find(|name| name.get_ref() == term.name());
                return named
                    .map_or_else(|| self.fail(&raw.loss, message.clone()), |name| self.fail(name, message.clone()));
            }
        }
        Ok(None)
    }

    fn model(&self, raw: &raw::Table) -> Result<Model> {
        let (mut options, init) = (raw.get_ref().clone(), raw.get_ref().get("init"));
        options.retain(|key, _| key.get_ref() != "init");
        let options = Spanned::new(raw.span(), options);
        let architecture: Architecture = self.table(&options)?;
        architecture.options().check().or_else(|e| self.fail_at_key(raw, e.key, e.message))?;
        Ok(Model { architecture, init: init.map(|init| self.init(init)).transpose()? })
    }

    /// A path, or a table of one with what is taken of it.
    fn init(&self, raw: &Spanned<Value>) -> Result<Init> {
        if let Value::String(path) = raw.get_ref() {
            return Ok(Init { from: path.into(), only: Vec::new() });
        }
        Init::deserialize(raw.get_ref().clone()).or_else(|e| self.fail(raw, with_nearest(e.message())))
    }

    /// A table as the type that it stands for; a mistake is placed at its key.
    pub(super) fn table<T: DeserializeOwned>(&self, raw: &raw::Table) -> Result<T> {
        let table = raw.get_ref().iter().map(|(key, value)| (key.get_ref().clone(), value.get_ref().clone()));
        let table: Table = table.collect();
        let read = |table: Table| T::deserialize(table).map_err(|e| e.message().to_string());
        read(table.clone()).or_else(|message| {
            let error_without = |key: &String| {
                let mut rest = table.clone();
                rest.remove(key);
                read(rest).err()
            };
            // The key without which the error is another.
            let key = table.keys().find(|key| error_without(key).as_ref() != Some(&message));
            self.fail_at_key(raw, key.map_or("", String::as_str), with_nearest(&message))
        })
    }

    /// Fails at the value of a key of a table, or at the table if it has no such key.
    pub(super) fn fail_at_key<T>(&self, raw: &raw::Table, key: &str, message: String) -> Result<T> {
        match raw.get_ref().get(key) {
            Some(value) => self.fail(value, message),
            None => self.fail(raw, message),
        }
    }

    fn data(&self, raw: &raw::Data, model: &Model) -> Result<Data> {
        let protocol = self.word(&raw.protocol, "protocol", &Protocol::ALL)?;
        let nir_hsv = raw.nir_hsv.as_ref().map_or(Ok(NirHsv::Gray), |form| self.word(form, "nir_hsv", &NirHsv::ALL))?;
        let size = self.size(raw, model)?;
        let dataset = match (raw.dataset.get_ref() == SYNTHETIC, &raw.synthetic) {
            (false, None) => self.photographs(raw)?,
            (false, Some(table)) => return self.fail(table, "`data.synthetic` is for dataset = \"synthetic\""),
            (true, None) => return self.fail(&raw.dataset, "dataset = \"synthetic\" needs [data.synthetic]"),
            (true, Some(_)) if raw.root.is_some() => {
                return self.fail(&raw.dataset, "dataset = \"synthetic\" reads no files: drop `root`");
            }
            (true, Some(table)) => {
                if let Some(subset) = &raw.subset {
                    return self.fail(subset, "dataset = \"synthetic\" has no subsets: drop `subset`");
                }
                DatasetConfig::Synthetic { dataset: SYNTHETIC, synthetic: self.synthetic(table.get_ref())? }
            }
        };
        Ok(Data { dataset, protocol, nir_hsv, size })
    }

    fn photographs(&self, raw: &raw::Data) -> Result<DatasetConfig> {
        let name = raw.dataset.get_ref();
        if !name.ends_with(".toml") {
            let known: Vec<(&str, ())> = Description::known().into_iter().chain([SYNTHETIC]).map(|n| (n, ())).collect();
            self.choice(&raw.dataset, "dataset", &known)?;
        }
        let (subset, description_blake3) = match &raw.description_blake3 {
            Some(digest) => self.described(raw, digest)?,
            None => self.describe(raw)?,
        };
        Ok(DatasetConfig::Photographs { dataset: name.clone(), description_blake3, subset, root: raw.root.clone() })
    }

    /// The subset, and the digest of the description if that is a file.
    fn describe(&self, raw: &raw::Data) -> Result<(Subset, Option<String>)> {
        let name = raw.dataset.get_ref();
        let description = Description::find(name).or_else(|e| self.fail(&raw.dataset, e.to_string()))?;
        let digest = |name: &String| std::fs::read(name).map(|bytes| blake3::hash(&bytes).to_hex().to_string());
        let file = Some(name).filter(|name| name.ends_with(".toml"));
        let digest = file.map(digest).transpose().or_else(|e| self.fail(&raw.dataset, format!("{name}: {e}")))?;
        let Some(word) = &raw.subset else { return Ok((Subset::published(), digest)) };
        let subsets = description.subsets();
        let words: Vec<(&str, &Subset)> = subsets.iter().map(|subset| (subset.as_str(), subset)).collect();
        Ok((self.choice(word, "subset", &words)?.clone(), digest))
    }

    /// The same of a run's own manifest, whose description may lie elsewhere by now: its subset is looked up when the
    /// images are opened.
    fn described(&self, raw: &raw::Data, digest: &Spanned<String>) -> Result<(Subset, Option<String>)> {
        if !raw.dataset.get_ref().ends_with(".toml") {
            return self
                .fail(digest, "`description_blake3` is for a dataset that a file of one's own describes: drop it");
        }
        let parse =
            |word: &Spanned<String>| word.get_ref().parse::<Subset>().or_else(|e| self.fail(word, e.to_string()));
        let subset = raw.subset.as_ref().map(parse).transpose()?;
        Ok((subset.unwrap_or_default(), Some(digest.get_ref().clone())))
    }

    fn size(&self, raw: &raw::Data, model: &Model) -> Result<u32> {
        const USUAL: u32 = 256;
        match &raw.size {
            Some(size) => self.side_for(size, model),
            None => {
                let fits = model.architecture.options().check_size(USUAL as usize);
                fits.map(|()| USUAL).or_else(|e| self.fail(&raw.dataset, e.message))
            }
        }
    }

    /// A side of images that the network takes.
    pub(super) fn side_for(&self, size: &Spanned<i64>, model: &Model) -> Result<u32> {
        let side = self.side(size, "size")?;
        let fits = model.architecture.options().check_size(side as usize);
        fits.map(|()| side).or_else(|e| self.fail(size, e.message))
    }

    fn synthetic(&self, raw: &raw::Synthetic) -> Result<SyntheticScenes> {
        Ok(SyntheticScenes {
            seed: raw.seed,
            train: self.up_to(MOST_SCENES, &raw.train, "train")?,
            validation: self.up_to(MOST_SCENES, &raw.validation, "validation")?,
            test: self.up_to(MOST_SCENES, &raw.test, "test")?,
        })
    }

    fn distill(&self, raw: &raw::Distill, outputs: &Outputs, networks: &[&Model]) -> Result<Distill> {
        if raw.teachers.get_ref().is_empty() {
            return self.fail(&raw.teachers, "`teachers` is empty");
        }
        let features = raw.features.as_ref().map(|weight| self.hints(weight, networks)).transpose()?;
        let loss = self.terms(&raw.loss, outputs, outputs.rgb)?;
        if loss.is_empty() && features.is_none() {
            return self.fail(
                &raw.teachers,
                "nothing is learned of them: `distill.loss` has no term, nor is there `features`",
            );
        }
        match raw.loss.keys().zip(loss.values()).find(|(_, loss)| loss.term.extractor().is_some()) {
            Some((name, _)) => self.fail(name, "terms that look through another network are for the truth alone"),
            None => Ok(Distill { teachers: raw.teachers.get_ref().clone(), features, loss }),
        }
    }

    /// The weight of a loss on feature maps, which all networks must give.
    fn hints(&self, weight: &Spanned<f64>, networks: &[&Model]) -> Result<f64> {
        if !(weight.get_ref().is_finite() && *weight.get_ref() > 0.0) {
            return self.fail(weight, format!("features is {}: it must be a number above 0", weight.get_ref()));
        }
        match networks.iter().find(|model| model.architecture.options().features().is_none()) {
            Some(model) => {
                let kind = model.architecture.kind();
                let gives = "gives no feature map to learn with, `lite` does";
                self.fail(weight, format!("features: a network of kind `{kind}` {gives}"))
            }
            None => Ok(*weight.get_ref()),
        }
    }

    fn variants(&self, raw: &raw::Manifest, model: &Model, prepared: &Prepared) -> Result<Vec<Variant>> {
        if raw.variant.is_empty() {
            return self.fail(&raw.name, "no [[variant]]: at least one loss configuration is needed");
        }
        let mut names = BTreeSet::from(RESERVED.map(str::to_string));
        raw.variant
            .iter()
            .map(|variant| {
                let name = self.folder_name(&variant.name)?;
                if !names.insert(name.clone()) {
                    return self.fail(&variant.name, format!("the variant name `{name}` is taken"));
                }
                let own = variant.model.as_ref().map(|own| self.own_model(own, prepared)).transpose()?;
                let outputs = Outputs::of(own.as_ref().unwrap_or(model), prepared.smallest());
                Ok(Variant { name, loss: self.loss(&variant.loss, &outputs)?, model: own })
            })
            .collect()
    }

    /// The network of a variant, which takes what the manifest's takes.
    fn own_model(&self, raw: &raw::Table, prepared: &Prepared) -> Result<Model> {
        let model = self.model(raw)?;
        let options = model.architecture.options();
        for side in prepared.sides() {
            options.check_size(side as usize).or_else(|e| self.fail(raw, e.message))?;
        }
        if prepared.precision.activations() == DType::BF16 && !options.takes_bf16() {
            return self.fail(raw, in_f32(&model));
        }
        Ok(model)
    }

    /// One of the values that print as their words.
    pub(super) fn word<T: Copy + Display>(&self, word: &Spanned<String>, what: &str, values: &[T]) -> Result<T> {
        let words: Vec<String> = values.iter().map(T::to_string).collect();
        let choices: Vec<(&str, T)> = words.iter().map(String::as_str).zip(values.iter().copied()).collect();
        self.choice(word, what, &choices)
    }

    pub(super) fn choice<T: Copy>(&self, word: &Spanned<String>, what: &str, choices: &[(&str, T)]) -> Result<T> {
        let given = word.get_ref();
        if let Some((_, value)) = choices.iter().find(|(name, _)| name == given) {
            return Ok(*value);
        }
        let known: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        match nearest(given, known.iter().copied()) {
            Some(name) => self.fail(word, format!("unknown {what} `{given}`, did you mean `{name}`?")),
            None => self.fail(word, format!("unknown {what} `{given}`, known are `{}`", known.join("`, `"))),
        }
    }

    pub(super) fn positive(&self, value: &Spanned<i64>, what: &str) -> Result<usize> {
        self.up_to(1 << 32, value, what)
    }

    /// A length in pixels.
    pub(super) fn side(&self, value: &Spanned<i64>, what: &str) -> Result<u32> {
        // Below the largest side nothing is cut off.
        Ok(self.up_to(LARGEST_SIDE as usize, value, what)? as u32)
    }

    pub(super) fn up_to(&self, largest: usize, value: &Spanned<i64>, what: &str) -> Result<usize> {
        match usize::try_from(*value.get_ref()) {
            Ok(n) if (1..=largest).contains(&n) => Ok(n),
            _ => self.fail(value, format!("{what} is {}: it must be between 1 and {largest}", value.get_ref())),
        }
    }

    pub(super) fn above_zero(&self, value: &Spanned<f64>, what: &str) -> Result<f64> {
        let number = *value.get_ref();
        if number.is_finite() && number > 0.0 {
            return Ok(number);
        }
        self.fail(value, format!("{what} is {number}: it must be above 0"))
    }
}

pub(super) fn in_f32(model: &Model) -> String {
    format!("a network of kind `{}` computes in f32", model.architecture.kind())
}
