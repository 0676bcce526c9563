//! Tells the program which CUDA its kernels are compiled with, and for which GPUs.

fn main() {
    if std::env::var_os("CARGO_FEATURE_CUDA").is_some() {
        let toolkit = colormamba_cuda_build::toolkit();
        println!("cargo::rustc-env=KERNELS_CUDA_VERSION={}", toolkit.version());
        println!("cargo::rustc-env=KERNELS_CAPABILITY={}", toolkit.capability);
    }
}
