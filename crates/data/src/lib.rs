//! Datasets, their splits and checks, Pillow-exact preprocessing, augmentation, prefetching loader.

mod augmentation;
pub mod check;
mod dataset;
pub mod description;
mod error;
mod listing;
mod loader;
mod overlap;
mod pattern;
mod photographs;
pub mod pillow;
mod preparation;
mod read;
mod subset;
pub mod synthetic;

pub use augmentation::Augmentation;
pub use dataset::{Dataset, ImagePair, Protocol, Split};
pub use description::{Description, SplitDescription};
pub use error::DataError;
pub use loader::{Batch, Loader, LoaderConfig};
pub use overlap::{Overlap, PixelDigests, overlaps, twins};
pub use photographs::Photographs;
pub use preparation::{NirHsv, Preparation, Sample};
pub use read::{read_gray, read_rgb};
pub use subset::Subset;
pub use synthetic::{Synthetic, SyntheticConfig};
