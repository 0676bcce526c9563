//! Datasets, their splits and checks, Pillow-exact preprocessing, augmentation, prefetching loader.

mod dataset;
mod error;

pub use dataset::{Dataset, Pair, Protocol, Split};
pub use error::DataError;
