//! DINOv2, as sets of images are compared through it.

use crate::FeatureError;
use crate::normalise::normalise;
use crate::positions::resized;
use crate::published::dinov2 as published;
use candle_core::{DType, Device, IndexOp, Module, Shape, Tensor};
use candle_nn::{Activation, LayerNorm, VarBuilder};
use candle_transformers::models::vit;
use colormamba_layers::{Init, Params};
use colormamba_ops::{Node, OpError};
use std::collections::HashMap;
use std::path::Path;

/// The name of the weights' description.
pub(crate) const NAME: &str = "dinov2-vitl14";
/// PyTorch's default is ten times it.
const LAYER_NORM_EPS: f64 = 1e-6;

/// Sizes of a DINOv2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dinov2Config {
    /// Width of a token: the number of features.
    pub width: usize,
    /// Layers.
    pub depth: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Side of the image in pixels, in patches without rest.
    pub side: usize,
    /// Patches along a side of the images of training, for which there are positions.
    pub trained: usize,
    /// What is added to the patches along a side before positions are stretched to them: 0.1 in the authors' program,
    /// with which published distances were computed; 0 in Hugging Face's transformers.
    pub offset: f64,
}

impl Dinov2Config {
    /// ViT-L/14 on images of 224x224 pixels, as its authors' program (facebookresearch/dinov2) computes it.
    pub const VIT_L14: Self =
        Self { width: 1024, depth: 24, heads: 16, patch: 14, side: 224, trained: 37, offset: 0.1 };

    /// Patches along a side.
    fn grid(&self) -> usize {
        self.side / self.patch
    }

    /// The same sizes as candle-transformers has them.
    fn vit(&self) -> vit::Config {
        vit::Config {
            hidden_size: self.width,
            num_hidden_layers: self.depth,
            num_attention_heads: self.heads,
            intermediate_size: 4 * self.width,
            hidden_act: Activation::Gelu,
            layer_norm_eps: LAYER_NORM_EPS,
            image_size: self.side,
            patch_size: self.patch,
            num_channels: 3,
            qkv_bias: true,
        }
    }
}

/// DINOv2's class token, in f32. The weights are constants: no gradient is ever computed for them.
///
/// The network is candle-transformers' vision transformer `vit`, which it is once the scales of its layers are
/// multiplied into the projections before them and its positions are resized. candle-transformers' own `dinov2` and
/// `dinov2reg4` are others: their GELU is an approximation, positions are taken from the nearest, and the class token
/// does not come out alone.
///
/// Source: Oquab et al., "DINOv2: learning robust visual features without supervision", TMLR 2024, arXiv 2304.07193.
pub struct Dinov2 {
    config: Dinov2Config,
    embeddings: vit::Embeddings,
    encoder: vit::Encoder,
    norm: LayerNorm,
}

impl Dinov2 {
    /// Weights from `tensor(name, shape)`, which is asked for the names of Hugging Face's file: `embeddings.cls_token`,
    /// `embeddings.position_embeddings`, `embeddings.patch_embeddings.projection`, `layernorm`, and of each
    /// `encoder.layer.N` `norm1`, `attention.attention.query`, `.key`, `.value`, `attention.output.dense`,
    /// `layer_scale1.lambda1`, `norm2`, `mlp.fc1`, `mlp.fc2`, `layer_scale2.lambda1`.
    ///
    /// # Errors
    /// Those of `tensor`, and [`FeatureError::FeatureShape`] if it returns another shape.
    pub fn from_fn(
        config: Dinov2Config,
        device: &Device,
        mut tensor: impl FnMut(&str, &Shape) -> Result<Tensor, FeatureError>,
    ) -> Result<Self, FeatureError> {
        let mut get = |name: String, want: &[usize]| -> Result<Tensor, FeatureError> {
            let want = Shape::from(want);
            let value = tensor(&name, &want)?;
            if value.shape() != &want {
                return Err(FeatureError::FeatureShape { weights: NAME, name, want, got: value.shape().clone() });
            }
            Ok(value.detach().to_dtype(DType::F32)?.to_device(device)?.contiguous()?)
        };
        let mut tensors = HashMap::new();
        embeddings(&config, &mut get, &mut tensors)?;
        (0..config.depth).try_for_each(|layer| encoder_layer(&config, layer, &mut get, &mut tensors))?;
        let norm = LayerNorm::new(
            get("layernorm.weight".into(), &[config.width])?,
            get("layernorm.bias".into(), &[config.width])?,
            LAYER_NORM_EPS,
        );
        let (weights, vit) = (VarBuilder::from_tensors(tensors, DType::F32, device), config.vit());
        let embeddings = vit::Embeddings::new(&vit, false, weights.pp("embeddings"))?;
        let encoder = vit::Encoder::new(&vit, weights.pp("encoder"))?;
        Ok(Self { config, embeddings, encoder, norm })
    }

    /// Random weights that follow from `seed`; they need no file.
    ///
    /// Matrices are uniform with variance 1 / fan_in, scales are 1, biases 0: tokens keep their scale through all
    /// layers.
    ///
    /// # Errors
    /// Those of the device.
    pub fn random(config: Dinov2Config, seed: u64, device: &Device) -> Result<Self, FeatureError> {
        let params = Params::new(seed, DType::F32, device);
        Self::from_fn(config, device, |name, shape| {
            let init = match shape.dims() {
                _ if name.ends_with("_token") || name.ends_with("_embeddings") => Init::Uniform { bound: 1.0 },
                [_] if name.ends_with("bias") => Init::Constant(0.0),
                [_] => Init::Constant(1.0),
                [outputs, ..] => Init::Uniform { bound: (3.0 * *outputs as f64 / shape.elem_count() as f64).sqrt() },
                [] => Init::Constant(1.0),
            };
            Ok(params.root().weight(name, shape.clone(), init)?)
        })
    }

