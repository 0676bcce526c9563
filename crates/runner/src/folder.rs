//! Where everything of a run lies.

use crate::baselines::Baseline;
use crate::files::read_lines;
use crate::manifest::{Manifest, Variant};
use crate::record::ImageScore;
use anyhow::{Context, Result, ensure};
use colormamba_data::Split;
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

    /// The run that lies in `path`.
    ///
    /// # Errors
    /// If `path` is not a run folder.
    pub fn open(path: &Path) -> Result<(Self, Manifest)> {
        let file = path.join("manifest.toml");
        ensure!(Self::is_run(path), "{} is not a run folder: it has no provenance.toml", path.display());
        let manifest = Manifest::load(&file, &[])?;
        let ([variant], [seed]) = (manifest.variants.as_slice(), manifest.seeds.as_slice()) else {
            anyhow::bail!("{} describes more than one run", file.display());
        };
        let path = std::path::absolute(path).with_context(|| path.display().to_string())?;
        let run = Self { path, study: manifest.name.clone(), variant: variant.name.clone(), seed: *seed };
        Ok((run, manifest))
    }

    /// The run in `path`, or the runs of the study in `path` that have scores for `split`, in the manifest's order.
    ///
    /// # Errors
    /// If there is none, or the run has no scores.
    pub fn discover(path: &Path, split: Split) -> Result<Vec<Self>> {
        if Self::is_run(path) {
            let (run, _) = Self::open(path)?;
            let scores = run.scores(split);
            ensure!(
                scores.exists(),
                "{} is missing: finish the run, or score it with `colormamba eval {} --split {split}`",
                scores.display(),
                path.display()
            );
            return Ok(vec![run]);
        }
        let file = path.join("manifest.toml");
        ensure!(file.exists(), "{} holds neither a run nor a study: it has no manifest.toml", path.display());
        let manifest = Manifest::load(&file, &[])?;
        let path = std::path::absolute(path).with_context(|| path.display().to_string())?;
        let all = manifest.variants.iter().flat_map(|v| manifest.seeds.iter().map(move |s| (v, *s)));
        let runs = all.map(|(variant, seed)| Self::new(&path, &manifest, variant, seed));
        let runs: Vec<Self> = runs.filter(|run| run.scores(split).exists()).collect();
        ensure!(!runs.is_empty(), "no run in {} has scores for the {split} split", path.display());
        Ok(runs)
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
        self.path.join(format!("eval/{split}.jsonl"))
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

/// The scores in a file.
///
/// # Errors
/// If it cannot be read or holds none.
pub fn read_scores(path: &Path) -> Result<Vec<ImageScore>> {
    let scores = read_lines(path)?;
    ensure!(!scores.is_empty(), "{} holds no scores", path.display());
    Ok(scores)
}
