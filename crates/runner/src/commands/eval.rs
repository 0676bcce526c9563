//! Scores trained weights on a split.

use super::DeviceChoice;
use crate::inputs::{dataset, overlap};
use crate::manifest::{DEFAULT_WEIGHTS, Manifest};
use crate::report::images;
use crate::report::table::{Format, Group, Table, with_random_features};
use crate::scoring::baselines;
use crate::scoring::evaluate::{Scoring, colorize};
use crate::scoring::leak;
use crate::scoring::measures;
use crate::scoring::weights::Weights;
use crate::study::folder::RunFolder;
use crate::study::record::ImageScore;
use crate::study::scored::Scored;
use crate::system::files::{make_folder, write_lines};
use crate::system::terminal::print;
use crate::system::usage::UsageError;
use anyhow::{Context, Result, ensure};
use candle_core::Device;
use colormamba_data::{Dataset, Description, Photographs, Split, Subset};
use colormamba_features::Metric;
use colormamba_training::{Architecture, WeightFile};
use std::path::{Path, PathBuf};

/// What to score.
pub struct Eval {
    /// A run's or a study's folder, or a file of weights.
    pub target: PathBuf,
    /// The images; for a run, instead of its manifest's.
    pub data: Option<PathBuf>,
    /// Which images.
    pub split: Split,
    /// Of which dataset, for a file of weights; vcip2020 without.
    pub dataset: Option<String>,
    /// Of which subset; without, that of a run's manifest, and the published one for a file of weights.
    pub subset: Option<String>,
    /// Measures beside those of a run's manifest, by spec or short name; of a file of weights beside the published ones.
    pub measures: Vec<String>,
    /// Where to keep the scores of a file of weights; those of a run stay with it.
    pub out: Option<PathBuf>,
    /// What to compute on.
    pub device: DeviceChoice,
}

/// Scores, keeps the scores and prints their table.
///
/// # Errors
/// A target that is neither run, study nor weights, images that cannot be read.
pub fn eval(args: &Eval) -> Result<()> {
    let device = args.device.open()?;
    let subset = args.subset.as_deref().map(str::parse::<Subset>).transpose().map_err(|e| UsageError(e.to_string()))?;
    let table =
        if args.target.is_dir() { eval_folder(args, subset, &device)? } else { eval_weights(args, subset, &device)? };
    print(&Format::Md.render(&table)?)
}

/// Scores the run in the folder, or all trained runs of the study there.
fn eval_folder(args: &Eval, subset: Option<Subset>, device: &Device) -> Result<Table> {
    ensure!(
        args.out.is_none(),
        UsageError("--out is for a file of weights: the scores of a run stay in its folder".into())
    );
    ensure!(
        args.dataset.is_none(),
        UsageError("--dataset is for a file of weights: a run's manifest names its own".into())
    );
    let scored = Scored { split: args.split, subset };
    let more = measures::named(&args.measures)?;
    if RunFolder::is_run(&args.target) {
        let (run, manifest) = RunFolder::open(&args.target)?;
        eval_run(&run, &manifest, args.data.as_deref(), &scored, &more, device)?;
        let columns = measures::union(&manifest.measures, &more);
        return Table::collect(&[&args.target], &run.scored(&scored), &columns, false);
    }
    let (study, runs) = RunFolder::of_study(&args.target)?;
    // A run that is not trained to the end is named beside the table.
    for (run, manifest) in runs.iter().filter(|(run, manifest)| run.finished(manifest)) {
        eprintln!("{}: scoring the {} split", run.label(), args.split);
        eval_run(run, manifest, args.data.as_deref(), &scored, &more, device)
            .with_context(|| run.path.display().to_string())?;
    }
    Table::collect(&[&args.target], &scored, &measures::union(&study.measures, &more), false)
}

fn eval_run(
    run: &RunFolder,
    manifest: &Manifest,
    folder: Option<&Path>,
    scored: &Scored,
    more: &[Metric],
    device: &Device,
) -> Result<()> {
    let scored = run.scored(scored);
    let (data, other) = (&manifest.data, scored.subset.as_ref());
    let (trained, dataset) = dataset::open_both(data, folder, other, Some(&run.description()))?;
    // The split of another subset was not recorded; its scores name the images.
    run.ensure_same_images(&*trained, other.is_none().then_some(scored.split))?;
    // What was asked for before stays, made anew.
    let metrics = measures::union(&measures::union(&manifest.measures, more), &run.measures(&scored));
    let metrics = measures::load(&metrics, &manifest.weights)?;
    let scoring = Scoring::of(data, &*dataset, scored.split, &metrics);
    let scores = score_run(run, manifest, &*trained, &scored, &scoring, device)?;
    if scored.subset.is_some() {
        warn_of_leak(&run.label(), &scores);
    }
    baselines::ensure(run.study_folder(), &scored, &scoring)
}

