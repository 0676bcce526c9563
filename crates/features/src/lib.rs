//! Fixed feature networks that losses and measures look through: no gradient is ever computed for their weights.

// What the build script made of the CUDA kernels.
mod kernels {
    include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
}

mod autoencoder;
mod classifier;
mod dinov2;
mod error;
mod file;
mod lpips;
mod metric;
mod network;
mod normalise;
mod plan;
mod positions;
mod published;
mod sets;

pub use autoencoder::AutoencoderFeatures;
pub use classifier::FeatureNetwork;
pub use dinov2::{Dinov2, Dinov2Config};
pub use error::FeatureError;
pub use lpips::{LpipsDistance, LpipsLayer, LpipsNetwork};
pub use metric::{LoadedMetric, Metric};
pub use network::Network;
pub use published::{Hub, Published, PublishedFile, fetchable, published};
pub use sets::SetMetric;
