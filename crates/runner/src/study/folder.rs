//! Where everything of a run lies.

use crate::manifest::{BEST, DatasetConfig, Manifest, Variant};
use crate::study::provenance::Provenance;
use crate::study::record::{EpochLine, ImageScore, Origin, Setting, read_scores};
use crate::study::recorded;
use crate::study::scored::Scored;
use crate::system::files::{exists, is_folder, read_if_there, rename, write_whole};
use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use colormamba::checkpoint;
use colormamba_data::{Dataset, Split, Subset};
use colormamba_features::Metric;
use colormamba_support::files::remove_abandoned;
use std::collections::BTreeMap;
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

/// The scores of a run, as far as they are of what it is now.
pub enum Scores {
    /// There are none.
    Missing,
    /// Why they are of something else.
    Unfit(String),
    /// They fit.
    Fit(Vec<ImageScore>),
}

/// Holds the error that a run ended with.
const FAILED: &str = "failed.txt";

/// The command that trains the runs of a study to the end.
pub fn train_command(study: &Path) -> String {
    let whole = std::path::absolute(study).unwrap_or_else(|_| study.to_path_buf());
    // `runs/x` stays short; `.` has no parent in its own words.
    let out = match study.parent() {
        Some(parent) if parent == Path::new("") && study != Path::new(".") => Path::new("."),
        Some(parent) if parent != Path::new("") => parent,
        _ => whole.parent().unwrap_or(Path::new("/")),
    };
    format!("colormamba run {}/manifest.toml --out {}", study.display(), out.display())
}

