//! Scores trained weights on a split.

use super::DeviceChoice;
use crate::inputs::dataset::{self, Opened};
use crate::inputs::hub::located;
use crate::inputs::overlap;
use crate::manifest::{DEFAULT_WEIGHTS, Manifest};
use crate::report::images;
use crate::report::table::{Format, Group, Table, with_random_features};
use crate::scoring::baselines;
use crate::scoring::evaluate::{Scoring, colorize};
use crate::scoring::leak;
use crate::scoring::measures;
use crate::scoring::weights::{self, Weights};
use crate::study::folder::{RunFolder, description, train_command};
use crate::study::provenance::program;
use crate::study::record::Origin;
use crate::study::scored::Scored;
use crate::system::files::{is_folder, make_folder, write_lines, write_whole};
use crate::system::output::ensure_writable;
use crate::system::terminal::{note, print};
use crate::system::usage::UsageError;
use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;
use colormamba_data::{Dataset, Description, Photographs, Split, Subset};
use colormamba_features::Metric;
use colormamba_training::{Architecture, WeightFile};
use std::collections::BTreeSet;
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
    /// Measures beside those of a run's manifest, by spec or short name; of a file of weights beside the published
    /// ones.
    pub measures: Vec<String>,
    /// Where to keep the scores of a file of weights; those of a run stay with it.
    pub out: Option<PathBuf>,
    /// Whether a file there may be replaced.
    pub force: bool,
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
    let table = if is_folder(&args.target)? {
        eval_folder(args, subset, &device)?
    } else {
        eval_weights(args, subset, &device)?
    };
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
    let mut said = BTreeSet::new();
    if RunFolder::is_run(&args.target)? {
        let (run, manifest) = RunFolder::open(&args.target)?;
        eval_run((&run, &manifest), args.data.as_deref(), &scored, &more, device, &mut said)?;
        let columns = measures::union(&manifest.measures, &more);
        return Table::collect(&[&args.target], &run.scored(&scored), &columns, false);
    }
    let study = RunFolder::of_study(&args.target)?;
    for (run, manifest) in &study.runs {
        // A run that is not trained to the end, or that cannot be read, is named beside the table.
        if !run.finished(manifest).unwrap_or(false) {
            continue;
        }
        eval_run((run, manifest), args.data.as_deref(), &scored, &more, device, &mut said)
            .with_context(|| run.path.display().to_string())?;
    }
    Table::collect(&[&args.target], &scored, &measures::union(&study.manifest.measures, &more), false)
}

/// Warnings of the images that were `said` of another run are not repeated.
fn eval_run(
    (run, manifest): (&RunFolder, &Manifest),
    folder: Option<&Path>,
    scored: &Scored,
    more: &[Metric],
    device: &Device,
    said: &mut BTreeSet<String>,
) -> Result<()> {
    let scored = run.scored(scored);
    let (data, other) = (&manifest.data, scored.subset.as_ref());
    let Opened { trained, scored: dataset, warnings } =
        dataset::open_both(data, folder, other, Some(&run.description()))?;
    warnings.into_iter().filter(|text| said.insert(text.clone())).for_each(|text| note(&text));
    dataset::ensure_not_empty(&*dataset, scored.split)?;
    // The split of another subset was not recorded; its scores name the images.
    run.ensure_same_images(&*trained, other.is_none().then_some(scored.split))?;
    // What was asked for before stays, made anew.
    let metrics = measures::union(&measures::union(&manifest.measures, more), &run.measures(&scored));
    let metrics = measures::load(&metrics, &manifest.weights)?;
    let scoring = Scoring::of(data, &*dataset, scored.split, &metrics);
    let weights = own_weights(run, manifest, device)?;
    note(&format!("{}: scoring the {} split", run.label(), scored.split));
    score_weights((run, manifest), weights, &*trained, &scored, &scoring, device)?;
    baselines::ensure(run.study_folder(), &scored, &scoring)
}