    /// ViT-L/14 with the published weights, whose file lies in `folder`.
    ///
    /// # Errors
    /// [`FeatureError::FileMissing`], and those of [`Self::load`].
    pub fn pretrained(folder: &Path, device: &Device) -> Result<Self, FeatureError> {
        let path = published().find(NAME, folder)?;
        Self::load(Dinov2Config::VIT_L14, &path, device)
    }

    /// Weights from a file with the names of [`Self::from_fn`]; other tensors in it are ignored.
    ///
    /// # Errors
    /// [`FeatureError::FileMissing`], [`FeatureError::FileUnreadable`], [`FeatureError::FileTensor`] and
    /// [`FeatureError::FileShape`], each with what to do about it.
    pub fn load(config: Dinov2Config, path: &Path, device: &Device) -> Result<Self, FeatureError> {
        let file = published().open(NAME, path)?;
        Self::from_fn(config, device, |name, shape| file.tensor(name, shape))
    }

    /// Its sizes.
    pub fn config(&self) -> &Dinov2Config {
        &self.config
    }

    /// The class token behind the last layer norm, `(B, width)`, of f32 images `(B, 3, side, side)` in [0, 1]; they are
    /// normalised by ImageNet's mean and standard deviation here.
    ///
    /// # Errors
    /// [`FeatureError::Candle`] if the images are something else.
    pub fn features(&self, images: &Tensor) -> Result<Tensor, FeatureError> {
        let side = self.config.side;
        if !matches!(*images.dims(), [_, 3, h, w] if (h, w) == (side, side)) {
            return Err(OpError::shape("dinov2", format!("(B, 3, {side}, {side})"), images.shape()).into());
        }
        let tokens = self.embeddings.forward(normalise(&Node::from(images))?.value(), None, false)?;
        let class = self.encoder.forward(&tokens)?.i((.., 0))?;
        Ok(self.norm.forward(&class.contiguous()?)?)
    }
}

/// Asks for a tensor of a name and shape.
type Get<'a> = dyn FnMut(String, &[usize]) -> Result<Tensor, FeatureError> + 'a;

/// What makes tokens of an image, with positions for its grid.
fn embeddings(
    config: &Dinov2Config,
    get: &mut Get<'_>,
    tensors: &mut HashMap<String, Tensor>,
) -> Result<(), FeatureError> {
    let (width, patch, trained) = (config.width, config.patch, config.trained);
    let path = |name: &str| format!("embeddings.{name}");
    let shapes: [(&str, &[usize]); 3] = [
        ("cls_token", &[1, 1, width]),
        ("patch_embeddings.projection.weight", &[width, 3, patch, patch]),
        ("patch_embeddings.projection.bias", &[width]),
    ];
    for (name, shape) in shapes {
        tensors.insert(path(name), get(path(name), shape)?);
    }
    let name = path("position_embeddings");
    let positions = get(name.clone(), &[1, 1 + trained * trained, width])?;
    tensors.insert(name, resized(&positions, trained, config.grid(), config.offset)?);
    Ok(())
}

/// A layer under the names of candle-transformers' `vit`. What its two projections give is scaled there by a vector of
/// the layer: a projection of scaled weights gives the same.
fn encoder_layer(
    config: &Dinov2Config,
    layer: usize,
    get: &mut Get<'_>,
    tensors: &mut HashMap<String, Tensor>,
) -> Result<(), FeatureError> {
    let (width, inner) = (config.width, 4 * config.width);
    let path = |name: &str| format!("encoder.layer.{layer}.{name}");
    // The name there, the name in the file, inputs and outputs, the scale.
    let linear = [
        ("attention.attention.query", "attention.attention.query", (width, width), None),
        ("attention.attention.key", "attention.attention.key", (width, width), None),
        ("attention.attention.value", "attention.attention.value", (width, width), None),
        ("attention.output.dense", "attention.output.dense", (width, width), Some("layer_scale1.lambda1")),
        ("intermediate.dense", "mlp.fc1", (width, inner), None),
        ("output.dense", "mlp.fc2", (inner, width), Some("layer_scale2.lambda1")),
    ];
    for (theirs, ours, (inputs, outputs), scale) in linear {
        let mut weight = get(path(&format!("{ours}.weight")), &[outputs, inputs])?;
        let mut bias = get(path(&format!("{ours}.bias")), &[outputs])?;
        if let Some(scale) = scale {
            let scale = get(path(scale), &[outputs])?;
            weight = weight.broadcast_mul(&scale.unsqueeze(1)?)?;
            bias = (bias * scale)?;
        }
        tensors.insert(path(&format!("{theirs}.weight")), weight);
        tensors.insert(path(&format!("{theirs}.bias")), bias);
    }
    for (theirs, ours) in [("layernorm_before", "norm1"), ("layernorm_after", "norm2")] {
        for part in ["weight", "bias"] {
            let value = get(path(&format!("{ours}.{part}")), &[width])?;
            tensors.insert(path(&format!("{theirs}.{part}")), value);
        }
    }
    Ok(())
}
