//! Every measure, those that look through a network among them.

use crate::{FeatureError, FeatureNetwork, LpipsNetwork, Network};
use candle_core::{DType, Device, Tensor};
use colormamba_metrics::{Best, Definition, Image, Measure, MetricError, Pair};
use std::path::Path;
use std::str::FromStr;

/// A measure, which may look through a network.
///
/// Its name, direction and unit are known without the network; [`Self::load`] makes it one that measures.
///
/// ```
/// use colormamba_features::Metric;
/// use colormamba_metrics::{Image, Pair};
/// let metric: Metric = "st-lpips[alex]".parse()?;
/// let [pred, target] = [0.25f32, 0.75].map(|grey| Image::new(&vec![grey; 3 * 32 * 32], 32, 32));
/// // Its weights are part of the program: no folder is looked into.
/// let distance = metric.load("weights".as_ref())?.value(&Pair::new(&pred?, &target?)?)?;
/// assert!(distance > 0.01 && metric.badness(distance) > metric.badness(0.0));
/// # Ok::<(), colormamba_features::FeatureError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Of the images themselves.
    Plain(Measure),
    /// LPIPS, or ST-LPIPS.
    Lpips(LpipsNetwork),
}

impl Metric {
    /// Every measure, those that need no network first.
    pub fn all() -> impl Iterator<Item = Self> {
        let plain = Measure::ALL.iter().map(|measure| Self::Plain(*measure));
        plain.chain(LpipsNetwork::ALL.into_iter().map(Self::Lpips))
    }

    /// What is known of it without computing it.
    pub fn definition(self) -> &'static Definition {
        match self {
            Self::Plain(measure) => measure.definition(),
            Self::Lpips(network) => network.definition(),
        }
    }

    /// Name and protocol, unambiguous, e.g. `ssim[uniform7,sample-covariance,rgb,L=1]`.
    pub fn spec(self) -> &'static str {
        self.definition().spec
    }

    /// What manifests and command lines may say instead of the spec, e.g. `ssim`.
    pub fn name(self) -> &'static str {
        self.definition().name
    }

    /// Short name for a table's header.
    pub fn label(self) -> &'static str {
        self.definition().label
    }

    /// The unit, empty for a ratio.
    pub fn unit(self) -> &'static str {
        self.definition().unit
    }

    /// Which value is the best.
    pub fn best(self) -> Best {
        self.definition().best
    }

    /// [`Best::badness`] of a value.
    pub fn badness(self, value: f64) -> Option<f64> {
        self.best().badness(value)
    }

    /// The least height and width of the images, in pixels.
    pub fn smallest_side(self) -> usize {
        self.definition().smallest_side
    }

    /// The network that it looks through, if it does.
    pub fn network(self) -> Option<Network> {
        match self {
            Self::Plain(_) => None,
            Self::Lpips(network) => Some(network.classifier()),
        }
    }

    /// The metric with its network in f32 on the CPU, if it has one, whose weights are part of the program or lie in the
    /// folder `weights`.
    ///
    /// # Errors
    /// Those of [`FeatureNetwork::pretrained`].
    pub fn load(self, weights: &Path) -> Result<LoadedMetric, FeatureError> {
        Ok(match self {
            Self::Plain(measure) => LoadedMetric::Plain(measure),
            Self::Lpips(network) => {
                let seen = FeatureNetwork::pretrained(network.classifier(), weights, DType::F32, &Device::Cpu)?;
                LoadedMetric::Lpips(network, Box::new(seen))
            }
        })
    }
}

impl FromStr for Metric {
    type Err = MetricError;

    /// The metric of this spec or short name.
    fn from_str(name: &str) -> Result<Self, MetricError> {
        Definition::find(name, Self::all(), |metric| metric.definition())
    }
}

/// A [`Metric`] that measures.
pub enum LoadedMetric {
    /// Of the images themselves.
    Plain(Measure),
    /// LPIPS, or ST-LPIPS, with its network.
    Lpips(LpipsNetwork, Box<FeatureNetwork>),
}

impl LoadedMetric {
    /// Which one it is.
    pub fn metric(&self) -> Metric {
        match self {
            Self::Plain(measure) => Metric::Plain(*measure),
            Self::Lpips(network, _) => Metric::Lpips(*network),
        }
    }

    /// The value for one pair; several measures of one pair share work. NaN if an image holds one.
    ///
    /// # Errors
    /// [`MetricError::TooSmall`] below [`Metric::smallest_side`], and those of the network.
    pub fn value(&self, pair: &Pair) -> Result<f64, FeatureError> {
        match self {
            Self::Plain(measure) => Ok(measure.of(pair)?),
            Self::Lpips(network, seen) => network.definition().value(pair, |pair| {
                let [pred, target] = pair.images().map(tensor);
                network.distance(seen, &pred?, &target?)
            }),
        }
    }
}

/// An image as `(1, 3, H, W)`.
fn tensor(image: &Image) -> candle_core::Result<Tensor> {
    let shape = (1, 3, image.height(), image.width());
    Tensor::from_slice(image.values(), shape, &Device::Cpu)?.to_dtype(DType::F32)
}
