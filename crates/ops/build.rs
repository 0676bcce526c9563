//! Compiles the CUDA kernels.

fn main() {
    colormamba_cuda_build::compile(&["conv", "instance_norm", "linear", "sums"]);
}
