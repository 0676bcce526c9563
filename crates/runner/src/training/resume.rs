//! From a run's folder to its trainer and back.

use crate::inputs::dataset::{described, random_features};
use crate::manifest::DatasetConfig;
use crate::scoring::weights::without_checksum;
use crate::study::folder::is_unreadable;
use crate::study::provenance::Provenance;
use crate::study::recorded;
use crate::system::files::{rename, write_whole};
use crate::system::terminal::{Verbosity, note};
use crate::system::usage::in_words;
use crate::training::session::{Position, Session};
use anyhow::{Result, bail, ensure};
use colormamba::checkpoint::{self, CheckpointError};
use colormamba_data::Split;
use colormamba_training::{Trainer, TrainingError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

impl Session<'_> {
    /// With a copy of the description of a user's own dataset, so that the folder is whole wherever it is moved.
    pub(super) fn write_manifest(&self) -> Result<()> {
        if let DatasetConfig::Photographs { dataset, description_blake3: Some(digest), .. } =
            &self.manifest.data.dataset
        {
            let copy = self.folder.description();
            write_whole(&copy, described(dataset, digest, None)?.as_bytes())?;
        }
        write_whole(&self.folder.manifest(), self.manifest.to_toml()?.as_bytes())
    }

    /// Takes up the last checkpoint, or records the start.
    pub(super) fn resume(&self, trainer: &mut Trainer) -> Result<Position> {
        let Some(Resumed { position, refused }) = self.resumed(trainer)? else {
            let weights: BTreeMap<_, _> =
                trainer.state()?.into_iter().filter(|(k, _)| !k.starts_with("adam.")).collect();
            recorded::record(self.folder, &*self.dataset)?;
            let teachers = self.teacher_files();
            let provenance = Provenance::now(self.manifest, &*self.dataset, &weights, teachers, self.device)?;
            write_whole(&self.folder.provenance(), toml::to_string(&provenance)?.as_bytes())?;
            self.tell_origin()?;
            return Ok(Position::default());
        };
        for (path, error) in refused {
            let aside = self.folder.refused(&path);
            rename(&path, &aside)?;
            note(&format!(
                "warning: {}; it is {} now, and the run goes on from the checkpoint before it, of step {}",
                in_words(&error),
                aside.display(),
                position.step
            ));
        }
        if position.epoch < self.manifest.train.epochs {
            if self.verbosity == Verbosity::Normal {
                note(&format!("{}: goes on from step {} of {}", self.folder.label(), position.step, self.steps()));
            }
            Provenance::add_resume(&self.folder.provenance(), position.step, self.device)?;
        }
        Ok(position)
    }

    /// Loads the newest checkpoint that is whole and of this run, if there is one, and checks that the run can go on from
    /// it.
    pub(super) fn resumed(&self, trainer: &mut Trainer) -> Result<Option<Resumed>> {
        let mut refused = Vec::new();
        for path in self.folder.checkpoints()? {
            match self.take_up(&path, trainer) {
                Ok(position) => return Ok(Some(Resumed { position, refused })),
                Err(error) if is_of_another(&error) => refused.push((path, error)),
                Err(error) => return Err(error),
            }
        }
        let Some((path, error)) = refused.into_iter().next() else { return Ok(None) };
        let folder = path.parent().unwrap_or(&path).display();
        Err(error.context(format!(
            "the run cannot be resumed; without a copy of its last checkpoint, remove {folder} to start over"
        )))
    }

    fn take_up(&self, path: &Path, trainer: &mut Trainer) -> Result<Position> {
        let checkpoint = checkpoint::load(path, self.device)?;
        if let Some(tensor) = checkpoint::not_finite(&checkpoint.tensors)?.cloned() {
            bail!(CheckpointError::NotFinite { path: path.to_path_buf(), tensor });
        }
        let position = self.position(path, &checkpoint.metadata)?;
        let misfit = |source| Refused::Misfit { path: path.to_path_buf(), source };
        trainer.load_state(&checkpoint.tensors).map_err(misfit)?;
        if position.epoch < self.manifest.train.epochs {
            let started = Provenance::read(&self.folder.provenance())?;
            started.ensure_same_features(self.manifest)?;
            started.ensure_same_teachers(self.teacher_files())?;
            if checkpoint.checksum.is_none() {
                note(&without_checksum(path));
            }
        }
        Ok(position)
    }

    fn position(&self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<Position> {
        for (key, ours) in self.metadata(&Position::default())? {
            let moves = ["epoch", "step_in_epoch", "step", "best_psnr"].contains(&key.as_str());
            // A checkpoint of an earlier version says less.
            let Some(theirs) = metadata.get(&key).filter(|_| !moves) else { continue };
            if *theirs != ours {
                self.ensure_same_images(&key)?;
            }
            ensure!(*theirs == ours, Refused::Other { path: path.to_path_buf(), key, theirs: theirs.clone(), ours });
        }
        let epoch = read(path, metadata, "epoch")?;
        let best = metadata.get("best_psnr").map(|_| read(path, metadata, "best_psnr")).transpose()?;
        let position = Position {
            epoch,
            step_in_epoch: read(path, metadata, "step_in_epoch")?,
            step: read(path, metadata, "step")?,
            best: best.filter(|_| !self.best_is_later(epoch)),
        };
        let begun = position.epoch + usize::from(position.step_in_epoch > 0);
        let epochs = self.manifest.train.epochs;
        ensure!(
            begun <= epochs,
            "{} is in its epoch {begun}, but train.epochs is {epochs}: raise it, or give the study another name or --out",
            self.folder.path.display()
        );
        Ok(position)
    }

    /// Whether the best weights are of a later epoch, which will be trained again: those that were the best by then are
    /// gone.
    fn best_is_later(&self, epoch: usize) -> bool {
        let header = checkpoint::metadata(&self.folder.best()).unwrap_or_default();
        header.get("epoch").and_then(|text| text.parse().ok()).is_some_and(|best: usize| best > epoch)
    }

    /// Names the images that changed, if the checkpoint's `key` is the fingerprint of some and they are known.
    fn ensure_same_images(&self, key: &str) -> Result<()> {
        let split = match key {
            "fingerprint" => Split::Train,
            "validation_fingerprint" => Split::Validation,
            _ => return Ok(()),
        };
        let folder = self.folder.path.display();
        match recorded::difference(self.folder, &*self.dataset, split) {
            Some(difference) => bail!(
                "the {split} images are not those that {folder} was started with: {difference}; put them back, or train on \
                 these under another name or --out"
            ),
            None => Ok(()),
        }
    }

    pub(super) fn metadata(&self, position: &Position) -> Result<BTreeMap<String, String>> {
        let data = &self.manifest.data;
        let mut metadata = BTreeMap::from([
            ("protocol", data.protocol.to_string()),
            ("nir_hsv", data.nir_hsv.to_string()),
            ("size", data.size.to_string()),
            ("precision", self.manifest.train.precision.to_string()),
            ("study", self.folder.study.clone()),
            ("variant", self.folder.variant.clone()),
            ("seed", self.folder.seed.to_string()),
            ("fingerprint", self.dataset.fingerprint(Split::Train)),
            ("validation_fingerprint", self.dataset.fingerprint(Split::Validation)),
            ("epoch", position.epoch.to_string()),
            ("step_in_epoch", position.step_in_epoch.to_string()),
            ("step", position.step.to_string()),
        ]);
        metadata.extend(self.dataset.about());
        metadata.extend(random_features(self.manifest).map(|networks| ("random_features", networks)));
        // Rust prints the shortest digits that read back as the same number.
        metadata.extend(position.best.map(|best| ("best_psnr", best.to_string())));
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_string(), value));
        Ok(metadata.chain(self.manifest.model.architecture.metadata()?).collect())
    }

    pub(super) fn save_last(&self, trainer: &Trainer, position: &Position) -> Result<()> {
        self.folder.save(&trainer.state()?, &self.metadata(position)?)
    }
}