fn eval_weights(args: &Eval, subset: Option<Subset>, device: &Device) -> Result<Table> {
    if let Some(out) = &args.out {
        let inputs = std::iter::once(args.target.as_path()).chain(args.data.as_deref());
        ensure_writable(out, args.force, inputs)?;
    }
    let missing = || UsageError("which images? A file of weights needs --data DIR".into());
    let root = args.data.as_deref().ok_or_else(missing)?;
    let subset = subset.unwrap_or_default();
    let name = args.dataset.as_deref().unwrap_or("vcip2020");
    let description = Description::find(name).map_err(|e| UsageError(e.to_string()))?;
    description.choices(&subset).map_err(|e| UsageError(e.to_string()))?;
    let photographs = Photographs::open(&description, root, &subset)?;
    overlap::warnings(&photographs).iter().for_each(|text| note(text));
    dataset::ensure_not_empty(&photographs, args.split)?;
    let dataset = &photographs;
    let target = located(&args.target, false)?;
    let weights = Weights::load(&target, device, None)?;
    if let Some(folder) = args.out.as_deref().and_then(Path::parent) {
        make_folder(folder)?;
    }
    let columns = measures::union(&measures::published(), &measures::named(&args.measures)?);
    let metrics = measures::load(&columns, Path::new(DEFAULT_WEIGHTS))?;
    let scoring = Scoring::new(dataset, args.split, weights.preparation, weights.size, &metrics);
    let mut scores = scoring.evaluate(|sample| colorize(&weights.network, sample, device))?;
    let origin = args.target.display().to_string();
    let label = args.target.file_stem().map_or_else(|| origin.clone(), |stem| stem.to_string_lossy().into_owned());
    let label = with_random_features(label, weights.metadata("random_features"));
    let trained = trained_on(&photographs, &weights);
    if let Some(trained) = &trained {
        leak::mark(&mut scores, trained, dataset, args.split);
    }
    let unchecked = if trained.is_none() { "; whether it knows some of them was not checked" } else { "" };
    match (weights.trained_elsewhere(dataset), trained) {
        (Some(text), _) => note(&format!("warning: {origin} {text}{unchecked}")),
        (None, None) => {
            note(&format!("note: {origin} was not trained on a subset of these images, or does not tell{unchecked}"))
        }
        (None, Some(_)) => {}
    }
    let description = name.ends_with(".toml").then(|| digest_of(Path::new(name))).transpose()?;
    let made = Origin { source: weights.digest.clone(), description, program: program() };
    scores.iter_mut().for_each(|score| score.made = Some(made.clone()));
    if let Some(path) = &args.out {
        write_lines(path, &scores)?;
    }
    let mut groups = Vec::new();
    for (baseline, scores) in baselines::score(&scoring)? {
        let label = baseline.label().to_string();
        let (origin, trained_by) = (label.clone(), BTreeSet::new());
        groups.push(Group { label, baseline: true, origin, seeds: vec![scores], trained_by });
    }
    groups.push(Group { label, baseline: false, origin, seeds: vec![scores], trained_by: BTreeSet::new() });
    Table::from_groups(&groups, &columns)
}

fn digest_of(file: &Path) -> Result<String> {
    let content = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(blake3::hash(&content).to_hex().to_string())
}

/// The subset of the folder that the weights were trained on, by its fingerprint in their header.
fn trained_on(photographs: &Photographs, weights: &Weights) -> Option<Photographs> {
    let fingerprint = weights.metadata("fingerprint")?;
    let subsets = photographs.description().subsets().into_iter();
    let mut opened = subsets.filter_map(|subset| photographs.with_subset(&subset).ok());
    opened.find(|photographs| photographs.fingerprint(Split::Train) == fingerprint)
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
) -> Result<()> {
    let weights = own_weights(run, manifest, device)?;
    score_weights((run, manifest), weights, trained, scored, scoring, device)
}

fn score_weights(
    (run, manifest): (&RunFolder, &Manifest),
    file: WeightFile,
    trained: &dyn Dataset,
    scored: &Scored,
    scoring: &Scoring,
    device: &Device,
) -> Result<()> {
    let network = file.network(None).with_context(|| unusable(run))?;
    let made = Origin { source: weights::digest(&file)?, description: description(manifest), program: program() };
    let folder = run.images(scored);
    make_folder(&folder)?;
    make_folder(&run.path.join("eval"))?;
    let mut written = Vec::new();
    let mut scores = scoring.evaluate(|sample| {
        let pred = colorize(&network, sample, device)?;
        let png = images::png(&images::from_tensor(&pred)?)?;
        write_whole(&folder.join(format!("{}.png", sample.name)), &png)?;
        written.push(blake3::hash(&png).to_hex().to_string());
        Ok(pred)
    })?;
    for (score, prediction) in scores.iter_mut().zip(written) {
        (score.prediction, score.made) = (Some(prediction), Some(made.clone()));
    }
    leak::mark(&mut scores, trained, scoring.dataset, scoring.split);
    write_lines(&run.scores(scored), &scores)
}

fn unusable(run: &RunFolder) -> String {
    let study = run.study_folder();
    format!("{} has no usable weights: train it to the end: {}", run.path.display(), train_command(study))
}

/// The best weights of a run, and no others in their place.
fn own_weights(run: &RunFolder, manifest: &Manifest, device: &Device) -> Result<WeightFile> {
    let file = weights::load(&run.best(), device).with_context(|| unusable(run))?;
    check_architecture(&run.best(), &file.architecture, &manifest.model.architecture)?;
    match run.foreign(&file.metadata, manifest)? {
        None => Ok(file),
        Some(why) => bail!("{why}; put the run's own file back, or train it again under another name"),
    }
}

fn check_architecture(path: &Path, theirs: &Architecture, ours: &Architecture) -> Result<()> {
    ensure!(theirs == ours, "{}: these weights are of {theirs}, the run's manifest says {ours}", path.display());
    Ok(())
}
