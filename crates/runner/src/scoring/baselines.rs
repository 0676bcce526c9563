//! What a model must beat: predictions that need no network.

use crate::scoring::evaluate::Scoring;
use crate::study::provenance::program;
use crate::study::record::{ImageScore, Origin, read_scores};
use crate::study::scored::Scored;
use crate::system::files::{exists, make_folder, read_if_there, write_lines, write_whole};
use crate::system::interrupt;
use anyhow::Result;
use candle_core::Tensor;
use colormamba_data::{Dataset, Preparation, Sample, Split};
use colormamba_features::{LoadedMetric, Metric};
use std::path::{Path, PathBuf};

const LEVELS: usize = 256;

/// A prediction without a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "kebab-case")]
pub enum Baseline {
    /// The NIR image in all three channels.
    Nir,
    /// One colour everywhere: the mean of the training split.
    MeanColour,
    /// For each of 256 NIR levels its mean colour in the training split.
    Lookup,
}

impl Baseline {
    /// In the order of a table.
    pub const ALL: [Self; 3] = [Self::Nir, Self::MeanColour, Self::Lookup];

    /// Its name in a table.
    pub fn label(self) -> &'static str {
        match self {
            Self::Nir => "NIR copied",
            Self::MeanColour => "mean training colour",
            Self::Lookup => "NIR→RGB lookup",
        }
    }

    /// Its file of scores below a study's folder.
    pub fn scores(self, study: &Path, scored: &Scored) -> PathBuf {
        study.join(format!("baselines/{self}.{}.jsonl", scored.stem()))
    }

    /// What its scores are made from, if it was fitted on training images of this digest.
    pub fn source(self, training: &str) -> String {
        match self {
            Self::Nir => self.to_string(),
            Self::MeanColour | Self::Lookup => format!("{self} of {training}"),
        }
    }

    fn predict(self, fit: &Fit, sample: &Sample) -> Result<Tensor> {
        let nir: Vec<f32> = sample.nir.flatten_all()?.to_vec1()?;
        let colour = |v: f32, channel: usize| match self {
            Self::Nir => v,
            Self::MeanColour => fit.mean[channel] as f32,
            Self::Lookup => fit.table[level(v)][channel] as f32,
        };
        let values: Vec<f32> =
            (0..3).flat_map(|c| nir.iter().map(move |v| (v, c))).map(|(v, c)| colour(*v, c)).collect();
        Ok(Tensor::from_vec(values, sample.rgb.shape(), sample.rgb.device())?)
    }
}

/// Scores every baseline on a split and keeps the scores below `study`, unless they are there for the same setting, measures
/// and training images. Those of a subset that `scored` names are kept beside the others.
///
/// # Errors
/// An image that cannot be read; a folder that cannot be written.
pub fn ensure(study: &Path, scored: &Scored, scoring: &Scoring) -> Result<()> {
    let (folder, dataset) = (study.join("baselines"), scoring.dataset);
    let training = dataset.fingerprint(Split::Train);
    let same_training = fitted_on(study, scored)? == training;
    let wanted: Vec<Metric> = scoring.metrics.iter().map(LoadedMetric::metric).collect();
    let current = |baseline: &Baseline| -> Result<bool> {
        let path = baseline.scores(study, scored);
        // What is there and is no scores is made anew.
        let scores = if exists(&path)? { read_scores(&path).unwrap_or_default() } else { Vec::new() };
        let source = baseline.source(&training);
        let usable = |score: &ImageScore| {
            let same_source = score.made.as_ref().is_some_and(|made| made.source == source);
            same_source && score.setting == scoring.setting && score.lacking(&wanted).is_none()
        };
        Ok(scores.len() == dataset.len(scoring.split) && scores.iter().all(usable))
    };
    let current = Baseline::ALL.iter().map(current).collect::<Result<Vec<bool>>>()?;
    if same_training && !current.contains(&false) {
        return Ok(());
    }
    make_folder(&folder)?;
    for (baseline, scores) in score(scoring)? {
        write_lines(&baseline.scores(study, scored), &scores)?;
    }
    write_whole(&fitted_on_file(study, scored), training.as_bytes())
}

