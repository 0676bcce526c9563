//! The training of one variant from one seed, from its last checkpoint on.

use crate::inputs::dataset::{augmentation, preparation};
use crate::manifest::Manifest;
use crate::manifest::precision::Precision;
use crate::scoring::evaluate::{Scoring, predict};
use crate::scoring::mean::mean_of;
use crate::scoring::measures;
use crate::study::folder::RunFolder;
use crate::study::record::{EpochLine, GeneratorLosses, JsonNumber, StepLine};
use crate::system::files::{Log, make_folder, read_lines};
use crate::system::interrupt::{self, Interrupted};
use crate::system::memory;
use crate::system::terminal::{OutputClosed, Verbosity, note};
use crate::system::usage::in_words;
use crate::system::words::count;
use crate::training::profile::Measured;
use crate::training::progress::Progress;
use crate::training::teachers::Teachers;
use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::Device;
use colormamba::checkpoint;
use colormamba_colorize::NotFinite;
use colormamba_data::{Batch, DataError, Dataset, Loader, LoaderConfig, Split};
use colormamba_features::Metric;
use colormamba_layers::optim::StepPosition;
use colormamba_losses::Networks;
use colormamba_metrics::Measure;
use colormamba_ops::profile;
use colormamba_training::{NamedTensors, StepContext, TermValue, Trainer};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What one run needs beside its folder.
pub struct Session<'a> {
    /// The run's manifest: one variant, one seed.
    pub manifest: &'a Manifest,
    /// Where everything of it lies.
    pub folder: &'a RunFolder,
    /// What to train and validate on.
    pub dataset: Arc<dyn Dataset>,
    /// What the feature terms look through.
    pub networks: Networks,
    /// What the picture learns from beside the truth.
    pub teachers: Option<Rc<Teachers>>,
    /// Where to compute.
    pub device: &'a Device,
    /// How much to say.
    pub verbosity: Verbosity,
    /// The longest time without a checkpoint.
    pub checkpoint_every: Duration,
}

/// How a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All epochs are done.
    Finished,
    /// It was asked to stop after this step; the last checkpoint holds everything.
    Stopped {
        /// Steps done since the very start.
        step: usize,
    },
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Position {
    pub(super) epoch: usize,
    pub(super) step_in_epoch: usize,
    pub(super) step: usize,
    pub(super) best: Option<f64>,
}

