//! Scores trained weights on a split.

use super::DeviceChoice;
use crate::evaluate::{colorize, evaluate};
use crate::files::{make_folder, write_lines};
use crate::folder::RunFolder;
use crate::manifest::Manifest;
use crate::progress::print;
use crate::record::Setting;
use crate::table::{Format, Group, Table};
use crate::usage::Usage;
use crate::weights::Weights;
use crate::{baselines, dataset, images};
use anyhow::{Context, Result, ensure};
use candle_core::Device;
use colormamba::Colorizer;
use colormamba_data::{Dataset, Description, Split, Subset};
use std::path::{Path, PathBuf};

/// What to score.
pub struct Eval {
    /// A run's folder, or a file of weights.
    pub target: PathBuf,
    /// The images; for a run, instead of its manifest's.
    pub data: Option<PathBuf>,
    /// Which images.
    pub split: Split,
    /// Of which dataset, for a file of weights; vcip2020 without.
    pub dataset: Option<String>,
    /// Of which subset, for a file of weights; a run's manifest names its own.
    pub subset: Option<String>,
    /// Where to keep the scores of a file of weights; those of a run stay with it.
    pub out: Option<PathBuf>,
    /// What to compute on.
    pub device: DeviceChoice,
}

/// Scores, keeps the scores and prints their table.
///
/// # Errors
/// A target that is neither run nor weights, images that cannot be read.
pub fn eval(args: &Eval) -> Result<()> {
    let device = args.device.open()?;
    let table = if args.target.is_dir() { eval_run(args, &device)? } else { eval_weights(args, &device)? };
    print(&Format::Md.render(&table))
}

fn eval_run(args: &Eval, device: &Device) -> Result<Table> {
    ensure!(args.out.is_none(), Usage("--out is for a file of weights: the scores of a run stay in its folder".into()));
    ensure!(
        args.subset.is_none() && args.dataset.is_none(),
        Usage("--dataset and --subset are for a file of weights: a run's manifest names its own".into())
    );
    let (run, manifest) = RunFolder::open(&args.target)?;
    let dataset = dataset::open(&manifest.data, args.data.as_deref())?;
    run.ensure_same_images(&*dataset, args.split)?;
    let data = &manifest.data;
    let setting = Setting::new(&*dataset, args.split, data.protocol, data.size);
    score_run(&run, &manifest, &*dataset, args.split, device)?;
    baselines::ensure(run.study_folder(), &*dataset, args.split, &dataset::preparation(data), &setting)?;
    Table::collect(&[&args.target], args.split, false)
}

fn eval_weights(args: &Eval, device: &Device) -> Result<Table> {
    let missing = || Usage("which images? A file of weights needs --data DIR".into());
    let root = args.data.as_deref().ok_or_else(missing)?;
    let subset = args.subset.as_deref().map_or_else(|| Ok(Subset::published()), str::parse);
    let subset = subset.map_err(|e| Usage(e.to_string()))?;
    let name = args.dataset.as_deref().unwrap_or("vcip2020");
    let description = Description::find(name).map_err(|e| Usage(e.to_string()))?;
    description.choices(&subset).map_err(|e| Usage(e.to_string()))?;
    let dataset = dataset::photographs(&description, root, &subset)?;
    let dataset = &*dataset;
    let weights = Weights::load(&args.target, device)?;
    if let Some(folder) = args.out.as_deref().and_then(Path::parent) {
        make_folder(folder)?;
    }
    let setting = Setting::new(dataset, args.split, weights.preparation.protocol, weights.size);
    let scores = evaluate(dataset, args.split, &weights.preparation, &setting, |sample| {
        colorize(&weights.colorizer, sample, device)
    })?;
    if let Some(path) = &args.out {
        write_lines(path, &scores)?;
    }
    let origin = args.target.display().to_string();
    let label = args.target.file_stem().map_or_else(|| origin.clone(), |stem| stem.to_string_lossy().into_owned());
    let mut groups = Vec::new();
    for (baseline, scores) in baselines::score(dataset, args.split, &weights.preparation, &setting)? {
        let label = baseline.label().to_string();
        groups.push(Group { origin: label.clone(), label, baseline: true, seeds: vec![scores] });
    }
    groups.push(Group { label, baseline: false, origin, seeds: vec![scores] });
    Table::from_groups(&groups)
}

/// Scores a run's best weights on a split; scores and predictions go to its folder.
///
/// # Errors
/// A run without weights, images that cannot be read, a folder that cannot be written.
pub fn score_run(
    run: &RunFolder,
    manifest: &Manifest,
    dataset: &dyn Dataset,
    split: Split,
    device: &Device,
) -> Result<()> {
    let colorizer = Colorizer::load(&run.best(), device)
        .with_context(|| format!("{} has no usable weights: train it first", run.path.display()))?;
    check_shape(&run.best(), &colorizer, manifest)?;
    let data = &manifest.data;
    let setting = Setting::new(dataset, split, data.protocol, data.size);
    let folder = run.images(split);
    make_folder(&folder)?;
    make_folder(&run.path.join("eval"))?;
    let scores = evaluate(dataset, split, &dataset::preparation(data), &setting, |sample| {
        let pred = colorize(&colorizer, sample, device)?;
        images::write_png(&folder.join(format!("{}.png", sample.name)), &images::from_tensor(&pred)?)?;
        Ok(pred)
    })?;
    write_lines(&run.scores(split), &scores)
}

fn check_shape(path: &Path, colorizer: &Colorizer, manifest: &Manifest) -> Result<()> {
    let (theirs, ours) = (colorizer.generator_config(), manifest.model.config()?);
    ensure!(
        *theirs == ours,
        "{}: these weights are of width {} and depth {}, the run's manifest says width {} and depth {}",
        path.display(),
        theirs.width(),
        theirs.depth(),
        ours.width(),
        ours.depth()
    );
    Ok(())
}
