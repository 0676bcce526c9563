//! Fixed feature networks that losses and measures look through: no gradient is ever computed for their weights.

mod autoencoder;
mod error;
mod network;

pub use autoencoder::AutoencoderFeatures;
pub use error::FeatureError;
pub use network::{FeatureNetwork, Network};
