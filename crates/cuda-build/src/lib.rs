//! Compiles the CUDA kernels of a crate in its build script.
//!
//! With the crate's feature `cuda`, by nvcc to machine code for the compute capability in `CUDA_COMPUTE_CAP` (say, 90) and
//! PTX for later ones; with its feature `emulation`, by the C++ compiler against `emulation.h`, to be run on threads of the
//! processor. Either way `$OUT_DIR/kernels.rs` declares one static `colormamba_cuda::Kernels` for each file.
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! # // SAFETY: nothing else runs in this process. Cargo sets it for build scripts.
//! # unsafe { std::env::set_var("OUT_DIR", folder.path()) };
//! // In build.rs, for the file kernels/scan.cu:
//! colormamba_cuda_build::compile(&["scan"]);
//! # let declared = std::fs::read_to_string(folder.path().join("kernels.rs"))?;
//! # assert!(declared.contains("static SCAN: colormamba_cuda::Kernels"), "{declared}");
//! # Ok::<(), std::io::Error>(())
//! ```

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles `kernels/NAME.cu` for each of `names`.
///
/// # Panics
/// If a compiler is missing or refuses: a build script has no other way to say so.
pub fn compile(names: &[&str]) {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cuda/include");
    println!("cargo::rerun-if-changed={}", include.display());
    println!("cargo::rerun-if-changed=kernels");
    let (cuda, emulation) = (feature("CUDA"), feature("EMULATION"));
    if cuda {
        let toolkit = toolkit();
        names.iter().for_each(|name| toolkit.compile(name, &include));
    }
    // A library of no files is an error.
    if emulation && !names.is_empty() {
        println!("cargo::rerun-if-env-changed=CXXFLAGS");
        host_code(names, &include);
    }
    let declarations: String = names.iter().map(|name| declaration(name, cuda, emulation)).collect();
    std::fs::write(out_folder().join("kernels.rs"), declarations).expect("cannot write kernels.rs");
}

fn feature(name: &str) -> bool {
    env::var_os(format!("CARGO_FEATURE_{name}")).is_some()
}

fn out_folder() -> PathBuf {
    PathBuf::from(env::var_os("OUT_DIR").expect("no OUT_DIR: not a build script"))
}

fn source(name: &str) -> String {
    format!("kernels/{name}.cu")
}

/// The CUDA compiler, and the GPUs to compile for.
pub struct Toolkit {
    nvcc: PathBuf,
    /// The lowest compute capability, 90 for 9.0.
    pub capability: String,
}

/// That of `CUDA_HOME`, or the `nvcc` in the path; the capability in `CUDA_COMPUTE_CAP`.
///
/// # Panics
/// Without `CUDA_COMPUTE_CAP`.
pub fn toolkit() -> Toolkit {
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    let capability = env::var("CUDA_COMPUTE_CAP").expect("set CUDA_COMPUTE_CAP to the GPU's capability, say 90");
    let nvcc = env::var_os("CUDA_HOME").map_or_else(|| PathBuf::from("nvcc"), |home| Path::new(&home).join("bin/nvcc"));
    Toolkit { nvcc, capability }
}

impl Toolkit {
    /// The compiler's release, such as 13.0.
    ///
    /// # Panics
    /// If it cannot be run, or does not say.
    pub fn version(&self) -> String {
        let output = Command::new(&self.nvcc).arg("--version").output();
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", self.nvcc.display()));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let release = text.split("release ").nth(1).and_then(|rest| rest.split(',').next());
        release.unwrap_or_else(|| panic!("{} --version: {text}", self.nvcc.display())).to_string()
    }

    fn compile(&self, name: &str, include: &Path) {
        let target = format!("arch=compute_{0},code=[sm_{0},compute_{0}]", self.capability);
        let mut command = Command::new(&self.nvcc);
        command.args(["-fatbin", "-O3", "-std=c++17", "--expt-relaxed-constexpr", "-gencode", &target, "-I"]);
        command.arg(include).arg("-o").arg(out_folder().join(format!("{name}.fatbin"))).arg(source(name));
        let status = command.status().unwrap_or_else(|error| panic!("{}: {error}", self.nvcc.display()));
        assert!(status.success(), "{} refused {}", self.nvcc.display(), source(name));
    }
}

fn host_code(names: &[&str], include: &Path) {
    let package = env::var("CARGO_PKG_NAME").expect("no CARGO_PKG_NAME: not a build script");
    let mut build = cc::Build::new();
    // Optimised even in test builds; a fused multiply-add rounds differently from the two operations, as on a GPU.
    build.cpp(true).std("c++20").opt_level(2).debug(true).include(include).define("EMULATED", None);
    build.flag("-x").flag("c++").flag("-pthread").flag_if_supported("-Wno-unknown-pragmas");
    names.iter().for_each(|name| {
        build.file(source(name));
    });
    build.compile(&format!("{package}-kernels"));
}

fn declaration(name: &str, cuda: bool, emulation: bool) -> String {
    let upper = name.to_uppercase();
    let mut text = String::new();
    if emulation {
        let _ = writeln!(
            text,
            "unsafe extern \"C\" {{ fn kernels_of_{name}(count: *mut usize) -> *const colormamba_cuda::Emulated; }}"
        );
    }
    let _ = writeln!(text, "pub(crate) static {upper}: colormamba_cuda::Kernels = colormamba_cuda::Kernels {{");
    let _ = writeln!(text, "    name: \"{name}\",");
    if cuda {
        let _ = writeln!(text, "    image: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}.fatbin\")),");
    }
    if emulation {
        let _ = writeln!(text, "    table: kernels_of_{name},");
    }
    text + "};\n"
}