pub(super) fn label(variant: &str, seed: u64) -> String {
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
        ensure!(Self::is_run(path)?, "{} is not a run folder: it has no provenance.toml", path.display());
        let manifest = Manifest::load(&file, &[])?;
        let ([variant], [seed]) = (manifest.variants.as_slice(), manifest.seeds.as_slice()) else {
            bail!("{} describes more than one run", file.display());
        };
        let path = std::path::absolute(path).with_context(|| path.display().to_string())?;
        let (study, variant, subset) = (manifest.name.clone(), variant.name.clone(), subset(&manifest));
        Ok((Self { path, study, variant, seed: *seed, subset }, manifest))
    }

    /// Fails if the folder holds a run of another manifest than `ours`; that of a longer training is the same.
    ///
    /// # Errors
    /// Also if the manifest there cannot be read.
    pub fn ensure_same_manifest(&self, ours: &Manifest) -> Result<()> {
        let file = self.manifest();
        if self.checkpoints()?.is_empty() || !exists(&file)? {
            return Ok(());
        }
        let mut there = Manifest::load(&file, &[]).context("the run in this folder cannot be continued")?;
        there.train.epochs = ours.train.epochs;
        if let Some((theirs, ours)) = there.difference(ours)? {
            let (folder, go_on) = (self.path.display(), train_command(self.study_folder()));
            bail!(
                "{folder} holds a run of another manifest: `{theirs}` there, `{ours}` here; give this one another name or --out, \
                 remove that folder, or go on with the settings that it has: {go_on}"
            );
        }
        Ok(())
    }

    /// Its scores, if they are of its present weights and of the images that it was started with.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn fitting(&self, manifest: &Manifest, scored: &Scored) -> Result<Scores> {
        let path = self.scores(scored);
        if !exists(&path)? {
            return Ok(Scores::Missing);
        }
        let scores = match read_scores(&path) {
            Ok(scores) => scores,
            Err(error) if is_unreadable(&error) => return Err(error),
            Err(error) => return Ok(Scores::Unfit(format!("its scores cannot be read ({error:#})"))),
        };
        let misfit = match self.other_setting(manifest, &self.scored(scored), &scores)? {
            None => self.other_weights(manifest, &scores)?,
            misfit => misfit,
        };
        Ok(misfit.map_or(Scores::Fit(scores), Scores::Unfit))
    }

    /// In what the scores were measured otherwise than the run asks for.
    fn other_setting(&self, manifest: &Manifest, scored: &Scored, scores: &[ImageScore]) -> Result<Option<String>> {
        let data = &manifest.data;
        let mut recorded = Provenance::read(&self.provenance())?.fingerprint;
        // The images of a subset that was named later were not recorded.
        let images = recorded.remove(&scored.split.to_string()).filter(|_| scored.subset.is_none());
        let differs = |score: &ImageScore| {
            let Setting { fingerprint, split, protocol, size, .. } = &score.setting;
            let wanted = (scored.split.to_string(), data.protocol.to_string(), data.size);
            (split, protocol, *size) != (&wanted.0, &wanted.1, wanted.2)
                || images.as_ref().is_some_and(|images| images != fingerprint)
        };
        let other = scores.iter().any(differs);
        Ok(other.then(|| "its scores are of other images, or of images prepared otherwise, than the run's".to_string()))
    }

    /// From which other weights or description the scores are, or why the weights are not the run's own.
    fn other_weights(&self, manifest: &Manifest, scores: &[ImageScore]) -> Result<Option<String>> {
        let best = self.best();
        let weights = if exists(&best)? { Some(checkpoint::digest(&best)?) } else { None };
        let foreign = match weights {
            Some(_) => self.foreign(&checkpoint::metadata(&best)?, manifest)?,
            None => None,
        };
        if foreign.is_some() {
            return Ok(foreign);
        }
        let description = description(manifest);
        let differs = |made: &Origin| {
            weights.as_ref().is_some_and(|weights| *weights != made.source) || made.description != description
        };
        let other = scores.iter().filter_map(|score| score.made.as_ref()).any(differs);
        let mixed = scores.iter().any(|score| score.made != scores[0].made);
        Ok((other || mixed).then(|| "its scores are not of its present best weights".to_string()))
    }

    /// Why weights with this header are not the best ones of this run, if they are not. What a header does not tell is
    /// not held against it.
    ///
    /// # Errors
    /// If the run's own records cannot be read.
    pub fn foreign(&self, header: &BTreeMap<String, String>, manifest: &Manifest) -> Result<Option<String>> {
        let data = &manifest.data;
        let recorded = Provenance::read(&self.provenance())?.fingerprint;
        let images = |split: Split| recorded.get(&split.to_string()).cloned();
        let own = [
            ("study", Some(self.study.clone())),
            ("variant", Some(self.variant.clone())),
            ("seed", Some(self.seed.to_string())),
            ("protocol", Some(data.protocol.to_string())),
            ("nir_hsv", Some(data.nir_hsv.to_string())),
            ("size", Some(data.size.to_string())),
            ("fingerprint", images(Split::Train)),
            ("validation_fingerprint", images(Split::Validation)),
        ];
        let differs = |(key, ours): &(&str, Option<String>)| {
            header.get(*key).zip(ours.as_ref()).is_some_and(|(theirs, ours)| theirs != ours)
        };
        let best = self.best();
        if let Some((key, Some(ours))) = own.into_iter().find(differs) {
            let theirs = header.get(key).map(String::as_str).unwrap_or_default();
            let file = best.display();
            return Ok(Some(format!("{file} is not of this run: its {key} is {theirs}, the run's is {ours}")));
        }
        let newest = self.checkpoints()?.into_iter().next();
        let last = newest.map(|path| checkpoint::metadata(&path)).transpose()?.unwrap_or_default();
        let epoch = |header: &BTreeMap<String, String>| header.get("epoch").and_then(|text| text.parse::<usize>().ok());
        // Better weights are written before the checkpoint that tells of them.
        let told = epoch(header).zip(epoch(&last)).is_some_and(|(best, last)| best <= last);
        let other = told && header.get("best_psnr") != last.get("best_psnr");
        Ok(other.then(|| {
            format!("{} does not hold the best weights that last.safetensors beside it tells of", best.display())
        }))
    }

    /// The measures that it has scores of.
    pub fn measures(&self, scored: &Scored) -> Vec<Metric> {
        let scores = read_scores(&self.scores(scored)).unwrap_or_default();
        let there = |metric: &Metric| scores.first().is_some_and(|score| score.value(*metric).is_some());
        Metric::all().filter(there).collect()
    }

    /// Whether all epochs of its manifest are done: by its last checkpoint, and by its log if that is no longer there.
    ///
    /// # Errors
    /// If the checkpoint or log is there and cannot be read.
    pub fn finished(&self, manifest: &Manifest) -> Result<bool> {
        let epochs = if let Some(newest) = self.checkpoints()?.first() {
            let metadata = checkpoint::metadata(newest)?;
            let epoch = metadata.get("epoch").and_then(|text| text.parse().ok());
            epoch.with_context(|| {
                format!("{}: not a checkpoint of a run, it lacks a usable `epoch`", newest.display())
            })?
        } else {
            let log = read_if_there(&self.path.join("epochs.jsonl"))?.unwrap_or_default();
            let epoch = |line: &[u8]| serde_json::from_slice::<EpochLine>(line).ok().map(|line| line.epoch);
            log.split(|byte| *byte == b'\n').filter_map(epoch).max().unwrap_or(0)
        };
        Ok(epochs >= manifest.train.epochs)
    }

    /// Where a run stands in a table: by the places of its variant and its seed in the study's manifest, then by name.
    pub(super) fn place(&self, study: &Manifest) -> (usize, String, usize, u64) {
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
        ensure!(!path.is_symlink(), "{} is a link, which a run would write through: remove it", path.display());
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        self.try_lock(file.with_context(|| format!("cannot write {}", path.display()))?)
    }

    /// Fails if another process trains in the folder; writes nothing.
    ///
    /// # Errors
    /// Also if that cannot be told.
    pub fn ensure_free(&self) -> Result<()> {
        let path = self.path.join(".lock");
        if exists(&path)? {
            let file = File::options().write(true).open(&path);
            self.try_lock(file.with_context(|| format!("cannot write {}", path.display()))?)?;
        }
        Ok(())
    }

    fn try_lock(&self, file: File) -> Result<File> {
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => bail!("{} is being trained by another process", self.path.display()),
            // Some network file systems know no locks; there it is the user who must not start a run twice.
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => Ok(file),
            Err(TryLockError::Error(e)) => Err(e).with_context(|| format!("cannot lock {}", self.path.display())),
        }
    }

    /// Removes the halves of files that killed processes left in the folder and in those that it shares with other
    /// runs.
    pub fn remove_abandoned(&self) {
        let own = ["", "checkpoints", "eval", "images"].map(|name| self.path.join(name));
        let predictions = subfolders(&self.path.join("images")).unwrap_or_default();
        let shared = [self.study_folder().to_path_buf(), self.study_folder().join("baselines")];
        own.into_iter().chain(predictions).chain(shared).for_each(|folder| remove_abandoned(&folder));
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
            if exists(&folder)? {
                std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
            }
        }
        Ok(())
    }

    /// Whether a run lies in `path`.
    ///
    /// # Errors
    /// If that cannot be told.
    pub fn is_run(path: &Path) -> Result<bool> {
        exists(&path.join("provenance.toml"))
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

    /// The one before [`Self::last`], for when that is damaged.
    fn before_last(&self) -> PathBuf {
        self.path.join("checkpoints/before-last.safetensors")
    }

    /// What becomes [`Self::last`]; there only if a process was killed before it did.
    fn next(&self) -> PathBuf {
        self.path.join("checkpoints/next.safetensors")
    }

    /// The checkpoints that are there, the newest first.
    ///
    /// # Errors
    /// If it cannot be told which are there.
    pub fn checkpoints(&self) -> Result<Vec<PathBuf>> {
        let (last, next) = (self.last(), self.next());
        let mut there = Vec::new();
        for path in [&last, &self.before_last()] {
            if exists(path)? {
                there.push(path.clone());
            }
        }
        // Left by a process that was killed, and newer unless others went on from an older one since then.
        let step = |path| checkpoint::metadata(path).ok()?.get("step")?.parse::<usize>().ok();
        if exists(&next)? && step(&next).zip(step(&last)).is_none_or(|(next, last)| next > last) {
            there.insert(0, next);
        }
        Ok(there)
    }

    /// Writes a checkpoint; the last one becomes the one before it. At every moment one of them is whole.
    ///
    /// # Errors
    /// Names the file that cannot be written; the last one is still there.
    pub fn save(&self, tensors: &BTreeMap<String, Tensor>, metadata: &BTreeMap<String, String>) -> Result<()> {
        let (next, last) = (self.next(), self.last());
        checkpoint::save(&next, tensors, metadata)?;
        if exists(&last)? {
            rename(&last, &self.before_last())?;
        }
        rename(&next, &last)
    }

    /// Keeps the error that a run ended with, until it is gone on with.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn record_failure(&self, error: &str) -> Result<()> {
        write_whole(&self.path.join(FAILED), error.as_bytes())
    }

    /// The error that the run in a folder ended with, if it did.
    ///
    /// # Errors
    /// If that cannot be read.
    pub fn failure(folder: &Path) -> Result<Option<String>> {
        Ok(read_if_there(&folder.join(FAILED))?.map(|text| String::from_utf8_lossy(&text).into_owned()))
    }

    /// Forgets the error that the run ended with.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn forget_failure(&self) -> Result<()> {
        let failed = self.path.join(FAILED);
        if exists(&failed)? {
            std::fs::remove_file(&failed).with_context(|| format!("cannot remove {}", failed.display()))?;
        }
        Ok(())
    }

    /// Where a checkpoint goes that was refused.
    pub fn refused(&self, checkpoint: &Path) -> PathBuf {
        let name = checkpoint.file_name().unwrap_or_default().to_string_lossy();
        checkpoint.with_file_name(format!("refused-{name}"))
    }

    /// The generator's weights with the best validation PSNR.
    pub fn best(&self) -> PathBuf {
        self.path.join(BEST)
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

/// The digest of the description of a user's own dataset.
pub fn description(manifest: &Manifest) -> Option<String> {
    match &manifest.data.dataset {
        DatasetConfig::Photographs { description_blake3, .. } => description_blake3.clone(),
        DatasetConfig::Synthetic { .. } => None,
    }
}

/// Whether a file could not be read at all, rather than not understood.
pub fn is_unreadable(error: &anyhow::Error) -> bool {
    // Bytes that are no text are damage.
    error.root_cause().downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() != ErrorKind::InvalidData)
}

/// The folders in a folder, by name, and whatever may be one and cannot be looked at: who opens it says why.
pub(super) fn subfolders(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", path.display()))?.path();
        if is_folder(&entry).unwrap_or(true) {
            folders.push(entry);
        }
    }
    folders.sort();
    Ok(folders)
}
