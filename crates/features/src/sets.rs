//! Measures of two sets of images.

use colormamba_metrics::{Best, Definition, FeatureSet, MetricError, SetError, frechet_distance, kernel_distance};
use std::str::FromStr;

/// A measure of two sets of images by their features of [`Dinov2`](crate::Dinov2): one value for all images of both,
/// which need no partners.
///
/// Source: Stein et al., "Exposing flaws of generative model evaluation metrics and their unfair treatment of diffusion
/// models", NeurIPS 2023, arXiv 2306.04675, whose program (layer6ai-labs/dgm-eval) gives the protocol: ViT-L/14's class
/// token of images that are squeezed to 224x224 by Pillow's bicubic resampling. `positions+0.1` in the specs: positions are
/// resized by a factor of (16 + 0.1) / 37, as the authors' program does; others take 16 / 37.
///
/// ```
/// use colormamba_features::SetMetric;
/// use colormamba_metrics::FeatureSet;
/// let metric: SetMetric = "fd_dinov2".parse()?;
/// // Two images a set, two features an image: the means are 1 apart, the covariances equal.
/// let sets = [[0.0, 1.0, 2.0, 3.0], [1.0, 1.0, 3.0, 3.0]].map(|values| FeatureSet::new(&values, 2));
/// let [pred, target] = sets;
/// assert!((metric.value(&pred?, &target?)? - 1.0).abs() < 1e-6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetMetric {
    /// [`frechet_distance`].
    FrechetDinov2,
    /// [`kernel_distance`], for sets of fewer images than features.
    KernelDinov2,
}

impl SetMetric {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::FrechetDinov2, Self::KernelDinov2];

    /// What is known of it without computing it.
    pub fn definition(self) -> &'static Definition {
        match self {
            Self::FrechetDinov2 => {
                &const { definition("fd[dinov2-vitl14,class-token,224x224,positions+0.1]", "fd_dinov2", "FD DINOv2") }
            }
            Self::KernelDinov2 => {
                &const {
                    definition(
                        "kd[dinov2-vitl14,class-token,224x224,positions+0.1,cubic,all-pairs]",
                        "kd_dinov2",
                        "KD DINOv2",
                    )
                }
            }
        }
    }

    /// The value for the features of two sets.
    ///
    /// # Errors
    /// Those of [`frechet_distance`] and [`kernel_distance`].
    pub fn value(self, pred: &FeatureSet, target: &FeatureSet) -> Result<f64, SetError> {
        match self {
            Self::FrechetDinov2 => frechet_distance(pred, target),
            Self::KernelDinov2 => kernel_distance(pred, target),
        }
    }

    /// Whether a set of fewer images than features makes its value one of the number of images rather than of the
    /// images.
    pub fn needs_full_rank(self) -> bool {
        self == Self::FrechetDinov2
    }
}

impl FromStr for SetMetric {
    type Err = MetricError;

    /// The measure of this spec or short name.
    fn from_str(name: &str) -> Result<Self, MetricError> {
        Definition::find(name, Self::ALL, |metric| metric.definition())
    }
}

/// Images of every size are resized.
const fn definition(spec: &'static str, name: &'static str, label: &'static str) -> Definition {
    Definition { spec, name, label, unit: "", best: Best::Lowest, smallest_side: 1 }
}
