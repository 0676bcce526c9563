//! Where everything of a run lies.

use crate::manifest::{DatasetConfig, Manifest, Variant};
use crate::study::provenance::Provenance;
use crate::study::record::ImageScore;
use crate::study::recorded;
use crate::study::scored::Scored;
use crate::system::files::read_lines;
use anyhow::{Context, Result, bail, ensure};
use colormamba_data::{Dataset, Split, Subset};
use colormamba_features::Metric;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The folder of one variant trained from one seed: `STUDY/VARIANT/seed-N`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    /// The folder itself.
    pub path: PathBuf,
    /// The manifest's name.
    pub study: String,
    /// The variant's name.
    pub variant: String,
    /// The seed.
    pub seed: u64,
    /// The subset that it was trained on; none of drawn scenes.
    pub subset: Option<Subset>,
}

/// The runs that a table can hold.
pub struct Found {
    /// Those with scores, and their own manifests.
    pub runs: Vec<(RunFolder, Manifest)>,
    /// What the others lack and the command that makes it, a sentence each.
    pub missing: Vec<String>,
}

/// The runs of a study that a table cannot hold, by what they lack.
struct Missing {
    /// Named by the study's manifest, and not trained to the end.
    unfinished: Vec<String>,
    /// Of another manifest, and not trained to the end.
    left: Vec<String>,
    /// Trained, and not scored.
    unscored: Vec<String>,
}

impl Missing {
    fn of(study: &Manifest, runs: &[(RunFolder, Manifest)], scored: &Scored) -> Self {
        let mut missing = Self { unfinished: Vec::new(), left: Vec::new(), unscored: Vec::new() };
        for variant in &study.variants {
            let there = |seed: &u64| runs.iter().any(|(run, _)| run.variant == variant.name && run.seed == *seed);
            let absent = study.seeds.iter().filter(|seed| !there(seed));
            missing.unfinished.extend(absent.map(|seed| label(&variant.name, *seed)));
        }
        for (run, manifest) in runs {
            let named = study.seeds.contains(&run.seed) && study.variants.iter().any(|v| v.name == run.variant);
            let list = match (run.finished(manifest), named) {
                (true, _) if run.scores(scored).exists() => continue,
                (true, _) => &mut missing.unscored,
                (false, true) => &mut missing.unfinished,
                (false, false) => &mut missing.left,
            };
            list.push(run.label());
        }
        missing
    }

    fn notes(&self, study: &Path, scored: &Scored) -> Vec<String> {
        let whole = std::path::absolute(study).unwrap_or_else(|_| study.to_path_buf());
        // `runs/x` stays short; `.` has no parent in its own words.
        let out = match study.parent() {
            Some(parent) if parent == Path::new("") && study != Path::new(".") => Path::new("."),
            Some(parent) if parent != Path::new("") => parent,
            _ => whole.parent().unwrap_or(Path::new("/")),
        };
        let (study, out) = (study.display(), out.display());
        let train = format!("not trained to the end: colormamba run {study}/manifest.toml --out {out}");
        let score = format!("not scored: colormamba eval {study} {}", scored.options());
        let left = "not trained to the end, and not in the study's present manifest".to_string();
        [(&self.unfinished, train), (&self.unscored, score), (&self.left, left)]
            .into_iter()
            .filter(|(runs, _)| !runs.is_empty())
            .map(|(runs, what)| format!("Not in this table: {}: {what}", runs.join(", ")))
            .collect()
    }
}

fn label(variant: &str, seed: u64) -> String {
    format!("{variant} seed {seed}")
}

impl RunFolder {
    /// The folder of a variant and seed below a study's folder.
    pub fn new(study: &Path, manifest: &Manifest, variant: &Variant, seed: u64) -> Self {
        let path = study.join(&variant.name).join(format!("seed-{seed}"));
        Self { path, study: manifest.name.clone(), variant: variant.name.clone(), seed, subset: subset(manifest) }
    }

    /// What to call it on a screen.
    pub fn label(&self) -> String {
        label(&self.variant, self.seed)
    }

    /// The run that lies in `path`.
    ///
    /// # Errors
    /// If `path` is not a run folder.
    pub fn open(path: &Path) -> Result<(Self, Manifest)> {
        let file = path.join("manifest.toml");
        ensure!(Self::is_run(path), "{} is not a run folder: it has no provenance.toml", path.display());
        let manifest = Manifest::load(&file, &[])?;
        let ([variant], [seed]) = (manifest.variants.as_slice(), manifest.seeds.as_slice()) else {
            bail!("{} describes more than one run", file.display());
        };
        let path = std::path::absolute(path).with_context(|| path.display().to_string())?;
        let (study, variant, subset) = (manifest.name.clone(), variant.name.clone(), subset(&manifest));
        Ok((Self { path, study, variant, seed: *seed, subset }, manifest))
    }

