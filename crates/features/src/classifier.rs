//! Classifiers with named feature maps.

use crate::file::WeightFile;
use crate::normalise::normalise;
use crate::plan::{Pool, Step, plan};
use crate::{FeatureError, Network, published};
use candle_core::{DType, Device, Result, Shape, Tensor};
use colormamba_layers::{Init, Params};
use colormamba_ops::{
    Activation, Conv2dConfig, Node, blur_pool2d, conv2d_fused, max_filter2d, max_pool2d, max_pool3x3, relu,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A classifier's convolutions. The weights are constants: no gradient is ever computed for them.
pub struct FeatureNetwork {
    network: Network,
    layers: Vec<(Layer, Option<&'static str>)>,
}

enum Layer {
    Conv(Conv),
    Pool(Pool),
    Fire { squeeze: Conv, expand: [Conv; 2] },
}

/// A convolution and a ReLU, with blur pooling between the two if `blur`.
struct Conv {
    weight: Tensor,
    bias: Tensor,
    config: Conv2dConfig,
    blur: bool,
}

impl Conv {
    fn forward(&self, xs: &[Node]) -> Result<Node> {
        let conv = |activation| conv2d_fused(xs, &self.weight, Some(&self.bias), self.config, activation);
        if self.blur { relu(blur_pool2d(conv(Activation::Identity)?)?) } else { conv(Activation::Relu) }
    }
}

impl FeatureNetwork {
    /// Weights from `tensor(name, shape)`, which is asked for torchvision's names: `features.N.weight` `(O, I, k, k)`
    /// and `features.N.bias` `(O)`, for SqueezeNet `features.N.squeeze.weight` and so on for `expand1x1` and
    /// `expand3x3` too; those of ST-LPIPS have `net.sliceM.N` instead of `features.N`. Each weight is followed by its bias.
    /// The classifying layers are not asked for.
    ///
    /// # Errors
    /// Those of `tensor`, and [`FeatureError::FeatureShape`] if it returns another shape.
    pub fn from_fn(
        network: Network,
        dtype: DType,
        device: &Device,
        mut tensor: impl FnMut(&str, &Shape) -> std::result::Result<Tensor, FeatureError>,
    ) -> std::result::Result<Self, FeatureError> {
        let mut get = |name: String, want: Shape| -> std::result::Result<Tensor, FeatureError> {
            let value = tensor(&name, &want)?;
            if value.shape() != &want {
                let got = value.shape().clone();
                return Err(FeatureError::FeatureShape { weights: network.name(), name, want, got });
            }
            Ok(value.detach().to_dtype(dtype)?.to_device(device)?.contiguous()?)
        };
        let mut conv = |path: &str, channels: (usize, usize), kernel: usize, config| {
            let weight = get(format!("{path}.weight"), Shape::from((channels.1, channels.0, kernel, kernel)))?;
            let bias = get(format!("{path}.bias"), Shape::from(channels.1))?;
            Ok::<_, FeatureError>(Conv { weight, bias, config, blur: false })
        };
        let mut layers = Vec::new();
        for layer in plan(network) {
            let built = match layer.step {
                Step::Pool(pool) => Layer::Pool(pool),
                Step::Conv { path, inputs, outputs, kernel, stride, padding, blur } => {
                    let config = Conv2dConfig { stride, padding };
                    Layer::Conv(Conv { blur, ..conv(&path, (inputs, outputs), kernel, config)? })
                }
                Step::Fire { path, inputs, squeeze, expand } => {
                    let path = |name: &str| format!("{path}.{name}");
                    let (point, ring) = (Conv2dConfig::default(), Conv2dConfig { stride: 1, padding: 1 });
                    Layer::Fire {
                        squeeze: conv(&path("squeeze"), (inputs, squeeze), 1, point)?,
                        expand: [
                            conv(&path("expand1x1"), (squeeze, expand), 1, point)?,
                            conv(&path("expand3x3"), (squeeze, expand), 3, ring)?,
                        ],
                    }
                }
            };
            layers.push((built, layer.tap));
        }
        Ok(Self { network, layers })
    }

    /// Random weights that follow from `seed`; they need no file.
    ///
    /// Uniform with variance 2 / fan_in, biases 0: a ReLU halves the mean square, so that features keep their scale
    /// through all layers (He et al., ICCV 2015, arXiv 1502.01852).
    ///
    /// # Errors
    /// Those of the device.
    pub fn random(
        network: Network,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> std::result::Result<Self, FeatureError> {
        let params = Params::new(seed, dtype, device);
        Self::from_fn(network, dtype, device, |name, shape| {
            let init = match shape.dims() {
                [_, i, h, w] => Init::Uniform { bound: (6.0 / (i * h * w) as f64).sqrt() },
                _ => Init::Constant(0.0),
            };
            Ok(params.root().weight(name, shape.clone(), init)?)
        })
    }

    /// The published weights: those that are part of the program ([`Network::built_in`]), or else the file that
    /// [`Self::find`] finds in `folder`.
    ///
    /// # Errors
    /// Those of [`Self::find`] and [`Self::load`].
    pub fn pretrained(
        network: Network,
        folder: &Path,
        dtype: DType,
        device: &Device,
    ) -> std::result::Result<Self, FeatureError> {
        match network.built_in() {
            Some(content) => {
                let file = WeightFile::built_in(network.name(), content)?;
                Self::from_fn(network, dtype, device, |name, shape| file.tensor(name, shape))
            }
            None => Self::load(network, &Self::find(network, folder)?, dtype, device),
        }
    }

    /// Weights from a file of PyTorch's or of safetensors with the names of [`Self::from_fn`] (timm's for VGG are
    /// torchvision's); other tensors in it are ignored. A file that is named as the [`published`] one must be that one.
    ///
    /// # Errors
    /// [`FeatureError::FileMissing`], [`FeatureError::FileChanged`], [`FeatureError::FileUnreadable`],
    /// [`FeatureError::FileTensor`] and [`FeatureError::FileShape`], each with what to do about it.
    pub fn load(
        network: Network,
        path: &Path,
        dtype: DType,
        device: &Device,
    ) -> std::result::Result<Self, FeatureError> {
        let file = published(network).open(network.name(), path)?;
        Self::from_fn(network, dtype, device, |name, shape| file.tensor(name, shape))
    }

    /// Which of the [`published`] files lies in `folder`; the first in the order of the description.
    ///
    /// # Errors
    /// [`FeatureError::FileMissing`] if none does.
    pub fn find(network: Network, folder: &Path) -> std::result::Result<PathBuf, FeatureError> {
        published(network).find(network.name(), folder)
    }

    /// Which network it is.
    pub fn network(&self) -> Network {
        self.network
    }

    /// The feature maps of these names, of an image `(B, 3, H, W)` in [0, 1]; it is normalised by ImageNet's mean and
    /// standard deviation here. Layers behind the last of these maps are not run.
    ///
    /// # Errors
    /// [`FeatureError::UnknownTap`], and [`FeatureError::Candle`] if the image is something else or has a side below
    /// [`Network::smallest_side`].
    pub fn forward(&self, image: &Node, taps: &[String]) -> std::result::Result<BTreeMap<String, Node>, FeatureError> {
        let known = self.network.taps();
        if let Some(tap) = taps.iter().find(|tap| !known.contains(&tap.as_str())) {
            return Err(FeatureError::UnknownTap { network: self.network, tap: tap.clone() });
        }
        let mut found = BTreeMap::new();
        let mut xs = vec![normalise(image)?];
        for (layer, tap) in &self.layers {
            if taps.iter().all(|tap| found.contains_key(tap)) {
                break;
            }
            xs = layer.forward(&xs)?;
            if let Some(tap) = tap.filter(|tap| taps.iter().any(|asked| asked == tap)) {
                found.insert(tap.to_string(), joined(&xs)?);
            }
        }
        Ok(found)
    }
}

impl Layer {
    /// From and to parts of the channels.
    fn forward(&self, xs: &[Node]) -> Result<Vec<Node>> {
        match self {
            Self::Conv(conv) => Ok(vec![conv.forward(xs)?]),
            Self::Pool(pool) => xs.iter().map(|x| pool.forward(x)).collect(),
            Self::Fire { squeeze, expand } => {
                let squeezed = [squeeze.forward(xs)?];
                expand.iter().map(|conv| conv.forward(&squeezed)).collect()
            }
        }
    }
}

impl Pool {
    fn forward(self, x: &Node) -> Result<Node> {
        match self {
            Self::Two => max_pool2d(x),
            Self::Three => max_pool3x3(x, false),
            Self::ThreeUp => max_pool3x3(x, true),
            Self::Blurred(side) => blur_pool2d(max_filter2d(x, side)?),
        }
    }
}

/// All channels in one tensor.
fn joined(xs: &[Node]) -> Result<Node> {
    let [x] = xs else {
        let value = Tensor::cat(&xs.iter().map(Node::value).collect::<Vec<_>>(), 1)?;
        let channels: Vec<usize> = xs.iter().map(|x| x.dims()[1]).collect();
        return Node::of_many(value, &xs.iter().collect::<Vec<_>>(), move |grad| {
            let mut start = 0;
            let part = |count: &usize| {
                start += count;
                Ok(Some(grad.narrow(1, start - count, *count)?))
            };
            channels.iter().map(part).collect()
        });
    };
    Ok(x.clone())
}
