//! Support for the workspace's tests: golden fixtures, weights made by formula, relative errors, finite differences.
//!
//! The golden files under `tests/fixtures` hold inputs, outputs and gradients of the published PyTorch model; the weights
//! they were made with are not stored but follow from each tensor's name and shape ([`formula`]).

mod device;
mod fixture;
mod formula;
mod gradient;
mod threads;

pub use device::device;
pub use fixture::{
    Fixture, Map, Tolerance, Value, activations, assert_close, assert_maps_close, fixtures_dir, relative_l2,
    relative_l2_map, takes_bf16,
};
pub use formula::{formula, noise, noise_tensor, unit_image};
pub use gradient::{assert_gradients, cotangent, gradients};
pub use threads::assert_same_on_threads;
