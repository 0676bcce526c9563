//! Trains every variant from every seed, then scores and tabulates them.

use super::DeviceChoice;
use crate::commands::eval::score_run;
use crate::inputs::{dataset, hub};
use crate::manifest::{Manifest, Model, RESERVED, Variant};
use crate::report::images;
use crate::report::table::{Format, Table};
use crate::scoring::baselines;
use crate::scoring::evaluate::Scoring;
use crate::scoring::measures;
use crate::study::folder::{RunFolder, Scores};
use crate::study::record::{ImageScore, read_scores};
use crate::study::scored::Scored;
use crate::system::files::{exists, make_folder, read_if_there, write_whole};
use crate::system::interrupt::{self, Interrupted};
use crate::system::terminal::{OutputClosed, Verbosity, note, print};
use crate::system::usage::{UsageError, in_words};
use crate::training::room::ensure_room;
use crate::training::session::{Outcome, Session};
use crate::training::teachers::Teachers;
use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;
use colormamba_data::{Dataset, Split, read_rgb};
use colormamba_features::Metric;
use colormamba_losses::Networks;
use colormamba_support::names::nearest;
use image::RgbImage;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The manifest that runs when none is given.
pub const QUICKSTART: &str = include_str!("../../../../experiments/quickstart.toml");

/// What to run.
pub struct Run {
    /// A manifest file; without one, or with the word `quickstart`, the embedded [`QUICKSTART`].
    pub manifest: Option<PathBuf>,
    /// Overrides, `key=value`.
    pub set: Vec<String>,
    /// The images, instead of the manifest's `data.root`.
    pub data: Option<PathBuf>,
    /// Where the study's folder goes.
    pub out: PathBuf,
    /// Only these variants; all if empty.
    pub variants: Vec<String>,
    /// Only these seeds; all if empty.
    pub seeds: Vec<u64>,
    /// Stop after so many steps.
    pub stop_after: Option<usize>,
    /// Measure an iteration of the first variant and seed instead; nothing is written.
    pub profile: bool,
    /// What to compute on.
    pub device: DeviceChoice,
    /// How much to say.
    pub verbosity: Verbosity,
    /// The longest time without a checkpoint.
    pub checkpoint_every: Duration,
}

/// Runs a manifest; `Ok` once everything asked for is trained, scored and tabulated. A run that fails does not keep the
/// others from being trained.
///
/// # Errors
/// A wrong manifest or command ([`UsageError`]), runs that failed, and a run that was interrupted.
pub fn run(args: &Run) -> Result<()> {
    if args.profile {
        return profile(&Prepared::open(args)?, args);
    }
    interrupt::listen()?;
    let prepared = Prepared::open(args)?;
    interrupt::check()?;
    let Prepared { manifest, study, dataset, .. } = &prepared;
    let sessions = prepared.sessions(args);
    // Before anything is written: a refused run leaves the study as it was.
    let metrics = measures::load(&manifest.measures, &manifest.weights)?;
    ensure_own(study)?;
    check(&sessions)?;
    make_folder(study)?;
    write_whole(&study.join("manifest.toml"), manifest.to_toml()?.as_bytes())?;
    let scoring = Scoring::of(&manifest.data, &**dataset, Split::Validation, &metrics);
    let validated = dataset.len(Split::Validation) > 0;
    if validated {
        baselines::ensure(study, &Split::Validation.into(), &scoring)?;
    }
    let (mut limit, mut failed) = (args.stop_after, Vec::new());
    for session in &sessions {
        interrupt::check()?;
        match train(session, &scoring, &manifest.measures, &mut limit) {
            Err(error) if sessions.len() > 1 && !ends_all(&error) => {
                let label = session.folder.label();
                note(&format!("error: {label}: {}", in_words(&error)));
                failed.push(label);
            }
            result => result?,
        }
    }
    if validated && failed.len() < sessions.len() {
        summarise(study, manifest, &**dataset, args.verbosity)?;
    }
    ensure!(failed.is_empty(), "{} of {} runs failed: {}", failed.len(), sessions.len(), failed.join(", "));
    Ok(())
}