fn eval_weights(args: &Eval, subset: Option<Subset>, device: &Device) -> Result<Table> {
    let missing = || UsageError("which images? A file of weights needs --data DIR".into());
    let root = args.data.as_deref().ok_or_else(missing)?;
    let subset = subset.unwrap_or_default();
    let name = args.dataset.as_deref().unwrap_or("vcip2020");
    let description = Description::find(name).map_err(|e| UsageError(e.to_string()))?;
    description.choices(&subset).map_err(|e| UsageError(e.to_string()))?;
    let photographs = Photographs::open(&description, root, &subset)?;
    overlap::warn(&photographs);
    let dataset = &photographs;
    let weights = Weights::load(&args.target, device, None)?;
    if let Some(folder) = args.out.as_deref().and_then(Path::parent) {
        make_folder(folder)?;
    }
    let columns = measures::union(&measures::published(), &measures::named(&args.measures)?);
    let metrics = measures::load(&columns, Path::new(DEFAULT_WEIGHTS))?;
    let scoring = Scoring::new(dataset, args.split, weights.preparation, weights.size, &metrics);
    let mut scores = scoring.evaluate(|sample| colorize(&weights.colorizer, sample, device))?;
    let origin = args.target.display().to_string();
    let label = args.target.file_stem().map_or_else(|| origin.clone(), |stem| stem.to_string_lossy().into_owned());
    let label = with_random_features(label, weights.metadata("random_features"));
    match trained_on(&photographs, &weights) {
        Some(trained) => leak::mark(&mut scores, &trained, dataset, args.split),
        None => eprintln!(
            "note: {origin} was not trained on a subset of these images, or does not tell; whether it knows some of \
             them was not checked"
        ),
    }
    warn_of_leak(&label, &scores);
    if let Some(path) = &args.out {
        write_lines(path, &scores)?;
    }
    let mut groups = Vec::new();
    for (baseline, scores) in baselines::score(&scoring)? {
        let label = baseline.label().to_string();
        groups.push(Group { origin: label.clone(), label, baseline: true, seeds: vec![scores] });
    }
    groups.push(Group { label, baseline: false, origin, seeds: vec![scores] });
    Table::from_groups(&groups, &columns)
}

/// The subset of the folder that the weights were trained on, by its fingerprint in their header.
fn trained_on(photographs: &Photographs, weights: &Weights) -> Option<Photographs> {
    let fingerprint = weights.metadata("fingerprint")?;
    let subsets = photographs.description().subsets().into_iter();
    let mut opened = subsets.filter_map(|subset| photographs.with_subset(&subset).ok());
    opened.find(|photographs| photographs.fingerprint(Split::Train) == fingerprint)
}

fn warn_of_leak(who: &str, scores: &[ImageScore]) {
    if let Some(note) = leak::note(who, scores) {
        eprintln!("warning: {note}");
    }
}

/// Scores the best weights of a run, which was trained on `trained`; scores and predictions go to its folder.
///
/// # Errors
/// A run without weights, images that cannot be read, a folder that cannot be written.
pub fn score_run(
    run: &RunFolder,
    manifest: &Manifest,
    trained: &dyn Dataset,
    scored: &Scored,
    scoring: &Scoring,
    device: &Device,
) -> Result<Vec<ImageScore>> {
    let unusable = || format!("{} has no usable weights: train it first", run.path.display());
    let file = WeightFile::load(&run.best(), device).with_context(unusable)?;
    check_architecture(&run.best(), &file.architecture, &manifest.model.architecture)?;
    let colorizer = file.colorizer(None).with_context(unusable)?;
    let folder = run.images(scored);
    make_folder(&folder)?;
    make_folder(&run.path.join("eval"))?;
    let mut scores = scoring.evaluate(|sample| {
        let pred = colorize(&colorizer, sample, device)?;
        images::write_png(&folder.join(format!("{}.png", sample.name)), &images::from_tensor(&pred)?)?;
        Ok(pred)
    })?;
    leak::mark(&mut scores, trained, scoring.dataset, scoring.split);
    write_lines(&run.scores(scored), &scores)?;
    Ok(scores)
}

fn check_architecture(path: &Path, theirs: &Architecture, ours: &Architecture) -> Result<()> {
    ensure!(theirs == ours, "{}: these weights are of {theirs}, the run's manifest says {ours}", path.display());
    Ok(())
}
