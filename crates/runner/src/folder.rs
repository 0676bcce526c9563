//! Where everything of a run lies.

use crate::baselines::Baseline;
use crate::files::read_lines;
use crate::manifest::{Manifest, Variant};
use crate::provenance::Provenance;
use crate::record::ImageScore;
use anyhow::{Context, Result, bail, ensure};
use colormamba_data::{Dataset, Split};
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
}

impl RunFolder {
    /// The folder of a variant and seed below a study's folder.
    pub fn new(study: &Path, manifest: &Manifest, variant: &Variant, seed: u64) -> Self {
        let path = study.join(&variant.name).join(format!("seed-{seed}"));
        Self { path, study: manifest.name.clone(), variant: variant.name.clone(), seed }
    }

    /// What to call it on a screen.
    pub fn label(&self) -> String {
        format!("{} seed {}", self.variant, self.seed)
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
        let run = Self { path, study: manifest.name.clone(), variant: variant.name.clone(), seed: *seed };
        Ok((run, manifest))
    }

    /// The run in `path`, or the runs of the study in `path` that have scores for `split`, with their own manifests. Those
    /// that the study's present manifest names come first, in its order; then those of other manifests, by name.
    ///
    /// # Errors
    /// If there is none, or the run has no scores.
    pub fn discover(path: &Path, split: Split) -> Result<Vec<(Self, Manifest)>> {
        if Self::is_run(path) {
            let (run, manifest) = Self::open(path)?;
            let scores = run.scores(split);
            ensure!(
                scores.exists(),
                "{} is missing: finish the run, or score it with `colormamba eval {} --split {split}`",
                scores.display(),
                path.display()
            );
            return Ok(vec![(run, manifest)]);
        }
        let file = path.join("manifest.toml");
        ensure!(file.exists(), "{} holds neither a run nor a study: it has no manifest.toml", path.display());
        let manifest = Manifest::load(&file, &[])?;
        let mut runs = Vec::new();
        for variant in subfolders(path)? {
            for folder in subfolders(&variant)? {
                if Self::is_run(&folder) && scores(&folder, split).exists() {
                    runs.push(Self::open(&folder)?);
                }
            }
        }
        ensure!(!runs.is_empty(), "no run in {} has scores for the {split} split", path.display());
        runs.sort_by_cached_key(|(run, _)| run.place(&manifest));
        Ok(runs)
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

    /// Fails if the dataset's training images, or those of `split`, are not those that the run was started with.
    ///
    /// # Errors
    /// Also if the run's provenance cannot be read.
    pub fn ensure_same_images(&self, dataset: &dyn Dataset, split: Split) -> Result<()> {
        let path = self.provenance();
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let recorded: Provenance = toml::from_str(&text).with_context(|| path.display().to_string())?;
        for split in [Split::Train, split] {
            let theirs = recorded.fingerprint.get(&split.to_string());
            ensure!(
                theirs.is_none_or(|theirs| *theirs == dataset.fingerprint(split)),
                "the {split} images are not those that {} was started with, and it keeps scores on those alone; for other \
                 images: colormamba eval {} --data DIR --out FILE",
                self.path.display(),
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

    fn is_run(path: &Path) -> bool {
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

    /// The scores of a split, a line per image.
    pub fn scores(&self, split: Split) -> PathBuf {
        scores(&self.path, split)
    }

    /// The predictions for a split.
    pub fn images(&self, split: Split) -> PathBuf {
        self.path.join(format!("images/{split}"))
    }

    /// The folder of the study that the run belongs to.
    pub fn study_folder(&self) -> &Path {
        self.path.parent().and_then(Path::parent).unwrap_or(Path::new("."))
    }

    /// The baselines of the study: label and file of scores.
    pub fn baselines(&self, split: Split) -> Vec<(&'static str, PathBuf)> {
        Baseline::ALL.iter().map(|b| (b.label(), b.scores(self.study_folder(), split))).collect()
    }
}

fn scores(run: &Path, split: Split) -> PathBuf {
    run.join(format!("eval/{split}.jsonl"))
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
