//! Order, coverage and repeatability of what a loader yields.

use candle_core::Tensor;
use colormamba_data::{
    Augmentation, Batch, Crop, DataError, Dataset, ImagePair, Loader, LoaderConfig, NirHsv, Preparation, Protocol,
    Split,
};
use image::{GrayImage, Luma, Rgb, RgbImage};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Small pairs, each different; slow to read where asked.
struct Memory {
    len: usize,
    delay: Duration,
    fails_at: Option<usize>,
    odd_at: Option<usize>,
}

fn memory(len: usize) -> Memory {
    Memory { len, delay: Duration::ZERO, fails_at: None, odd_at: None }
}

impl Dataset for Memory {
    fn name(&self) -> &str {
        "memory"
    }
    fn len(&self, _: Split) -> usize {
        self.len
    }
    fn pair_name(&self, _: Split, index: usize) -> String {
        format!("pair_{index}")
    }
    fn pair(&self, split: Split, index: usize) -> Result<ImagePair, DataError> {
        std::thread::sleep(self.delay);
        if Some(index) == self.fails_at {
            return Err(DataError::Index { split, index, len: self.len });
        }
        let side = if Some(index) == self.odd_at { 13 } else { 12 };
        let value = |x: u32, y: u32, c: u32| ((index as u32 * 37 + x * 11 + y * 5 + c * 71) % 251) as u8;
        Ok(ImagePair {
            name: self.pair_name(split, index),
            nir: GrayImage::from_fn(side, side, |x, y| Luma([value(x, y, 0)])),
            rgb: RgbImage::from_fn(side, side, |x, y| Rgb([value(x, y, 1), value(x, y, 2), value(x, y, 3)])),
        })
    }
    fn fingerprint(&self, _: Split) -> String {
        self.len.to_string()
    }
}

fn config(split: Split, batch: usize) -> LoaderConfig {
    LoaderConfig {
        split,
        preparation: Preparation { size: Some(8), protocol: Protocol::Minmax, nir_hsv: NirHsv::Published },
        augmentation: Augmentation { crop: Some(Crop::Side(9)), ..Augmentation::published() },
        batch,
        seed: 7,
        epoch: 3,
        skip: 0,
    }
}

fn load(dataset: Memory, config: LoaderConfig) -> Vec<Batch> {
    Loader::new(Arc::new(dataset), config).collect::<Result<_, _>>().unwrap()
}

fn names(batches: &[Batch]) -> Vec<String> {
    batches.iter().flat_map(|batch| batch.names.clone()).collect()
}

fn bits(batches: &[Batch]) -> Vec<u32> {
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let all = batches.iter().flat_map(|b| [&b.nir, &b.nir_hsv, &b.rgb, &b.hsv].map(values));
    all.flatten().map(f32::to_bits).collect()
}

#[test]
fn shapes() {
    let loader = Loader::new(Arc::new(memory(11)), config(Split::Train, 4));
    assert_eq!(loader.batches(), 2);
    for batch in loader {
        let batch = batch.unwrap();
        assert_eq!(
            (batch.names.len(), batch.nir.dims(), batch.nir_hsv.dims()),
            (4, &[4, 1, 8, 8][..], &[4, 3, 8, 8][..])
        );
        assert_eq!((batch.rgb.dims(), batch.hsv.dims()), (&[4, 3, 8, 8][..], &[4, 3, 8, 8][..]));
    }
}

#[test]
fn the_same_whatever_the_timing() {
    let quick = load(memory(11), config(Split::Train, 4));
    let slow = Memory { delay: Duration::from_millis(5), ..memory(11) };
    let slow = load(slow, config(Split::Train, 4));
    let mut slow_consumer = Vec::new();
    for batch in Loader::new(Arc::new(memory(11)), config(Split::Train, 4)) {
        std::thread::sleep(Duration::from_millis(20));
        slow_consumer.push(batch.unwrap());
    }
    for other in [slow, slow_consumer] {
        assert_eq!((names(&quick), bits(&quick)), (names(&other), bits(&other)));
    }
}

#[test]
fn skipping_gives_the_tail() {
    let all = load(memory(22), config(Split::Train, 4));
    assert_eq!(all.len(), 5);
    for skip in 0..7 {
        let config = LoaderConfig { skip, ..config(Split::Train, 4) };
        assert_eq!(Loader::new(Arc::new(memory(22)), config).batches(), 5);
        let tail = load(memory(22), config);
        let want = &all[skip.min(5)..];
        assert_eq!((names(&tail), bits(&tail)), (names(want), bits(want)), "skip {skip}");
    }
}

