//! Tensor operations that candle lacks, has wrong, or has slow, as plain functions over [`candle_core::Tensor`].
//!
//! Every operation has a forward and a gradient, takes any layout and any batch size, and returns a contiguous tensor. Images
//! are `(B, C, H, W)`; token maps are `(B, H, W, C)` or `(B, L, C)`.
//!
//! # Types
//! All arguments are f32, or all are f64. On a GPU activations may also be bf16, and parameters (weights, biases, scales)
//! f32 beside them, as their gradients are then.
//!
//! # Errors
//! All functions return [`candle_core::Error`]; what a caller can get wrong is an [`OpError`] inside it, with the
//! operation's name and the shapes.
//!
//! ```
//! use candle_core::{Device, Tensor, Var};
//! use colormamba_ops::{leaky_relu, linear};
//!
//! let x = Var::new(&[[1f64, -2.0]], &Device::Cpu)?;
//! let weight = Tensor::new(&[[1f64, 1.0], [3.0, 0.0]], &Device::Cpu)?;
//! let y = leaky_relu(linear(&x, &weight, None)?, 0.5)?;
//! assert_eq!(y.value().to_vec2::<f64>()?, [[-0.5, 3.0]]);
//! let gradients = y.backward(&Tensor::new(&[[1f64, 1.0]], &Device::Cpu)?)?;
//! assert_eq!(gradients.get(&x).map(|grad| grad.to_vec2::<f64>()).transpose()?, Some(vec![vec![3.5, 0.5]]));
//! # Ok::<(), candle_core::Error>(())
//! ```

// What the build script made of the CUDA kernels.
mod kernels {
    include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
}

mod activation;
mod arrange;
mod attention;
mod conv;
mod criss_cross;
mod elementwise;
mod gemm;
mod graph;
mod linear;
mod memory;
mod norm;
mod offset_gain;
mod operands;
mod pad;
mod pointwise;
mod pool;
pub mod profile;
mod resize;
mod separable;
mod simd;
mod softmax;
mod sums;
mod windows;

pub use activation::{
    Activation, gelu, leaky_relu, leaky_relu_tangent, logistic, relu, sigmoid, silu, silu_gate, tanh,
};
pub use arrange::{image_from_tokens, tokens_from_image};
pub use attention::attention;
pub use colormamba_cpu::OpError;
pub use conv::{
    Conv2dConfig, conv_transpose2d, conv_transpose2d_fused, conv2d, conv2d_fused, depthwise_conv2d, depthwise_conv3x3,
};
pub use criss_cross::criss_cross;
pub use elementwise::{add, scale_add, scale_maps};
pub use graph::{Node, backward, in_candle, in_nodes};
pub use linear::linear;
pub use norm::{BatchStats, batch_norm_eval, batch_norm_train, instance_norm, layer_norm, spade_norm};
pub use offset_gain::{logits, offset_gain};
pub use pad::{crop_ring, pad2d, reflect_pad2d, replicate_pad2d, zero_ring};
pub use pool::{adaptive_avg_pool_tokens, avg_pool2d, blur_pool2d, max_pool2d};
pub use resize::{resize_bilinear2d, resize_nearest2d, upsample_bilinear2d};
pub use softmax::softmax;
pub use windows::{max_filter2d, max_pool3x3};
