//! Compiles the CUDA kernels.

fn main() {
    colormamba_cuda_build::compile(&[
        "attention",
        "conv",
        "depthwise_conv",
        "depthwise_image",
        "instance_norm",
        "linear",
        "planes",
        "pointwise",
        "rows",
        "sums",
    ]);
}