#[test]
fn an_epoch_has_every_pair_at_most_once() {
    let (mut orders, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for epoch in 0..10 {
        let order = names(&load(memory(11), LoaderConfig { epoch, ..config(Split::Train, 4) }));
        let distinct: BTreeSet<_> = order.iter().cloned().collect();
        assert_eq!((order.len(), distinct.len()), (8, 8));
        seen.extend(distinct);
        orders.insert(order);
    }
    // 10 of the 11!/3! orders are different, and no pair is left out of all of them (chance (3/11)^10 each).
    assert_eq!((orders.len(), seen.len()), (10, 11));
}

#[test]
fn seed_and_epoch_change_the_augmentation() {
    let one = |seed, epoch| bits(&load(memory(1), LoaderConfig { seed, epoch, ..config(Split::Train, 1) }));
    let distinct: BTreeSet<_> = [(1, 1), (1, 2), (2, 1), (2, 2)].map(|(seed, epoch)| one(seed, epoch)).into();
    assert_eq!(distinct.len(), 4);
    assert_eq!(one(1, 1), one(1, 1));
}

#[test]
fn augmentation_of_a_pair_ignores_the_batch_size() {
    let wide = load(memory(6), config(Split::Train, 6));
    let single = load(memory(6), config(Split::Train, 1));
    let stacked = Tensor::cat(&single.iter().map(|b| &b.rgb).collect::<Vec<_>>(), 0).unwrap();
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!((names(&wide), values(&wide[0].rgb)), (names(&single), values(&stacked)));
}

#[test]
fn a_split_smaller_than_a_batch_is_one_batch() {
    assert_eq!(load(memory(3), config(Split::Train, 8))[0].names.len(), 3);
    assert!(load(memory(0), config(Split::Train, 8)).is_empty());
    assert_eq!(load(memory(2), config(Split::Train, 0)).len(), 2);
}

#[test]
fn evaluation_is_in_order_complete_and_unchanged() {
    let batches = load(memory(5), config(Split::Validation, 2));
    assert_eq!(names(&batches), ["pair_0", "pair_1", "pair_2", "pair_3", "pair_4"]);
    let preparation = config(Split::Validation, 2).preparation;
    let want = preparation.evaluation(&memory(5).pair(Split::Validation, 4).unwrap()).unwrap();
    let difference = (batches[2].rgb.get(0).unwrap() - want.rgb).unwrap().abs().unwrap().max_all().unwrap();
    assert_eq!(difference.to_scalar::<f32>().unwrap(), 0.0);
}

#[test]
fn an_error_ends_the_epoch() {
    let dataset = Memory { fails_at: Some(3), ..memory(8) };
    let items: Vec<_> = Loader::new(Arc::new(dataset), config(Split::Validation, 2)).collect();
    assert_eq!(items.len(), 2);
    assert!(items[0].is_ok() && matches!(items[1], Err(DataError::Index { index: 3, .. })));
}

#[test]
fn sizes_that_do_not_stack_are_named() {
    let mut config = config(Split::Test, 4);
    config.preparation.size = None;
    let dataset = Memory { odd_at: Some(2), ..memory(4) };
    let error = Loader::new(Arc::new(dataset), config).next().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "pair pair_2: 13x13 pixels, but pair_1 in the same batch has 12x12; set a size");
}

#[test]
fn a_panic_in_a_dataset_is_an_error() {
    struct Broken;
    impl Dataset for Broken {
        fn name(&self) -> &str {
            "broken"
        }
        fn len(&self, _: Split) -> usize {
            4
        }
        fn pair_name(&self, _: Split, _: usize) -> String {
            String::new()
        }
        fn pair(&self, _: Split, _: usize) -> Result<ImagePair, DataError> {
            panic!("a dataset with a bug")
        }
        fn fingerprint(&self, _: Split) -> String {
            String::new()
        }
    }
    let items: Vec<_> = Loader::new(Arc::new(Broken), config(Split::Train, 2)).collect();
    assert!(matches!(items[..], [Err(DataError::Thread(_))]));
}

#[test]
fn dropping_ends_the_thread() {
    let dataset: Arc<dyn Dataset> = Arc::new(memory(1000));
    let mut loader = Loader::new(dataset.clone(), config(Split::Train, 2));
    loader.next().unwrap().unwrap();
    drop(loader);
    // The thread owned the other reference.
    assert_eq!(Arc::strong_count(&dataset), 1);
}
