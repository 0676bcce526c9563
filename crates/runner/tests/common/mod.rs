//! The real binary, and small inputs for it.

use candle_core::{DType, Device, Tensor};
use colormamba::{EdgeMap, GENERATOR, Generator, GeneratorConfig, checkpoint};
use colormamba_layers::Params;
use colormamba_lite::Lite;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

/// Two loss configurations on procedural scenes, as small as the model allows: two epochs of two steps.
pub const TINY: &str = r#"
name = "tiny"
[data]
dataset = "synthetic"
protocol = "raw"
size = 64
synthetic = { seed = 0, train = 4, validation = 2, test = 1 }
[model]
width = 8
depth = 6
edge_map = "spatial"
[train]
epochs = 2
batch = 2
critic_width = 8
optimizer = { kind = "adam", lr = 1e-3 }
schedule = { kind = "step", every = 1, factor = 0.5 }
[augmentation]
mirror = 0.5
contrast = 0.5
crop = 48
[[variant]]
name = "mse"
loss.rgb = { mse = 100 }
[[variant]]
name = "adversarial"
loss.rgb = { mse = 100, l1 = 1 }
loss.hsv = { mse = 10 }
loss.adversarial = { kind = "lsgan", weight = 0.5 }
"#;

/// Runs the binary in `folder` with two worker threads.
pub fn colormamba(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_colormamba"));
    command.args(["--threads", "2"]).args(args).current_dir(folder).output().unwrap()
}

/// Runs the binary and expects success; returns standard output.
pub fn succeed(folder: &Path, args: &[&str]) -> String {
    let output = colormamba(folder, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs the binary and expects this exit code; returns standard error.
pub fn fail(folder: &Path, code: i32, args: &[&str]) -> String {
    let output = colormamba(folder, args);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    text
}

/// Asserts that `text` contains every one of `wanted`.
pub fn says(text: &str, wanted: &[&str]) {
    for part in wanted {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

/// Seeded weights of a network of local coefficients, with the header of a run. Offsets of 0 and gains of 1 would make
/// gray, so they are others.
pub fn write_lite_weights(path: &Path) {
    write_lite(path, |name, tensor| match name {
        "out.bias" => Tensor::new(&[0.4_f32, -0.2, -0.7, 1.2, 0.9, 0.6], &Device::Cpu).unwrap(),
        "out.weight" => tensor.affine(0.0, 0.02).unwrap(),
        _ => tensor,
    });
}

/// Such weights as a training starts with, which give the NIR image in each colour.
pub fn write_gray_lite_weights(path: &Path) {
    write_lite(path, |_, tensor| tensor);
}

fn write_lite(path: &Path, changed: impl Fn(&str, Tensor) -> Tensor) {
    let params = Params::new(3, DType::F32, &Device::Cpu);
    Lite::new(&params.root(), 4).unwrap();
    let own = params.tensors().into_iter();
    let tensors = own.map(|(name, tensor)| (format!("{GENERATOR}{name}"), changed(&name, tensor))).collect();
    let header =
        [("kind", "lite"), ("options", r#"{"width":4}"#), ("protocol", "raw"), ("nir_hsv", "gray"), ("size", "256")];
    let header: BTreeMap<_, _> = header.into_iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    checkpoint::save(path, &tensors, &header).unwrap();
}

/// Untrained weights with the header of a run.
pub fn write_weights(path: &Path, width: usize) {
    let params = Params::new(0, DType::F32, &Device::Cpu);
    let config = GeneratorConfig::new(width, 6, EdgeMap::Spatial).unwrap();
    Generator::new(&params.root(), &config).unwrap();
    let tensors = params.tensors().into_iter().map(|(name, tensor)| (format!("{GENERATOR}{name}"), tensor)).collect();
    let width = width.to_string();
    let header =
        [("width", width.as_str()), ("edge_map", "spatial"), ("protocol", "raw"), ("nir_hsv", "gray"), ("size", "64")];
    let header: BTreeMap<_, _> = header.into_iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    checkpoint::save(path, &tensors, &header).unwrap();
}
