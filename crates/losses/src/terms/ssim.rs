//! The term `ssim`.

use crate::definition::{Definition, Family};
use crate::structure::{MeanOf, WANG_2004, WindowOptions, single_scale};
pub use crate::structure::{Padding, Part};
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};
use serde::{Deserialize, Serialize};

const ABOUT: About = About {
    name: "ssim",
    formula: "1 − ⟨l·c·s⟩ over windows and channels, with means μ, deviations σ and covariance under a Gaussian: l = (2 μ_p μ_t + \
              C1)/(μ_p² + μ_t² + C1), c = (2 σ_p σ_t + C2)/(σ_p² + σ_t² + C2), s = (cov + C3)/(σ_p σ_t + C3); C1 = 0.01², C2 = \
              0.03², C3 = C2/2. In c and s alone, σ² and cov have 1e-8 added: σ has no gradient at 0",
    range: "0 to 2; the parts luminance and contrast: 0 to 1",
    source: WANG_2004,
    options: "window = 11: width of the Gaussian in pixels, odd, 3 to 255; sigma = 1.5: its standard deviation in pixels; padding \
              = valid: what lies beyond the border: valid (windows stay inside), zero, reflect (mirrored about the outermost \
              pixels); part = all: the factors that count: all, luminance (l), contrast (c), structure (s), contrast_structure \
              (c·s)",
};

/// Options of `ssim`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SsimOptions {
    /// Width in pixels, odd, 3 to 255.
    pub window: usize,
    /// Standard deviation of the Gaussian in pixels, above 0.
    pub sigma: f64,
    /// What lies beyond the border.
    pub padding: Padding,
    /// Which factors count.
    pub part: Part,
}

impl Default for SsimOptions {
    fn default() -> Self {
        let WindowOptions { window, sigma, padding } = WindowOptions::default();
        Self { window, sigma, padding, part: Part::All }
    }
}

impl SsimOptions {
    /// The options that it has in common with `d_ssim`.
    fn windows(self) -> WindowOptions {
        WindowOptions { window: self.window, sigma: self.sigma, padding: self.padding }
    }
}

impl Definition for SsimOptions {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn family(&self) -> Family {
        Family::Structure
    }

    fn channels(&self) -> Channels {
        Channels::Any
    }

    fn smallest_side(&self) -> usize {
        self.windows().smallest_side()
    }

    fn check(&self) -> Result<(), String> {
        self.windows().check()
    }

    fn against(&self, target: &View) -> Result<Comparison, LossError> {
        single_scale(self.windows(), MeanOf { part: self.part, weight: 1.0 }, target)
    }
}
