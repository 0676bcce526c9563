//! The runs of a study: those that a table can hold, and what the others lack.

use crate::manifest::Manifest;
use crate::study::folder::{RunFolder, Scores, label, subfolders, train_command};
use crate::study::provenance::Provenance;
use crate::study::scored::Scored;
use crate::system::files::exists;
use anyhow::{Result, bail, ensure};
use colormamba_data::Split;
use std::fmt::Display;
use std::path::Path;

/// The runs that a table can hold.
pub struct Found {
    /// Those with scores, and their own manifests.
    pub runs: Vec<(RunFolder, Manifest)>,
    /// What the others lack and the command that makes it, a sentence each.
    pub missing: Vec<String>,
}

/// A study's manifest, and what lies below it.
pub struct Study {
    /// The present manifest.
    pub manifest: Manifest,
    /// The runs with their own manifests. Those that the present manifest names come first, in its order; then those of
    /// other manifests, by name.
    pub runs: Vec<(RunFolder, Manifest)>,
    /// Folders of runs that have written nothing yet that could be shown: variant and seed.
    begun: Vec<(String, u64)>,
    /// What cannot be read, and why.
    broken: Vec<(String, String)>,
}

/// The runs of a study that a table cannot hold, by what they lack.
#[derive(Default)]
struct Missing {
    /// Named by the study's manifest, and not trained to the end.
    unfinished: Vec<String>,
    /// Of another manifest, and not trained to the end.
    left: Vec<String>,
    /// Not trained to the end because of an error: which, and that.
    failed: Vec<(String, String)>,
    /// Trained, and not scored.
    unscored: Vec<String>,
    /// A split that these have images of, if they have none of the one that is asked for.
    elsewhere: Option<Split>,
    /// Trained, with scores of something else: which, and why.
    unfit: Vec<(String, String)>,
    /// Those that cannot be read: which, and why.
    broken: Vec<(String, String)>,
}

impl Study {
    /// Adds what lies in a folder of a variant, if it is a run or begins to be one.
    fn add(&mut self, variant: &str, folder: &Path) {
        let seed = seed_of(folder);
        match RunFolder::readable(folder) {
            Ok(Some(run)) => self.runs.push(run),
            Ok(None) => self.begun.extend(seed.map(|seed| (variant.to_string(), seed))),
            Err(error) => {
                let other = || format!("{variant}/{}", name_of(folder));
                let run = seed.map_or_else(other, |seed| label(variant, seed));
                self.broken.push((run, first_line(&format!("{error:#}"))));
            }
        }
    }

    fn names(&self, variant: &str, seed: u64) -> bool {
        self.manifest.seeds.contains(&seed) && self.manifest.variants.iter().any(|v| v.name == variant)
    }

    /// The runs that a table can hold, and what the others lack. A run that cannot be read is named among those, so
    /// that it does not keep the table of the others from being made.
    fn sort(self, scored: &Scored) -> (Vec<(RunFolder, Manifest)>, Missing) {
        let mut missing = Missing::default();
        missing.broken.extend(self.broken.iter().cloned());
        let is_broken = |what: &str| self.broken.iter().any(|(name, _)| name == what);
        for variant in &self.manifest.variants {
            let named = |seed: &&u64| {
                let is_run = self.runs.iter().any(|(run, _)| run.variant == variant.name && run.seed == **seed);
                is_run || is_broken(&variant.name) || is_broken(&label(&variant.name, **seed))
            };
            let absent = self.manifest.seeds.iter().filter(|seed| !named(seed));
            missing.unfinished.extend(absent.map(|seed| label(&variant.name, *seed)));
        }
        let begun = self.begun.iter().filter(|(variant, seed)| !self.names(variant, *seed));
        missing.left.extend(begun.map(|(variant, seed)| label(variant, *seed)));
        let named: Vec<bool> = self.runs.iter().map(|(run, _)| self.names(&run.variant, run.seed)).collect();
        let placed = |((run, manifest), named): (&(RunFolder, Manifest), bool)| {
            missing.place(run, manifest, scored, named).then(|| (run.clone(), manifest.clone()))
        };
        let runs = self.runs.iter().zip(named).filter_map(placed).collect();
        (runs, missing)
    }
}

impl Missing {
    /// Whether a table can hold the run; if not, it is noted what it lacks.
    fn place(&mut self, run: &RunFolder, manifest: &Manifest, scored: &Scored, named: bool) -> bool {
        let state = run.finished(manifest).and_then(|finished| match finished {
            true => run.fitting(manifest, scored).map(Some),
            false => Ok(None),
        });
        match state {
            Ok(Some(Scores::Fit(_))) => return true,
            Ok(Some(Scores::Missing)) => {
                self.elsewhere = self.elsewhere.or(run.other_split(scored));
                self.unscored.push(run.label());
            }
            Ok(Some(Scores::Unfit(why))) => self.unfit.push((run.label(), why)),
            Ok(None) if named => match RunFolder::failure(&run.path) {
                Ok(None) => self.unfinished.push(run.label()),
                Ok(Some(why)) => self.failed.push((run.label(), first_line(&why))),
                Err(error) => self.broken.push((run.label(), format!("{error:#}"))),
            },
            Ok(None) => self.left.push(run.label()),
            Err(error) => self.broken.push((run.label(), format!("{error:#}"))),
        }
        false
    }

