//! Datasets, their splits and checks, Pillow-exact preprocessing, augmentation, prefetching loader.
//!
//! ```
//! use colormamba_data::{Dataset, NirHsv, Preparation, Protocol, Split, Synthetic, SyntheticConfig};
//!
//! let config = SyntheticConfig { seed: 0, width: 48, height: 32, train: 2, validation: 0, test: 0 };
//! let scenes = Synthetic::new(config)?;
//! let preparation = Preparation { size: Some(16), protocol: Protocol::Minmax, nir_hsv: NirHsv::Gray };
//! let sample = preparation.evaluation(&scenes.pair(Split::Train, 0)?)?;
//! assert_eq!(sample.nir.dims(), [1, 16, 16]);
//! assert_eq!(sample.rgb.dims(), [3, 16, 16]);
//! # Ok::<(), colormamba_data::DataError>(())
//! ```

mod augmentation;
pub mod check;
mod dataset;
pub mod description;
mod error;
mod fit;
mod listing;
mod loader;
mod notes;
mod overlap;
mod pattern;
mod photographs;
pub mod pillow;
mod preparation;
mod read;
mod subset;
pub mod synthetic;

pub use augmentation::{Augmentation, Crop};
pub use dataset::{Dataset, ImagePair, PairFiles, Protocol, Split};
pub use description::{Description, SplitDescription};
pub use error::DataError;
pub use fit::Fit;
pub use loader::{Batch, Loader, LoaderConfig};
pub use notes::Notes;
pub use overlap::{Overlap, PixelDigests, overlaps, twins};
pub use pattern::folded;
pub use photographs::Photographs;
pub use preparation::{NirHsv, Preparation, Sample};
pub use read::{
    Bits, Channel, ImageFault, JpegError, NirImage, Read, ReadNote, Reading, image_size, looks_like_image, read_gray,
    read_rgb,
};
pub use subset::Subset;
pub use synthetic::{Synthetic, SyntheticConfig};