    /// The run in `path`, or the runs of the study in `path` that have the scores, in the order of [`Self::of_study`].
    ///
    /// # Errors
    /// If there is none, or the run has no such scores; for a named subset, if a finished run of the study has none.
    pub fn discover(path: &Path, scored: &Scored) -> Result<Found> {
        if Self::is_run(path) {
            let (run, manifest) = Self::open(path)?;
            let scores = run.scores(scored);
            ensure!(
                scores.exists(),
                "{} is missing: finish the run, or score it with `colormamba eval {} {}`",
                scores.display(),
                path.display(),
                scored.options()
            );
            let unfinished = format!("{} is not trained to the end: these are its best weights so far", run.label());
            let missing = if run.finished(&manifest) { Vec::new() } else { vec![unfinished] };
            return Ok(Found { runs: vec![(run, manifest)], missing });
        }
        let (study, all) = Self::of_study(path)?;
        let missing = Missing::of(&study, &all, scored);
        let tabled = |(run, manifest): &(Self, Manifest)| run.finished(manifest) && run.scores(scored).exists();
        let runs: Vec<_> = all.into_iter().filter(tabled).collect();
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

    /// The manifest of the study in `path`, and all its runs with their own manifests. Those that the study's present
    /// manifest names come first, in its order; then those of other manifests, by name.
    ///
    /// # Errors
    /// If `path` holds no study, or a run in it cannot be read.
    pub fn of_study(path: &Path) -> Result<(Manifest, Vec<(Self, Manifest)>)> {
        let file = path.join("manifest.toml");
        ensure!(file.exists(), "{} holds neither a run nor a study: it has no manifest.toml", path.display());
        let study = Manifest::load(&file, &[])?;
        let mut runs = Vec::new();
        for variant in subfolders(path)? {
            for folder in subfolders(&variant)?.into_iter().filter(|folder| Self::is_run(folder)) {
                runs.push(Self::open(&folder)?);
            }
        }
        runs.sort_by_cached_key(|(run, _)| run.place(&study));
        Ok((study, runs))
    }

    /// Fails if the folder holds a run of another manifest than `ours`; that of a longer training is the same.
    ///
    /// # Errors
    /// Also if the manifest there cannot be read.
    pub fn ensure_same_manifest(&self, ours: &Manifest) -> Result<()> {
        let file = self.manifest();
        if !self.last().exists() || !file.exists() {
            return Ok(());
        }
        let mut there = Manifest::load(&file, &[]).context("the run in this folder cannot be continued")?;
        there.train.epochs = ours.train.epochs;
        if let Some((theirs, ours)) = there.difference(ours)? {
            let (folder, study) = (self.path.display(), self.study_folder());
            let out = study.parent().unwrap_or(Path::new(".")).display();
            bail!(
                "{folder} holds a run of another manifest: `{theirs}` there, `{ours}` here; give this one another name or --out, \
                 remove that folder, or go on with the settings that it has: colormamba run {}/manifest.toml --out {out}",
                study.display()
            );
        }
        Ok(())
    }

    /// Whether it has scores with all of these measures.
    pub fn scored_with(&self, scored: &Scored, metrics: &[Metric]) -> bool {
        read_scores(&self.scores(scored)).is_ok_and(|scores| scores.iter().all(|s| s.lacking(metrics).is_none()))
    }

    /// The measures that it has scores of.
    pub fn measures(&self, scored: &Scored) -> Vec<Metric> {
        let scores = read_scores(&self.scores(scored)).unwrap_or_default();
        let there = |metric: &Metric| scores.first().is_some_and(|score| score.value(*metric).is_some());
        Metric::all().filter(there).collect()
    }

    /// Whether all epochs of its manifest are done.
    pub fn finished(&self, manifest: &Manifest) -> bool {
        let epochs = std::fs::read_to_string(self.path.join("epochs.jsonl")).unwrap_or_default();
        epochs.lines().count() >= manifest.train.epochs
    }

    /// Where a run stands in a table: by the places of its variant and its seed in the study's manifest, then by name.
    fn place(&self, study: &Manifest) -> (usize, String, usize, u64) {
        let variant = study.variants.iter().position(|v| v.name == self.variant).unwrap_or(usize::MAX);
        let seed = study.seeds.iter().position(|s| *s == self.seed).unwrap_or(usize::MAX);
        (variant, self.variant.clone(), seed, self.seed)
    }

    /// Keeps other processes from training in the folder, until the file is dropped.
    ///
    /// # Errors
    /// If another process does so now.
    pub fn lock(&self) -> Result<File> {
        let path = self.path.join(".lock");
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => bail!("{} is being trained by another process", self.path.display()),
            // Some network file systems know no locks; there it is the user who must not start a run twice.
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => Ok(file),
            Err(TryLockError::Error(e)) => Err(e).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// Fails if the dataset's training images, or those of another of its splits, are not those that the run was
    /// started with.
    ///
    /// # Errors
    /// Also if the run's provenance cannot be read.
    pub fn ensure_same_images(&self, dataset: &dyn Dataset, split: Option<Split>) -> Result<()> {
        let provenance = Provenance::read(&self.provenance())?;
        for split in [Some(Split::Train), split].into_iter().flatten() {
            let theirs = provenance.fingerprint.get(&split.to_string());
            let difference = || recorded::difference(self, dataset, split).map(|which| format!(" ({which})"));
            ensure!(
                theirs.is_none_or(|theirs| *theirs == dataset.fingerprint(split)),
                "the {split} images are not those that {} was started with{}, and it keeps scores on those alone; for other \
                 images: colormamba eval {} --data DIR --out FILE",
                self.path.display(),
                difference().unwrap_or_default(),
                self.best().display()
            );
        }
        Ok(())
    }

    /// Removes scores and predictions: those of weights that are about to be replaced.
    ///
    /// # Errors
    /// If they cannot be removed.
    pub fn remove_scores(&self) -> Result<()> {
        for name in ["eval", "images"] {
            let folder = self.path.join(name);
            if folder.exists() {
                std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
            }
        }
        Ok(())
    }

    /// Whether a run lies in `path`.
    pub fn is_run(path: &Path) -> bool {
        path.join("provenance.toml").exists()
    }

    /// The resolved manifest.
    pub fn manifest(&self) -> PathBuf {
        self.path.join("manifest.toml")
    }

    /// Where and from what the run was made.
    pub fn provenance(&self) -> PathBuf {
        self.path.join("provenance.toml")
    }

    /// Everything a resume needs.
    pub fn last(&self) -> PathBuf {
        self.path.join("checkpoints/last.safetensors")
    }

    /// The generator's weights with the best validation PSNR.
    pub fn best(&self) -> PathBuf {
        self.path.join("checkpoints/best.safetensors")
    }

    /// The copy of the dataset's description, if that is a user's own.
    pub fn description(&self) -> PathBuf {
        self.path.join("dataset.toml")
    }

    /// The same, with no subset named if it is the run's own.
    pub fn scored(&self, scored: &Scored) -> Scored {
        let subset = scored.subset.clone().filter(|subset| self.subset.as_ref() != Some(subset));
        Scored { split: scored.split, subset }
    }

    /// The scores, a line per image.
    pub fn scores(&self, scored: &Scored) -> PathBuf {
        self.path.join(format!("eval/{}.jsonl", self.scored(scored).stem()))
    }

    /// The predictions.
    pub fn images(&self, scored: &Scored) -> PathBuf {
        self.path.join("images").join(self.scored(scored).stem())
    }

    /// The folder of the study that the run belongs to.
    pub fn study_folder(&self) -> &Path {
        self.path.parent().and_then(Path::parent).unwrap_or(Path::new("."))
    }
}

fn subset(manifest: &Manifest) -> Option<Subset> {
    match &manifest.data.dataset {
        DatasetConfig::Photographs { subset, .. } => Some(subset.clone()),
        DatasetConfig::Synthetic { .. } => None,
    }
}

/// The folders in a folder, by name.
fn subfolders(path: &Path) -> Result<Vec<PathBuf>> {
    let list = || -> std::io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(path)?.map(|entry| Ok(entry?.path()));
        entries.filter(|path| path.as_ref().map_or(true, |path| path.is_dir())).collect()
    };
    let mut folders = list().with_context(|| format!("cannot read {}", path.display()))?;
    folders.sort();
    Ok(folders)
}

/// The scores in a file.
///
/// # Errors
/// If it cannot be read or holds none.
pub fn read_scores(path: &Path) -> Result<Vec<ImageScore>> {
    let scores = read_lines(path)?;
    ensure!(!scores.is_empty(), "{} holds no scores", path.display());
    Ok(scores)
}
