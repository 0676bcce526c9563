//! G_A, the RGB network of ColorMamba (arXiv 2408.08087).

mod criss_cross;
mod edge_map;
mod net;

pub use criss_cross::CrissCross;
pub use edge_map::{EdgeMap, UnknownEdgeMap};
pub use net::RgbNet;