/// What a run goes on from.
pub(super) struct Resumed {
    pub(super) position: Position,
    /// Newer checkpoints that are damaged or of another run, and why.
    refused: Vec<(PathBuf, anyhow::Error)>,
}

/// A checkpoint that is not of the run.
#[derive(Debug, thiserror::Error)]
enum Refused {
    /// Of another run.
    #[error("{}: the checkpoint's {key} is {theirs}, the manifest's is {ours}", path.display())]
    Other { path: PathBuf, key: String, theirs: String, ours: String },
    /// It does not say where the run was.
    #[error("{}: not a checkpoint of a run, it lacks a usable `{key}`", path.display())]
    Silent { path: PathBuf, key: &'static str },
    /// Of other tensors.
    #[error("{} does not fit this run", path.display())]
    Misfit { path: PathBuf, source: TrainingError },
}

/// Whether a checkpoint is damaged or of another run, so that the one before it may do. One that cannot be read is not.
fn is_of_another(error: &anyhow::Error) -> bool {
    error.is::<Refused>() || (error.is::<CheckpointError>() && !is_unreadable(error))
}

fn read<T: FromStr>(path: &Path, metadata: &BTreeMap<String, String>, key: &'static str) -> Result<T> {
    let value = metadata.get(key).and_then(|text| text.parse().ok());
    Ok(value.ok_or_else(|| Refused::Silent { path: path.to_path_buf(), key })?)
}