/// Trains a run to its end, and scores it if there is something to score it by.
fn train(session: &Session, scoring: &Scoring, measures: &[Metric], limit: &mut Option<usize>) -> Result<()> {
    let Session { folder, manifest, .. } = session;
    if let Outcome::Stopped { step } = session.train(limit)? {
        bail!(Interrupted::Training { step, variant: folder.variant.clone(), last: folder.last() });
    }
    let (validation, dataset) = (Split::Validation.into(), scoring.dataset);
    if dataset.len(Split::Validation) > 0 && !is_scored(session, &validation, scoring, measures)? {
        score_run(folder, manifest, dataset, &validation, scoring, session.device)?;
    }
    Ok(())
}

/// Whether what happened to a run would happen to the others too.
fn ends_all(error: &anyhow::Error) -> bool {
    error.is::<Interrupted>() || error.is::<OutputClosed>() || error.is::<UsageError>()
}

/// The runs of a manifest, and what they are trained with.
pub(super) struct Prepared {
    manifest: Manifest,
    study: PathBuf,
    dataset: Arc<dyn Dataset>,
    networks: Networks,
    teachers: Option<Rc<Teachers>>,
    device: Device,
    /// Folders, and a manifest of one variant and seed each.
    planned: Vec<(RunFolder, Manifest)>,
}

impl Prepared {
    /// Reads all that the runs which are asked for need. Writes nothing.
    ///
    /// # Errors
    /// A wrong manifest or command ([`UsageError`]), data and weights that cannot be read.
    pub(super) fn open(args: &Run) -> Result<Self> {
        let mut manifest = load(args)?;
        let mut chosen = choose(&manifest, args)?;
        tell_unchanged(&args.set, &chosen);
        if args.profile {
            chosen.truncate(1);
        }
        fetch(&manifest, &chosen, args.verbosity != Verbosity::Normal)?;
        let device = args.device.open()?;
        ensure!(
            device.is_cpu() || !args.profile,
            UsageError(
                "--profile times the processor: add --device cpu (on a GPU, nsys shows where a step's time goes)"
                    .into()
            )
        );
        if device.is_cpu() {
            chosen.iter().try_for_each(|(variant, seed)| ensure_room(&manifest.only(variant, *seed)))?;
        }
        let dataset = open(&manifest, args.data.as_deref())?;
        // What other variants look through need not be at hand.
        let mut trained = manifest.clone();
        trained.variants = chosen.iter().map(|(variant, _)| variant.clone()).collect();
        let networks = dataset::networks(&trained, &device)?;
        dataset::record_root(&mut manifest, args.data.as_deref())?;
        let study = args.out.join(&manifest.name);
        let planned = chosen
            .iter()
            .map(|(variant, seed)| (RunFolder::new(&study, &manifest, variant, *seed), manifest.only(variant, *seed)));
        let planned: Vec<(RunFolder, Manifest)> = planned.collect();
        // What finished runs learned from may be gone. What is wrong with one that cannot be read is said later.
        let finished = planned.iter().all(|(folder, manifest)| folder.finished(manifest).unwrap_or(false));
        let teachers = Teachers::load(&manifest, &device).or_else(|e| if finished { Ok(None) } else { Err(e) })?;
        Ok(Self { manifest, study, dataset, networks, teachers: teachers.map(Rc::new), device, planned })
    }

    /// In the order of the table.
    pub(super) fn sessions(&self, args: &Run) -> Vec<Session<'_>> {
        let planned = self.planned.iter();
        let sessions = planned.map(|(folder, manifest)| Session {
            manifest,
            folder,
            dataset: self.dataset.clone(),
            networks: self.networks.clone(),
            teachers: self.teachers.clone(),
            device: &self.device,
            verbosity: args.verbosity,
            checkpoint_every: args.checkpoint_every,
        });
        sessions.collect()
    }
}

/// Fails if a run would refuse to begin.
fn check(sessions: &[Session]) -> Result<()> {
    let mut fresh: Vec<&Model> = Vec::new();
    for session in sessions {
        let (begun, model) = (session.begun()?, &session.manifest.model);
        // Of those that have not begun, one of each network stands for all: they differ in their losses and seeds
        // alone.
        if begun || !fresh.contains(&model) {
            session.check()?;
        } else {
            session.folder.ensure_free()?;
        }
        if !begun {
            fresh.push(model);
        }
    }
    Ok(())
}

