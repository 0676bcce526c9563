use crate::{Augmentation, DataError, Dataset, Preparation, Sample, Split};
use candle_core::{Device, Tensor};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Batches that wait, ready, while the one before them is worked on.
const AHEAD: usize = 2;

/// Samples stacked on a first dimension.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The pairs' names.
    pub names: Vec<String>,
    /// `(B, 1, H, W)`, see [`Sample::nir`].
    pub nir: Tensor,
    /// `(B, 3, H, W)`, see [`Sample::nir_hsv`].
    pub nir_hsv: Tensor,
    /// `(B, 3, H, W)`, see [`Sample::rgb`].
    pub rgb: Tensor,
    /// `(B, 3, H, W)`, see [`Sample::hsv`].
    pub hsv: Tensor,
}

impl Batch {
    /// The same on a device.
    ///
    /// # Errors
    /// If it has no memory for it.
    pub fn to_device(&self, device: &Device) -> candle_core::Result<Self> {
        Ok(Self {
            names: self.names.clone(),
            nir: self.nir.to_device(device)?,
            nir_hsv: self.nir_hsv.to_device(device)?,
            rgb: self.rgb.to_device(device)?,
            hsv: self.hsv.to_device(device)?,
        })
    }

    /// Its tensors that can be the target of a network's output.
    pub const TARGETS: [&str; 2] = ["rgb", "hsv"];

    /// Its tensors by the names of its fields.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let tensors = [("nir", &self.nir), ("nir_hsv", &self.nir_hsv), ("rgb", &self.rgb), ("hsv", &self.hsv)];
        tensors.into_iter().map(|(name, tensor)| (name.to_string(), tensor.clone())).collect()
    }

    /// The first `count` pairs.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn first(&self, count: usize) -> candle_core::Result<Self> {
        Ok(Self {
            names: self.names.iter().take(count).cloned().collect(),
            nir: self.nir.narrow(0, 0, count)?,
            nir_hsv: self.nir_hsv.narrow(0, 0, count)?,
            rgb: self.rgb.narrow(0, 0, count)?,
            hsv: self.hsv.narrow(0, 0, count)?,
        })
    }
}

/// Which samples a [`Loader`] gives, and in what order.
#[derive(Clone, Copy, Debug)]
pub struct LoaderConfig {
    /// [`Split::Train`] is shuffled and augmented and loses its last batch if that is not full (unless it is the only
    /// one); the others come in order, unchanged and complete.
    pub split: Split,
    /// From photographs to tensors.
    pub preparation: Preparation,
    /// Random changes to training pairs.
    pub augmentation: Augmentation,
    /// Samples in a batch; 0 counts as 1.
    pub batch: usize,
    /// Decides, with `epoch`, on the order and on every random change.
    pub seed: u64,
    /// Number of the pass through the split.
    pub epoch: usize,
    /// Batches to leave out at the start: a run that was stopped goes on with exactly the batches it has not seen.
    pub skip: usize,
}

/// One epoch of batches, decoded and augmented ahead of use on a thread of its own.
///
/// What it yields depends on dataset and configuration alone, not on timing: the random changes of a pair follow from
/// (seed, epoch, its number in the split). After an error it yields nothing more. Dropping it ends the thread.
pub struct Loader {
    batches: usize,
    left: usize,
    /// `None` after the last batch or an error.
    receiver: Option<Receiver<Result<Batch, DataError>>>,
    thread: Option<JoinHandle<()>>,
    failed_start: Option<DataError>,
}

impl Loader {
    /// Starts to load. Errors, that of a thread that cannot be started too, come as items.
    pub fn new(dataset: Arc<dyn Dataset>, config: LoaderConfig) -> Loader {
        let plan = plan(&config, dataset.len(config.split));
        let batches = plan.len();
        let rest = plan[config.skip.min(batches)..].to_vec();
        let left = rest.len();
        let (sender, receiver) = sync_channel(AHEAD);
        let work = move || load(&*dataset, &config, &rest, &sender);
        let thread = std::thread::Builder::new().name("loader".to_string()).spawn(work);
        let (thread, failed_start) = match thread {
            Ok(thread) => (Some(thread), None),
            Err(error) => (None, Some(DataError::Thread(format!(": {error}")))),
        };
        Loader { batches, left, receiver: Some(receiver), thread, failed_start }
    }

