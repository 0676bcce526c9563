//! Structural similarity.

mod gaussian;
mod uniform;

pub use gaussian::{ms_ssim_windowed, ssim_windowed};

/// The two constants that keep the ratios finite.
#[derive(Clone, Copy)]
struct Constants {
    luminance: f64,
    contrast: f64,
}

impl Constants {
    /// For values of this range, K1 = 0.01 and K2 = 0.03.
    const fn for_range(range: f64) -> Self {
        Self { luminance: (0.01 * range) * (0.01 * range), contrast: (0.03 * range) * (0.03 * range) }
    }
}
