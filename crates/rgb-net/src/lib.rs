//! G_A, the RGB network of ColorMamba (arXiv 2408.08087).

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
