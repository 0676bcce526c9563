//! The term `histogram`.

use crate::colour::bins::{Bins, histograms};
use crate::colour::cuda::HistogramKernels;
pub use crate::colour::divergence::HistogramDistance;
use crate::colour::pixelwise::map_pixels;
use crate::colour::space::{ToHsv, ToLab, ToUnitLab};
use crate::definition::{Definition, Family};
use crate::scalar::{number, scalar};
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};
use candle_core::Result as CandleResult;
use colormamba_cpu::tensor;
use colormamba_ops::Node;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const ABOUT: About = About {
    name: "histogram",
    formula: "distance of the histograms P of p and T of t, averaged over batch and channels. A pixel of value x adds \
              max(0, w − |x − c|)/(w H W) to the bin with centre c; n centres from 0 to 1, w = 1/(n − 1) + 1e-6. Values beyond \
              [0, 1] by w count nothing. cdf_l1: mean over bins of |cumulated P − cumulated T|. \
              wasserstein: W1 of P/ΣP and T/ΣT in units of the channel's range, which for equal ΣP and ΣT is n/(n − 1) of cdf_l1. \
              chi2: ½ Σ (P − T)²/(P + T + 1e-10). kl: Σ T' ln(T'/P'), P' = (P + 1e-5)/Σ(P + 1e-5), T' alike. \
              In hsv the n centres of hue lie on a circle, w = 1/n + 1e-6, and cumulated differences are less their median; greys \
              have hue 0. In lab the channels are L/100, (a + 128)/255, (b + 128)/255",
    range: "cdf_l1, wasserstein, chi2: 0 to 1; kl: 0 to ln 1e5; all but for 3e-4 by which counts differ from pixels at 256 bins",
    source: "cdf_l1 in rgb with 256 bins: the histogram loss of the thesis on ColorMamba; W1 on a circle: Rabin, Delon, Gousseau, \
             J. Math. Imaging Vis. 41 (2011), doi:10.1007/s10851-011-0284-0",
    options: "space = rgb: channels counted, rgb as the image is, hsv or lab converted from sRGB; bins = 256: n, 2 to 65536; \
              distance = cdf_l1: cdf_l1, kl, chi2 or wasserstein",
};

/// In which colour space channels are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Space {
    /// As the image is.
    Rgb,
    /// Hue, saturation, value; hue on a circle.
    Hsv,
    /// CIELAB under D65, each channel mapped from its 8-bit range to [0, 1].
    Lab,
}

/// Options of `histogram`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistogramOptions {
    /// The colour space.
    pub space: Space,
    /// Bins a channel, 2 to 65536.
    pub bins: usize,
    /// The distance.
    pub distance: HistogramDistance,
}

impl Default for HistogramOptions {
    fn default() -> Self {
        Self { space: Space::Rgb, bins: 256, distance: HistogramDistance::CdfL1 }
    }
}

/// Bins must be wider than the 1e-6 by which they overlap, and than the digits of f32.
const MOST_BINS: usize = 1 << 16;

impl Definition for HistogramOptions {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn family(&self) -> Family {
        Family::Colour
    }

    fn channels(&self) -> Channels {
        match self.space {
            Space::Rgb => Channels::Any,
            Space::Hsv | Space::Lab => Channels::Three,
        }
    }

    fn smallest_side(&self) -> usize {
        1
    }

    fn check(&self) -> Result<(), String> {
        match self.bins {
            2..=MOST_BINS => Ok(()),
            bins => Err(format!("bins is {bins}, it must be from 2 to {MOST_BINS}")),
        }
    }

    fn against(&self, target: &View) -> Result<Comparison, LossError> {
        let HistogramOptions { space, bins, distance } = *self;
        let bins = Arc::new(space.bins(bins));
        let shares = move |view: &View, bins: &Arc<[Bins; 3]>| histograms(&space.converted(view.image())?, bins);
        if let Some(kernels) = HistogramKernels::new(target.image().value(), &bins)? {
            let target = kernels.histograms(&space.converted(target.image())?)?.value().clone();
            return Ok(Box::new(move |pred| {
                let shares = kernels.histograms(&space.converted(pred.image())?)?;
                Ok(kernels.mean_distance(&shares, &target, distance)?)
            }));
        }
        let target: Arc<Vec<Vec<f64>>> = Arc::new(shares(target, &bins)?.value().flatten_to(1)?.to_vec2()?);
        Ok(Box::new(move |pred| Ok(mean_distance(&shares(pred, &bins)?, &target, &bins, distance)?)))
    }
}

impl Space {
    /// The bins of each channel; further channels have those of the first three again.
    fn bins(self, bins: usize) -> [Bins; 3] {
        let line = Bins::line(bins);
        match self {
            Self::Rgb | Self::Lab => [line.clone(), line.clone(), line],
            Self::Hsv => [Bins::circle(bins), line.clone(), line],
        }
    }

    fn converted(self, image: &Node) -> CandleResult<Node> {
        match self {
            Self::Rgb => Ok(image.clone()),
            Self::Hsv => map_pixels(image, ToHsv),
            Self::Lab => map_pixels(image, ToUnitLab(ToLab::new())),
        }
    }
}

/// The mean distance of the histograms `p` `(B, C, bins)` from those of the target.
fn mean_distance(
    p: &Node,
    target: &Arc<Vec<Vec<f64>>>,
    bins: &Arc<[Bins; 3]>,
    distance: HistogramDistance,
) -> CandleResult<Node> {
    let shares: Vec<Vec<f64>> = p.value().flatten_to(1)?.to_vec2()?;
    let values = shares.iter().zip(target.iter()).enumerate();
    let sum: f64 = values.map(|(i, (p, t))| distance.value(&bins[i % 3], p, t)).sum();
    let (count, shape) = (shares.len() as f64, p.shape().clone());
    let (target, bins) = (target.clone(), bins.clone());
    Node::new(scalar(sum / count), [p], move |grad| {
        let scale = number(grad)? / count;
        let slopes = shares.iter().zip(target.iter()).enumerate();
        let slopes = slopes.flat_map(|(i, (p, t))| distance.slopes(&bins[i % 3], p, t));
        Ok([Some(tensor(slopes.map(|slope| scale * slope).collect(), shape))])
    })
}
