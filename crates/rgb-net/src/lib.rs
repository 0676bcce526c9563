//! G_A, the RGB network of ColorMamba (arXiv 2408.08087).
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use colormamba_rgb_net::EdgeMap;
//!
//! // Where the brightness bends: one bright pixel, its four neighbours and the rest.
//! let image = Tensor::zeros((1, 1, 5, 5), DType::F32, &Device::Cpu)?;
//! let bright = Tensor::ones((1, 1, 1, 1), DType::F32, &Device::Cpu)?;
//! let edges = EdgeMap::Spatial.compute(&image.slice_assign(&[0..1, 0..1, 2..3, 2..3], &bright)?)?;
//! assert_eq!(edges.flatten_all()?.to_vec1::<f32>()?[10..15], [0.8, 1.0, 0.0, 1.0, 0.8]);
//! # Ok::<(), candle_core::Error>(())
//! ```

// What the build script made of the CUDA kernels.
mod kernels {
    include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
}

mod criss_cross;
mod edge_map;
mod net;

pub use criss_cross::CrissCross;
pub use edge_map::{EdgeMap, UnknownEdgeMap};
pub use net::RgbNet;
