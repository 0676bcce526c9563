//! Datasets, their splits and checks, Pillow-exact preprocessing, augmentation, prefetching loader.

mod augmentation;
mod dataset;
mod error;
pub mod pillow;
mod preparation;
mod read;
pub mod synthetic;

pub use augmentation::Augmentation;
pub use dataset::{Dataset, Pair, Protocol, Split};
pub use error::DataError;
pub use preparation::{NirHsv, Preparation, Sample};
pub use read::{read_gray, read_rgb};
pub use synthetic::{Synthetic, SyntheticConfig};