/// The digest of the training images that a study's baselines were fitted on; empty if that is not recorded.
///
/// # Errors
/// If the record cannot be read.
pub fn fitted_on(study: &Path, scored: &Scored) -> Result<String> {
    let text = read_if_there(&fitted_on_file(study, scored))?;
    Ok(text.map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default())
}

fn fitted_on_file(study: &Path, scored: &Scored) -> PathBuf {
    study.join(format!("baselines/fitted-on.{}.txt", scored.stem()))
}

/// Scores every baseline on a split.
///
/// # Errors
/// An image that cannot be read.
pub fn score(scoring: &Scoring) -> Result<Vec<(Baseline, Vec<ImageScore>)>> {
    let fit = Fit::new(scoring.dataset, &scoring.preparation)?;
    let score = |baseline: Baseline| {
        let mut scores = scoring.evaluate(|sample| baseline.predict(&fit, sample))?;
        let source = baseline.source(&scoring.dataset.fingerprint(Split::Train));
        let made = Origin { source, description: None, program: program() };
        scores.iter_mut().for_each(|score| score.made = Some(made.clone()));
        Ok((baseline, scores))
    };
    Baseline::ALL.into_iter().map(score).collect()
}

fn level(v: f32) -> usize {
    (v.clamp(0.0, 1.0) * (LEVELS - 1) as f32).round() as usize
}

/// What the baselines know of the training split, without augmentation.
struct Fit {
    mean: [f64; 3],
    table: [[f64; 3]; LEVELS],
}

impl Fit {
    fn new(dataset: &dyn Dataset, preparation: &Preparation) -> Result<Self> {
        let mut sums = [[0.0; 3]; LEVELS];
        let mut counts = [0_u64; LEVELS];
        for index in 0..dataset.len(Split::Train) {
            interrupt::check()?;
            let sample = preparation.evaluation(&dataset.pair(Split::Train, index)?)?;
            let nir: Vec<f32> = sample.nir.flatten_all()?.to_vec1()?;
            let rgb: Vec<f32> = sample.rgb.flatten_all()?.to_vec1()?;
            for (i, v) in nir.iter().enumerate() {
                counts[level(*v)] += 1;
                for (channel, sum) in sums[level(*v)].iter_mut().enumerate() {
                    *sum += f64::from(rgb[channel * nir.len() + i]);
                }
            }
        }
        Ok(Self::from_sums(&sums, &counts))
    }

    fn from_sums(sums: &[[f64; 3]; LEVELS], counts: &[u64; LEVELS]) -> Self {
        let total = counts.iter().sum::<u64>().max(1) as f64;
        let mean = std::array::from_fn(|c| sums.iter().map(|s| s[c]).sum::<f64>() / total);
        let filled = |i: &usize| counts[*i] > 0;
        let average = |i: usize| sums[i].map(|s| s / counts[i] as f64);
        let table = std::array::from_fn(|i| {
            let (below, above) = ((0..=i).rev().find(filled), (i..LEVELS).find(filled));
            match (below, above) {
                (Some(a), Some(b)) if a < b => {
                    let (t, low, high) = ((i - a) as f64 / (b - a) as f64, average(a), average(b));
                    std::array::from_fn(|c| low[c] + t * (high[c] - low[c]))
                }
                (Some(nearest), _) | (None, Some(nearest)) => average(nearest),
                (None, None) => mean,
            }
        });
        Self { mean, table }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_without_pixels_are_interpolated() {
        let mut sums = [[0.0; 3]; LEVELS];
        let mut counts = [0; LEVELS];
        (sums[10], counts[10]) = ([1.0, 0.0, 2.0], 2);
        (sums[20], counts[20]) = ([1.0, 1.0, 1.0], 1);
        let fit = Fit::from_sums(&sums, &counts);
        assert_eq!(fit.table[0], [0.5, 0.0, 1.0]);
        assert_eq!(fit.table[10], [0.5, 0.0, 1.0]);
        assert_eq!(fit.table[15], [0.75, 0.5, 1.0]);
        assert_eq!(fit.table[255], [1.0, 1.0, 1.0]);
        assert_eq!(fit.mean, [2.0 / 3.0, 1.0 / 3.0, 1.0]);
    }
}