/// Fails if the study's folder holds files of somebody else's under the names that a study's have.
fn ensure_own(study: &Path) -> Result<()> {
    if exists(&study.join("baselines"))? {
        return Ok(());
    }
    let manifest = study.join("manifest.toml");
    let is_ours = |text: Vec<u8>| {
        // A study that was stopped before its baselines: its manifest is as this program writes it.
        let text = String::from_utf8(text).ok()?;
        let written = Manifest::parse("", &text, &[]).ok()?.to_toml().ok()?;
        Some(written == text)
    };
    if read_if_there(&manifest)?.and_then(is_ours) == Some(true) {
        return Ok(());
    }
    for name in RESERVED {
        let path = study.join(name);
        let message = format!(
            "{} is there already and is not of a study: give the study another name or --out, or move that away",
            path.display()
        );
        ensure!(!exists(&path)?, UsageError(message));
    }
    Ok(())
}

/// Whether a run has scores and predictions that are of its present weights, images and measures.
fn is_scored(session: &Session, scored: &Scored, scoring: &Scoring, metrics: &[Metric]) -> Result<bool> {
    let Session { folder: run, manifest, .. } = session;
    let Scores::Fit(scores) = run.fitting(manifest, scored)? else { return Ok(false) };
    let fits = |score: &ImageScore| {
        let whole = score.made.is_some() && score.setting == scoring.setting && score.lacking(metrics).is_none();
        whole && is_prediction(&prediction(run, scored, &score.image), score)
    };
    Ok(scores.len() == scoring.dataset.len(scoring.split) && scores.iter().all(fits))
}

fn prediction(run: &RunFolder, scored: &Scored, image: &str) -> PathBuf {
    run.images(scored).join(format!("{image}.png"))
}

/// Whether a file is the one whose scores these are; an earlier version did not tell.
fn is_prediction(path: &Path, score: &ImageScore) -> bool {
    let is_it = |bytes: Vec<u8>| {
        score.prediction.as_ref().is_none_or(|digest| blake3::hash(&bytes).to_hex().as_str() == digest)
    };
    std::fs::read(path).is_ok_and(is_it)
}

fn profile(prepared: &Prepared, args: &Run) -> Result<()> {
    let sessions = prepared.sessions(args);
    let measured = sessions.first().context("the manifest has no variant or no seed")?.profile()?;
    match args.verbosity {
        Verbosity::Json => print(&measured.json()?),
        Verbosity::Normal | Verbosity::Quiet => print(&measured.table()),
    }
}

fn load(args: &Run) -> Result<Manifest> {
    match &args.manifest {
        Some(path) if path.as_os_str() != "quickstart" => Ok(Manifest::load(path, &args.set)?),
        _ => Ok(Manifest::parse("quickstart", QUICKSTART, &args.set)?),
    }
}

/// Says which of the variants' networks overrides of the manifest's network leave as they are.
fn tell_unchanged(set: &[String], chosen: &[(Variant, u64)]) {
    let own = chosen.iter().filter(|(variant, _)| variant.model.is_some()).map(|(variant, _)| variant.name.as_str());
    let own: BTreeSet<&str> = own.collect();
    for set in set.iter().filter(|set| set.trim_start().starts_with("model")) {
        for name in &own {
            note(&format!("note: --set {set} does not change {name}, which has a network of its own"));
        }
    }
}

/// Fetches what the networks to train start and learn from, where that lies on a hub.
fn fetch(manifest: &Manifest, chosen: &[(Variant, u64)], quiet: bool) -> Result<()> {
    let models = chosen.iter().map(|(variant, _)| variant.model.as_ref().unwrap_or(&manifest.model));
    let inits = models.filter_map(|model| Some(&model.init.as_ref()?.from));
    let teachers = manifest.distill.iter().flat_map(|distill| &distill.teachers);
    inits.chain(teachers).try_for_each(|from| hub::located(from, quiet).map(drop))
}

fn open(manifest: &Manifest, folder: Option<&Path>) -> Result<Arc<dyn Dataset>> {
    let dataset = dataset::open(&manifest.data, folder)?;
    dataset::ensure_not_empty(&*dataset, Split::Train)?;
    dataset::warn_without_validation(&*dataset);
    Ok(dataset)
}

