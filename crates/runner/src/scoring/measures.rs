//! The measures that runs are scored with.

use crate::system::usage::UsageError;
use anyhow::Result;
use colormamba_features::{LoadedMetric, Metric};
use colormamba_metrics::Measure;
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
    name.parse().map_err(|error| {
        let names: Vec<&str> = Metric::all().map(Metric::name).collect();
        UsageError(format!("{error}; the short names are {}", names.join(", "))).into()
    })
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