impl Session<'_> {
    /// Trains until all epochs are done, Ctrl-C is pressed, or `limit` reaches 0; `limit` counts down with every step.
    ///
    /// # Errors
    /// A folder that belongs to another run or is in use, a damaged checkpoint, an unreadable image, a loss or
    /// validation that is no longer finite.
    pub fn train(&self, limit: &mut Option<usize>) -> Result<Outcome> {
        let _precision = self.manifest.train.precision.set(self.device)?;
        self.folder.ensure_same_manifest(self.manifest)?;
        make_folder(&self.folder.path.join("checkpoints"))?;
        let _lock = self.folder.lock()?;
        self.folder.remove_abandoned();
        self.folder.forget_failure()?;
        let result = self.go_on(limit);
        if let Some(error) = result.as_ref().err().filter(|error| !error.is::<OutputClosed>()) {
            // What went wrong first is what is to be known.
            let recorded = self.folder.record_failure(&in_words(error));
            recorded.unwrap_or_else(|second| note(&format!("warning: {second:#}")));
        }
        result
    }

    /// The training, in a folder that is this process's own.
    fn go_on(&self, limit: &mut Option<usize>) -> Result<Outcome> {
        let mut trainer = self.trainer()?;
        let mut position = self.resume(&mut trainer)?;
        self.write_manifest()?;
        let mut steps = Log::open(&self.folder.path.join("steps.jsonl"), "step", position.step)?;
        let mut epochs = Log::open(&self.folder.path.join("epochs.jsonl"), "epoch", position.epoch)?;
        let per_epoch = self.steps_per_epoch();
        let label = self.folder.label();
        let mut progress = Progress::new(self.verbosity, &label, self.steps(), position.step)?;
        let mut saved = Instant::now();
        while position.epoch < self.manifest.train.epochs {
            let left = per_epoch.saturating_sub(position.step_in_epoch);
            let mut loader = self.loader(position);
            for _ in 0..left {
                let Some(batches) = self.batches(&mut loader)? else { break };
                let line = self.step(&mut trainer, &mut position, &batches)?;
                steps.add(&line)?;
                if let Err(closed) = progress.step(&line) {
                    self.stop(&steps, &trainer, &position)?;
                    return Err(closed);
                }
                if let Some(limit) = limit {
                    *limit = limit.saturating_sub(1);
                }
                if *limit == Some(0) || interrupt::asked() {
                    return self.stop(&steps, &trainer, &position);
                }
                if saved.elapsed() >= self.checkpoint_every {
                    self.checkpoint(&steps, &trainer, &position)?;
                    saved = Instant::now();
                }
            }
            let (line, psnr) = match self.end_epoch(&trainer, &mut position) {
                Err(error) if error.is::<Interrupted>() => return self.stop(&steps, &trainer, &position),
                result => result?,
            };
            epochs.add(&line)?;
            steps.sync()?;
            epochs.sync()?;
            self.save_last(&trainer, &position)?;
            saved = Instant::now();
            progress.epoch(&line, psnr)?;
        }
        Ok(Outcome::Finished)
    }

    /// Whether there is a checkpoint to go on from.
    ///
    /// # Errors
    /// If that cannot be told.
    pub fn begun(&self) -> Result<bool> {
        Ok(!self.folder.checkpoints()?.is_empty())
    }

    /// Fails where [`Session::train`] would refuse to begin; writes nothing.
    ///
    /// # Errors
    /// A folder that is in use, and as [`Session::done`].
    pub fn check(&self) -> Result<()> {
        self.folder.ensure_free()?;
        self.done().map(drop)
    }

    /// Steps that are done; writes nothing.
    ///
    /// # Errors
    /// A folder that belongs to another run, checkpoints that are all damaged, weights to start from that do not fit.
    pub fn done(&self) -> Result<usize> {
        self.folder.ensure_same_manifest(self.manifest)?;
        Ok(self.resumed(&mut self.trainer()?)?.map_or(0, |resumed| resumed.position.step))
    }

    /// Trains for one step to warm up, and measures the next. Writes nothing.
    ///
    /// # Errors
    /// An unreadable image, a loss that is no longer finite.
    pub fn profile(&self) -> Result<Measured> {
        let _precision = self.manifest.train.precision.set(self.device)?;
        let mut step = self.rehearsal()?;
        step(0)?;
        memory::forget_peak();
        profile::start(memory::live);
        let done = step(1);
        let profile = profile::finish();
        done?;
        let run = self.folder.label();
        Ok(Measured { run, profile, peak_live: memory::peak_live(), peak_resident: memory::peak() })
    }

    /// Seconds of a step, the second of two. Writes nothing.
    ///
    /// # Errors
    /// As [`Self::profile`].
    pub fn seconds_per_step(&self) -> Result<f64> {
        let _precision = self.manifest.train.precision.set(self.device)?;
        let mut step = self.rehearsal()?;
        step(0)?;
        self.device.synchronize()?;
        let begun = Instant::now();
        step(1)?;
        self.device.synchronize()?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Steps of a training whose results nobody keeps.
    fn rehearsal(&self) -> Result<impl FnMut(usize) -> Result<()>> {
        let mut trainer = self.trainer()?;
        let mut batches = (0..).flat_map(|epoch| self.loader(Position { epoch, ..Position::default() }));
        Ok(move |step| {
            let batches = self.batches(&mut batches)?.context("the training split is empty")?;
            profile::mark("data");
            let context = StepContext { step, epoch: 0, lr: self.lr(step, 0), gradients: false };
            trainer.step(&self.tensors(&batches)?, &context)?;
            Ok(())
        })
    }

    fn stop(&self, steps: &Log, trainer: &Trainer, position: &Position) -> Result<Outcome> {
        self.checkpoint(steps, trainer, position)?;
        Ok(Outcome::Stopped { step: position.step })
    }

    /// Within an epoch.
    fn checkpoint(&self, steps: &Log, trainer: &Trainer, position: &Position) -> Result<()> {
        steps.sync()?;
        self.ensure_finite(trainer, position.step)?;
        self.save_last(trainer, position)
    }

    /// The batches of one step; none at the end.
    fn batches(&self, loader: &mut impl Iterator<Item = Result<Batch, DataError>>) -> Result<Option<Vec<Batch>>> {
        let batches = loader.take(self.manifest.train.accumulate);
        let batches = batches.map(|batch| Ok(batch?.to_device(self.device)?)).collect::<Result<Vec<_>>>()?;
        Ok((!batches.is_empty()).then_some(batches))
    }

    /// What a network may take of each batch, and the targets of its heads. The picture's is the RGB image, whatever
    /// the network calls it, and what teachers make of it lies beside it.
    fn tensors(&self, batches: &[Batch]) -> Result<Vec<NamedTensors>> {
        let rgb = self.manifest.model.architecture.options().rgb();
        let named = |batch: &Batch| {
            let mut tensors = batch.tensors();
            tensors.insert(rgb.to_string(), batch.rgb.clone());
            if let Some(teachers) = &self.teachers {
                tensors.extend(teachers.taught(batch, rgb)?);
            }
            Ok(tensors)
        };
        batches.iter().map(named).collect()
    }

    /// The learning rate of a step of an epoch, both counted from 0.
    fn lr(&self, step: usize, epoch: usize) -> f64 {
        let train = &self.manifest.train;
        train.lr(StepPosition { step, epoch, total_steps: self.steps() })
    }

    fn step(&self, trainer: &mut Trainer, position: &mut Position, batches: &[Batch]) -> Result<StepLine> {
        let begun = Instant::now();
        let lr = self.lr(position.step, position.epoch);
        let gradients =
            self.manifest.train.diagnostics.is_some_and(|diagnostics| diagnostics.gradients_at(position.step));
        let context = StepContext { step: position.step, epoch: position.epoch, lr, gradients };
        let report = self.tensors(batches).and_then(|batches| Ok(trainer.step(&batches, &context)?));
        let report = match report {
            Err(error) if colormamba_cuda::is_out_of_memory(&error) => {
                bail!(self.out_of_memory(trainer, &batches[0], &context))
            }
            report => report.with_context(|| format!("step {}", position.step + 1))?,
        };
        position.step += 1;
        position.step_in_epoch += 1;
        let weight = self.manifest.variants[0].loss.adversarial.map_or(0.0, |adversarial| adversarial.weight);
        Ok(StepLine {
            step: position.step,
            epoch: position.epoch + 1,
            lr,
            d_loss: report.d_loss,
            g_loss: report.g_loss.into_iter().map(|losses| GeneratorLosses::new(losses, weight)).collect(),
            gradients: report.gradients,
            seconds: begun.elapsed().as_secs_f64(),
        })
    }

    /// What to say of a batch that the GPU has no room for. Tries smaller ones: the trainer is of no use afterwards,
    /// the last checkpoint is as it was.
    fn out_of_memory(&self, trainer: &mut Trainer, batch: &Batch, context: &StepContext) -> String {
        let size = batch.names.len();
        let halves = std::iter::successors(Some(size / 2), |n| Some(n / 2)).take_while(|n| *n > 0);
        let mut step = |batch| -> Result<_> { Ok(trainer.step(&self.tensors(&[batch])?, context)?) };
        let mut fits = |n: usize| batch.first(n).is_ok_and(|batch| step(batch).is_ok());
        let advice = match halves.into_iter().find(|n| fits(*n)) {
            Some(n) => format!("a batch of {n} fits: --set train.batch={n}"),
            None => "a single image does not fit either: take a smaller network or data.size".to_string(),
        };
        let kept = if self.begun().unwrap_or(false) { "; the last checkpoint is kept" } else { "" };
        format!("the GPU has no memory left for a batch of {}; {advice}{kept}", count(size, "image"))
    }

    /// Validates, and keeps the weights if they are the best so far, or there is nothing to tell that by.
    fn end_epoch(&self, trainer: &Trainer, position: &mut Position) -> Result<(EpochLine, Option<f64>)> {
        // Scores of runs of any precision are compared.
        let _precision = Precision::F32.set(self.device)?;
        let (validation, psnr) = self.validate(trainer, position.epoch)?;
        self.ensure_finite(trainer, position.step)?;
        // Without validation images the last weights are the ones to keep.
        let best = psnr.is_none_or(|psnr| position.best.is_none_or(|best| psnr > best));
        let epoch = position.epoch;
        *position =
            Position { epoch: epoch + 1, step_in_epoch: 0, best: if best { psnr } else { position.best }, ..*position };
        if best {
            self.folder.remove_scores()?;
            checkpoint::save(&self.folder.best(), &trainer.weights(), &self.metadata(position)?)?;
        }
        let lr = self.lr(position.step.saturating_sub(1), epoch);
        let g_loss = self.mean_g_loss(epoch + 1)?;
        Ok((EpochLine { epoch: epoch + 1, step: position.step, lr, g_loss, validation, best }, psnr))
    }

    /// The means over the validation split by their specs, and that of PSNR in dB; nothing of an empty split.
    fn validate(&self, trainer: &Trainer, epoch: usize) -> Result<(BTreeMap<String, JsonNumber>, Option<f64>)> {
        if self.dataset.len(Split::Validation) == 0 {
            return Ok((BTreeMap::new(), None));
        }
        let data = &self.manifest.data;
        // Those of a table, which may look through networks, are for the weights that are kept in the end.
        let published = measures::published();
        let metrics = measures::load(&published, &self.manifest.weights)?;
        let scoring = Scoring::of(data, &*self.dataset, Split::Validation, &metrics);
        let rgb = self.manifest.model.architecture.options().rgb();
        let scores = scoring.evaluate(|sample| predict(trainer.evaluation(), rgb, sample, self.device));
        let scores = scores.map_err(|error| match error.is::<NotFinite>() {
            true => anyhow!("{}: {error:#}", self.no_numbers(epoch)),
            false => error,
        })?;
        let validation = published.iter().map(|m| Ok((scoring.setting.spec(*m), JsonNumber(mean_of(&scores, *m)?))));
        let validation = validation.collect::<Result<BTreeMap<_, _>>>()?;
        let psnr = mean_of(&scores, Metric::Plain(Measure::PSNR))?;
        ensure!(!psnr.is_nan(), self.no_numbers(epoch));
        Ok((validation, Some(psnr)))
    }

    /// What to say of a training that cannot be saved.
    fn no_numbers(&self, epoch: usize) -> String {
        format!("the predictions after epoch {} are not numbers: {}", epoch + 1, self.start_again())
    }

    fn start_again(&self) -> String {
        format!(
            "start again with a lower learning rate or lower weights of the loss, under another name or after removing {}",
            self.folder.path.display()
        )
    }

    /// Fails if a weight or a moment of an optimizer is no longer a finite number: what is kept can be gone on from.
    fn ensure_finite(&self, trainer: &Trainer, step: usize) -> Result<()> {
        let state = trainer.state()?;
        let Some(name) = checkpoint::not_finite(&state)? else { return Ok(()) };
        let term = self.largest_term()?.map(|term| format!(" (the largest term of its loss was {term})"));
        bail!("`{name}` is not finite after step {step}{}: {}", term.unwrap_or_default(), self.start_again())
    }

    /// The term that added the most to the loss of the last step, with its value.
    fn largest_term(&self) -> Result<Option<String>> {
        let lines: Vec<StepLine> = read_lines(&self.folder.path.join("steps.jsonl"))?;
        let Some(losses) = lines.last().and_then(|line| line.g_loss.last()) else { return Ok(None) };
        let of_head = |(head, terms): (&String, &BTreeMap<String, TermValue>)| {
            terms.iter().map(|(term, value)| (format!("{head}.{term}"), value.weighted)).collect::<Vec<_>>()
        };
        let adversarial = losses.adversarial.map(|value| ("adversarial".to_string(), value.weighted));
        let terms = losses.heads.iter().flat_map(of_head).chain(adversarial);
        let largest = terms.max_by(|(_, a), (_, b)| a.abs().total_cmp(&b.abs()));
        Ok(largest.map(|(name, value)| format!("`{name}`, {value:.3e}")))
    }

    /// From the log, so that it does not matter whether the epoch was interrupted.
    fn mean_g_loss(&self, epoch: usize) -> Result<f64> {
        let lines: Vec<StepLine> = read_lines(&self.folder.path.join("steps.jsonl"))?;
        let of_epoch = lines.iter().filter(|line| line.epoch == epoch).filter_map(|line| line.g_loss.last());
        let (sum, count) = of_epoch.fold((0.0, 0), |(sum, count), g| (sum + g.total, count + 1));
        Ok(sum / count.max(1) as f64)
    }

    fn loader(&self, position: Position) -> Loader {
        let config = LoaderConfig {
            split: Split::Train,
            preparation: preparation(&self.manifest.data),
            augmentation: augmentation(self.manifest),
            batch: self.manifest.train.batch,
            seed: self.folder.seed,
            epoch: position.epoch,
            skip: position.step_in_epoch * self.manifest.train.accumulate,
        };
        Loader::new(self.dataset.clone(), config)
    }

    /// Steps of the whole training.
    pub fn steps(&self) -> usize {
        self.steps_per_epoch() * self.manifest.train.epochs
    }

    fn steps_per_epoch(&self) -> usize {
        let train = &self.manifest.train;
        let full = (self.dataset.len(Split::Train) / (train.batch * train.accumulate)).max(1);
        train.steps_per_epoch.map_or(full, |cap| cap.min(full))
    }
}
