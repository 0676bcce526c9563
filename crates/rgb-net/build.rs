//! Compiles the CUDA kernels.

fn main() {
    colormamba_cuda_build::compile(&["edge_map"]);
}
