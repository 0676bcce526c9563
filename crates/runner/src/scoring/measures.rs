//! The measures that runs are scored with.

use crate::system::usage::UsageError;
use anyhow::Result;
use colormamba_features::{LoadedMetric, Metric, SetMetric};
use colormamba_metrics::{Definition, Measure, MetricError};
use std::path::Path;

/// The measures of the challenge: a table's columns where a manifest names no others.
pub fn published() -> Vec<Metric> {
    Measure::TABLE.map(Metric::Plain).to_vec()
}

/// The measures of these specs or short names, each once.
///
/// # Errors
/// [`UsageError`] for a name that no measure has.
pub fn named(names: &[String]) -> Result<Vec<Metric>> {
    let mut metrics = Vec::new();
    for name in names {
        add(&mut metrics, one(name)?);
    }
    Ok(metrics)
}

/// The measure of this spec or short name.
///
/// # Errors
/// [`UsageError`] if there is none, with the short names.
pub fn one(name: &str) -> Result<Metric> {
    if name.parse::<SetMetric>().is_ok() {
        let text = format!("`{name}` is of two sets of images, not of one image: `colormamba compare` takes it");
        return Err(UsageError(text).into());
    }
    Ok(name.parse().map_err(|error| unknown(&error, Metric::all().map(Metric::name)))?)
}

/// A measure of each pair of images, or of all of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Of a pair.
    Pair(Metric),
    /// Of two sets.
    Sets(SetMetric),
}

impl Asked {
    /// The measure of this spec or short name.
    ///
    /// # Errors
    /// [`UsageError`] if there is none, with the short names.
    pub fn one(name: &str) -> Result<Self> {
        let all = || Metric::all().map(Self::Pair).chain(SetMetric::ALL.map(Self::Sets));
        let found = Definition::find(name, all(), |asked| asked.definition());
        Ok(found.map_err(|error| unknown(&error, all().map(|asked| asked.definition().name)))?)
    }

    fn definition(self) -> &'static Definition {
        match self {
            Self::Pair(metric) => metric.definition(),
            Self::Sets(metric) => metric.definition(),
        }
    }
}

fn unknown(error: &MetricError, names: impl Iterator<Item = &'static str>) -> UsageError {
    UsageError(format!("{error}; the short names are {}", names.collect::<Vec<_>>().join(", ")))
}

/// The measures of both lists, each once.
pub fn union(first: &[Metric], second: &[Metric]) -> Vec<Metric> {
    let mut metrics = first.to_vec();
    second.iter().for_each(|metric| add(&mut metrics, *metric));
    metrics
}

fn add(metrics: &mut Vec<Metric>, metric: Metric) {
    if !metrics.contains(&metric) {
        metrics.push(metric);
    }
}

/// With their networks, whose weights are part of the program or lie in the folder `weights`.
///
/// # Errors
/// If a file of weights is missing or is another one.
pub fn load(metrics: &[Metric], weights: &Path) -> Result<Vec<LoadedMetric>> {
    metrics.iter().map(|metric| Ok(metric.load(weights)?)).collect()
}