fn choose(manifest: &Manifest, args: &Run) -> Result<Vec<(Variant, u64)>> {
    let names: Vec<&str> = manifest.variants.iter().map(|v| v.name.as_str()).collect();
    if let Some(name) = args.variants.iter().find(|name| !names.contains(&name.as_str())) {
        let nearest = nearest(name, names.iter().copied()).map(|n| format!(", did you mean `{n}`?"));
        let hint = nearest.unwrap_or_else(|| format!(": its variants are {}", names.join(", ")));
        bail!(UsageError(format!("the manifest has no variant `{name}`{hint}")));
    }
    if let Some(seed) = args.seeds.iter().find(|seed| !manifest.seeds.contains(seed)) {
        bail!(UsageError(format!(
            "the manifest has no seed {seed}: its seeds are {:?}; --set seeds=[..] names others",
            manifest.seeds
        )));
    }
    let variants = manifest.variants.iter().filter(|v| args.variants.is_empty() || args.variants.contains(&v.name));
    let seeds = manifest.seeds.iter().filter(|s| args.seeds.is_empty() || args.seeds.contains(s));
    Ok(variants.flat_map(|v| seeds.clone().map(move |s| (v.clone(), *s))).collect())
}

/// Writes the tables and the contact sheet of whatever is scored by now.
fn summarise(study: &Path, manifest: &Manifest, dataset: &dyn Dataset, verbosity: Verbosity) -> Result<()> {
    let table = Table::collect(&[study], &Split::Validation.into(), &manifest.measures, false)?;
    for format in [Format::Md, Format::Tex, Format::Csv] {
        write_whole(&study.join(format!("table.{}", format.extension())), format.render(&table)?.as_bytes())?;
    }
    let sheet = contact_sheet(study, manifest, dataset)?;
    if verbosity == Verbosity::Normal {
        note(&format!("{} shows some of the validation images", sheet.display()));
    }
    match verbosity {
        Verbosity::Json => {
            print(&format!("{}\n", serde_json::json!({"event": "table", "csv": Format::Csv.render(&table)?})))
        }
        Verbosity::Normal | Verbosity::Quiet => print(&Format::Md.render(&table)?),
    }
}

/// A prediction as the sheet shows it. That of another task's run may be gone by now, or replaced: then its place is
/// told.
fn scored_image(path: &Path, score: Option<&ImageScore>, size: (u32, u32)) -> RgbImage {
    let image = score.filter(|score| is_prediction(path, score)).and_then(|_| read_rgb(path).ok());
    image.unwrap_or_else(|| {
        note(&format!("warning: {} is not the image that was scored; `colormamba eval` makes it anew", path.display()));
        images::placeholder("not shown", Some(size))
    })
}

/// Rows of the contact sheet.
const SHOWN: usize = 6;

/// NIR, the prediction of each variant's first seed, and the truth, for validation images spread over the split.
fn contact_sheet(study: &Path, manifest: &Manifest, dataset: &dyn Dataset) -> Result<PathBuf> {
    let validation = Split::Validation.into();
    let mut runs = RunFolder::discover(study, &validation)?.runs;
    runs.dedup_by(|(later, _), (first, _)| later.variant == first.variant);
    let preparation = dataset::preparation(&manifest.data);
    let count = dataset.len(Split::Validation);
    let shown = count.min(SHOWN);
    let scores = runs.iter().map(|(run, _)| read_scores(&run.scores(&validation))).collect::<Result<Vec<_>>>()?;
    let row = |i: usize| -> Result<Vec<RgbImage>> {
        let sample = preparation.evaluation(&dataset.pair(Split::Validation, i * count / shown)?)?;
        let mut row = vec![images::from_tensor(&sample.nir)?];
        for ((run, _), scores) in runs.iter().zip(&scores) {
            let path = prediction(run, &validation, &sample.name);
            row.push(scored_image(&path, scores.iter().find(|score| score.image == sample.name), row[0].dimensions()));
        }
        row.push(images::from_tensor(&sample.rgb)?);
        Ok(row)
    };
    let rows = (0..shown).map(row).collect::<Result<Vec<_>>>()?;
    let names = runs.iter().map(|(run, _)| run.variant.clone());
    let labels: Vec<String> = ["NIR".to_string()].into_iter().chain(names).chain(["truth".to_string()]).collect();
    let path = study.join("contact-sheet.png");
    images::write_png(&path, &images::sheet(&labels, &rows))?;
    Ok(path)
}