    fn notes(&self, study: &Path, scored: &Scored) -> Vec<String> {
        let command = train_command(study);
        let failed = self
            .failed
            .iter()
            .map(|(run, why)| (run.clone(), format!("it failed: {why}; this tries it again: {command}")));
        let train = format!("not trained to the end: {command}");
        let study = study.display();
        let eval = format!("colormamba eval {study} {}", scored.options());
        let score =
            format!("not scored: {}", self.elsewhere.map_or(eval.clone(), |split| instead(study, scored, split)));
        let left = "not trained to the end, and not in the study's present manifest".to_string();
        let together = [(&self.unfinished, train), (&self.unscored, score), (&self.left, left)]
            .into_iter()
            .filter(|(runs, _)| !runs.is_empty())
            .map(|(runs, what)| (runs.join(", "), what));
        let unfit = self.unfit.iter().map(|(run, why)| (run.clone(), format!("{why}: {eval}")));
        let broken = self.broken.iter().map(|(run, why)| (run.clone(), format!("it cannot be shown: {why}")));
        together
            .chain(failed)
            .chain(unfit)
            .chain(broken)
            .map(|(runs, what)| format!("Not in this table: {runs}: {what}"))
            .collect()
    }
}

impl RunFolder {
    /// The run in `path`, or the runs of the study in `path` that have the scores, in the order of [`Self::of_study`].
    ///
    /// # Errors
    /// If there is none, or the run has no such scores, or some of other weights; for a named subset, if a finished run
    /// of the study has none.
    pub fn discover(path: &Path, scored: &Scored) -> Result<Found> {
        if Self::is_run(path)? {
            return Self::discover_run(path, scored);
        }
        let (runs, missing) = Self::of_study(path)?.sort(scored);
        // Without a part of its rows, a table of a subset would look whole.
        ensure!(
            scored.subset.is_none() || missing.unscored.is_empty(),
            "not every finished run in {0} was scored on that subset: {1}; colormamba eval {0} {2}",
            path.display(),
            missing.unscored.join(", "),
            scored.options()
        );
        let missing = missing.notes(path, scored);
        ensure!(
            !runs.is_empty(),
            "no run in {} has scores for the {} split{}",
            path.display(),
            scored.split,
            missing.iter().map(|note| format!("\n  {note}")).collect::<String>()
        );
        Ok(Found { runs, missing })
    }

    fn discover_run(path: &Path, scored: &Scored) -> Result<Found> {
        let (run, manifest) = Self::open(path)?;
        let scores = run.scores(scored);
        let eval = format!("colormamba eval {} {}", path.display(), scored.options());
        match run.fitting(&manifest, scored)? {
            Scores::Fit(_) => {}
            Scores::Missing => {
                let eval = run.other_split(scored).map_or(eval, |split| instead(path.display(), scored, split));
                bail!("{} is missing: finish the run, or score it: {eval}", scores.display())
            }
            Scores::Unfit(why) => bail!("{}: {why}; make them anew with `{eval}`", scores.display()),
        }
        let unfinished = format!(
            "{} is not trained to the end, these are its best weights so far: {}",
            run.label(),
            train_command(run.study_folder())
        );
        let missing = if run.finished(&manifest)? { Vec::new() } else { vec![unfinished] };
        Ok(Found { runs: vec![(run, manifest)], missing })
    }

    /// The study in `path` with all its runs.
    ///
    /// # Errors
    /// If `path` holds no study.
    pub fn of_study(path: &Path) -> Result<Study> {
        let file = path.join("manifest.toml");
        ensure!(exists(&file)?, "{} holds neither a run nor a study: it has no manifest.toml", path.display());
        let mut study =
            Study { manifest: Manifest::load(&file, &[])?, runs: Vec::new(), begun: Vec::new(), broken: Vec::new() };
        for variant in subfolders(path)? {
            match subfolders(&variant) {
                Ok(folders) => folders.iter().for_each(|folder| study.add(&name_of(&variant), folder)),
                Err(error) => study.broken.push((name_of(&variant), format!("{error:#}"))),
            }
        }
        study.runs.sort_by_cached_key(|(run, _)| run.place(&study.manifest));
        Ok(study)
    }

    /// The run in a folder; none if it has not yet written down what it is.
    fn readable(folder: &Path) -> Result<Option<(Self, Manifest)>> {
        let written = |name| exists(&folder.join(name));
        let begun = Self::is_run(folder)? && (written("manifest.toml")? || written("checkpoints/last.safetensors")?);
        if !begun {
            // What has written nothing else may have failed.
            let failure = Self::failure(folder)?;
            ensure!(failure.is_none(), "it failed: {}", failure.unwrap_or_default());
            return Ok(None);
        }
        let run = Self::open(folder)?;
        Provenance::read(&run.0.provenance())?;
        Ok(Some(run))
    }

    /// A split that it has images of, if it has none of the one that is asked for.
    fn other_split(&self, scored: &Scored) -> Option<Split> {
        let recorded = Provenance::read(&self.provenance()).ok()?.fingerprint;
        let has = |split: &Split| recorded.contains_key(&split.to_string());
        let is_other = scored.subset.is_none() && !has(&scored.split);
        [Split::Validation, Split::Test, Split::Train].into_iter().filter(|_| is_other).find(has)
    }
}

/// The commands that score and tabulate what there are no images for on another split.
fn instead(path: impl Display, scored: &Scored, split: Split) -> String {
    let none = scored.split;
    format!(
        "there are no {none} images: colormamba eval {path} --split {split}, then colormamba table {path} --split {split}"
    )
}

/// A note of a table is one line.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_string()
}

/// The seed that a folder's name tells, if it is one of a run.
fn seed_of(folder: &Path) -> Option<u64> {
    name_of(folder).strip_prefix("seed-")?.parse().ok()
}

fn name_of(folder: &Path) -> String {
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
