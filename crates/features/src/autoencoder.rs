//! The auto-encoder of the published loss.

use crate::FeatureError;
use crate::file::WeightFile;
use candle_core::{DType, Device, Result, Shape, Tensor};
use colormamba_layers::{Init, Params};
use colormamba_ops::{Activation, Conv2dConfig, Node, conv2d_fused, replicate_pad2d};
use std::path::Path;

/// Channels in and out of the four blocks, and their stride.
const BLOCKS: [(usize, usize, usize); 4] = [(6, 16, 1), (16, 32, 2), (32, 64, 2), (64, 128, 2)];
const SLOPE: f64 = 0.01;
/// The name of the weights' description.
const NAME: &str = "autoencoder";

struct Block {
    weight: Tensor,
    bias: Tensor,
    stride: usize,
}

/// φ of the feature terms: the first four blocks of a fixed auto-encoder, each a replicate padding of 1, a 3x3
/// convolution and a leaky ReLU of slope 0.01; widths 16, 32, 64, 128, strides 1, 2, 2, 2.
///
/// The auto-encoder takes six channels, which are the image twice. The weights are constants: no gradient is ever
/// computed for them.
///
/// Source: the auto-encoder of GAN-STFM (Tan et al., IEEE TGRS 2022, doi:10.1109/TGRS.2021.3050551), as ColorMamba
/// uses it (arXiv 2408.08087).
pub struct AutoencoderFeatures {
    blocks: Vec<Block>,
}

impl AutoencoderFeatures {
    /// Weights from `tensor(name, shape)`, which is asked for `conv{1..4}.0.1.weight` `(O, I, 3, 3)` and `.bias` `(O)`.
    ///
    /// # Errors
    /// Those of `tensor`, and [`FeatureError::FeatureShape`] if it returns another shape.
    pub fn from_fn(
        dtype: DType,
        device: &Device,
        mut tensor: impl FnMut(&str, &Shape) -> std::result::Result<Tensor, FeatureError>,
    ) -> std::result::Result<Self, FeatureError> {
        let mut get = |name: String, want: Shape| -> std::result::Result<Tensor, FeatureError> {
            let value = tensor(&name, &want)?;
            if value.shape() != &want {
                return Err(FeatureError::FeatureShape { weights: NAME, name, want, got: value.shape().clone() });
            }
            Ok(value.detach().to_dtype(dtype)?.to_device(device)?)
        };
        let mut blocks = Vec::with_capacity(BLOCKS.len());
        for (index, (i, o, stride)) in BLOCKS.into_iter().enumerate() {
            let path = format!("conv{}.0.1", index + 1);
            let weight = get(format!("{path}.weight"), Shape::from((o, i, 3, 3)))?;
            let bias = get(format!("{path}.bias"), Shape::from(o))?;
            // A convolution of an image beside itself is one of the image with the two halves of the kernel summed up.
            let weight = if index == 0 { (weight.narrow(1, 0, 3)? + weight.narrow(1, 3, 3)?)? } else { weight };
            blocks.push(Block { weight, bias, stride });
        }
        Ok(Self { blocks })
    }

    /// Random weights (PyTorch's default for convolutions) that follow from `seed`; they need no file.
    ///
    /// # Errors
    /// Those of the device.
    pub fn random(seed: u64, dtype: DType, device: &Device) -> std::result::Result<Self, FeatureError> {
        let params = Params::new(seed, dtype, device);
        let mut fan_in = 1;
        Self::from_fn(dtype, device, |name, shape| {
            // Each bias follows its weight, whose fan-in it shares.
            if let [_, i, h, w] = shape.dims() {
                fan_in = i * h * w;
            }
            Ok(params.root().weight(name, shape.clone(), Init::fan_in(fan_in))?)
        })
    }

    /// Weights from `autoencoder.pth`, or from another file of safetensors or PyTorch's with the same names. Other
    /// tensors in the file are ignored.
    ///
    /// # Errors
    /// [`FeatureError::FileMissing`], [`FeatureError::FileChanged`], [`FeatureError::FileUnreadable`],
    /// [`FeatureError::FileTensor`] and [`FeatureError::FileShape`], each with what to do about it.
    pub fn load(path: &Path, dtype: DType, device: &Device) -> std::result::Result<Self, FeatureError> {
        if crate::published::is_missing(path) {
            let advice = "they are not ours to ship; `colormamba weights fetch autoencoder` says where to get them, as does \
                          weights/autoencoder.toml";
            let (path, advice) = (path.to_path_buf(), advice.to_string());
            return Err(FeatureError::FileMissing { weights: NAME, path, advice });
        }
        if path.file_name().is_some_and(|name| name == PUBLISHED) {
            verify(path)?;
        }
        let file = WeightFile::open(NAME, path)?;
        Self::from_fn(dtype, device, |name, shape| file.tensor(name, shape))
    }

    /// `(B, 3, H, W)` to `(B, 128, ⌈H/8⌉, ⌈W/8⌉)`.
    ///
    /// # Errors
    /// If `x` is something else.
    pub fn forward(&self, x: impl Into<Node>) -> Result<Node> {
        let mut x = x.into();
        for Block { weight, bias, stride } in &self.blocks {
            let config = Conv2dConfig { stride: *stride, padding: 0 };
            let padded = [replicate_pad2d(x, 1)?];
            x = conv2d_fused(&padded, weight, Some(bias), config, Activation::LeakyRelu(SLOPE))?;
        }
        Ok(x)
    }
}

/// The name of the published file.
const PUBLISHED: &str = "autoencoder.pth";

/// Fails unless the file is the one that `weights/autoencoder.toml` describes, by its BLAKE3: the repository that it comes
/// from holds more than one version.
fn verify(path: &Path) -> std::result::Result<(), FeatureError> {
    #[derive(serde::Deserialize)]
    struct Description {
        blake3: String,
    }
    let unreadable = |error: std::io::Error| FeatureError::unreadable(NAME, path, error);
    let description: Description = toml::from_str(include_str!("../../../weights/autoencoder.toml"))
        .map_err(|e| unreadable(std::io::Error::other(e)))?;
    let content = std::fs::read(path).map_err(unreadable)?;
    let got = blake3::hash(&content).to_hex().to_string();
    if got == description.blake3 {
        return Ok(());
    }
    Err(FeatureError::FileChanged { weights: NAME, path: path.to_path_buf(), want: description.blake3, got })
}