    /// Number of batches in the epoch, those that were skipped included.
    pub fn batches(&self) -> usize {
        self.batches
    }

    fn stop(&mut self) {
        // Without its receiver the thread's next send fails, and it returns.
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported as an item, or nobody listens any more.
            let _ = thread.join();
        }
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let item = match (self.failed_start.take(), &self.receiver) {
            (Some(error), _) => Err(error),
            (None, Some(receiver)) => receiver.recv().unwrap_or_else(|_| Err(DataError::Thread(String::new()))),
            (None, None) => return None,
        };
        self.left = if item.is_ok() { self.left - 1 } else { 0 };
        if self.left == 0 {
            self.stop();
        }
        Some(item)
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The numbers of the pairs in each batch of the epoch.
fn plan(config: &LoaderConfig, len: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..len).collect();
    let batch = config.batch.max(1);
    if config.split == Split::Train {
        order.shuffle(&mut rng("order", config, 0));
        if len >= batch {
            order.truncate(len / batch * batch);
        }
    }
    order.chunks(batch).map(<[usize]>::to_vec).collect()
}

/// Every use of randomness has its own stream, so none depends on what was drawn before.
fn rng(purpose: &str, config: &LoaderConfig, index: usize) -> ChaCha8Rng {
    let key = format!("{purpose} seed={} epoch={} index={index}", config.seed, config.epoch);
    ChaCha8Rng::from_seed(*blake3::hash(key.as_bytes()).as_bytes())
}

/// Sends batch after batch until all are sent, one is an error, or nobody takes them.
fn load(
    dataset: &dyn Dataset,
    config: &LoaderConfig,
    plan: &[Vec<usize>],
    sender: &SyncSender<Result<Batch, DataError>>,
) {
    for indices in plan {
        let batch = batch(dataset, config, indices);
        let failed = batch.is_err();
        if sender.send(batch).is_err() || failed {
            return;
        }
    }
}

fn batch(dataset: &dyn Dataset, config: &LoaderConfig, indices: &[usize]) -> Result<Batch, DataError> {
    let samples = indices.iter().map(|&index| sample(dataset, config, index)).collect::<Result<Vec<_>, _>>()?;
    check_same_size(&samples)?;
    let stack = |part: fn(&Sample) -> &Tensor| Tensor::stack(&samples.iter().map(part).collect::<Vec<_>>(), 0);
    Ok(Batch {
        nir: stack(|s| &s.nir)?,
        nir_hsv: stack(|s| &s.nir_hsv)?,
        rgb: stack(|s| &s.rgb)?,
        hsv: stack(|s| &s.hsv)?,
        names: samples.into_iter().map(|s| s.name).collect(),
    })
}

fn sample(dataset: &dyn Dataset, config: &LoaderConfig, index: usize) -> Result<Sample, DataError> {
    let pair = dataset.pair(config.split, index)?;
    match config.split {
        Split::Train => {
            config.preparation.training(&pair, &config.augmentation, &mut rng("augmentation", config, index))
        }
        Split::Validation | Split::Test => config.preparation.evaluation(&pair),
    }
}

fn check_same_size(samples: &[Sample]) -> Result<(), DataError> {
    let size = |sample: &Sample| (sample.nir.dims()[2] as u32, sample.nir.dims()[1] as u32);
    for pair in samples.windows(2) {
        let (first, other) = (size(&pair[0]), size(&pair[1]));
        if first != other {
            let needed = format!("{} in the same batch has {}x{}; set a size", pair[0].name, first.0, first.1);
            return Err(DataError::WrongSize { name: format!("pair {}", pair[1].name), size: other, needed });
        }
    }
    Ok(())
}
