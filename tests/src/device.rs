//! Where the tests compute.

use candle_core::Device;
use std::sync::OnceLock;

/// The device in `COLORMAMBA_TEST_DEVICE` (`cpu`, `cuda` or `cuda:N`), else the processor: the same tests run on both.
///
/// # Panics
/// If it cannot be opened: tests that were to run on a GPU must not pass without one.
pub fn device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(open).clone()
}

fn open() -> Device {
    let Ok(name) = std::env::var("COLORMAMBA_TEST_DEVICE") else { return Device::Cpu };
    let choice = name.parse().unwrap_or_else(|error| panic!("COLORMAMBA_TEST_DEVICE: {error}"));
    colormamba_cuda::open(choice).unwrap_or_else(|error| panic!("COLORMAMBA_TEST_DEVICE={name}: {error}"))
}
