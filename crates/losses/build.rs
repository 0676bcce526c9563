//! Compiles the CUDA kernels.

fn main() {
    colormamba_cuda_build::compile(&["cosine", "histogram", "mean", "pixelwise", "structure"]);
}
