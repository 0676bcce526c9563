//! Files that PyTorch's `torch.save` writes serve wherever weights do.

use crate::common::{TINY, says, succeed, write_weights};
use candle_core::{DType, Device, Tensor};
use colormamba::{GENERATOR, checkpoint};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use tempfile::{TempDir, tempdir};
use zip::write::{SimpleFileOptions, ZipWriter};

type Tensors = Vec<(String, Tensor)>;

/// A pickled text.
fn text(name: &str) -> Vec<u8> {
    [b"X", &(name.len() as u32).to_le_bytes()[..], name.as_bytes()].concat()
}

/// A pickled tuple of whole numbers.
fn tuple(numbers: &[usize]) -> Vec<u8> {
    let number = |n: &usize| [b"J", &(*n as i32).to_le_bytes()[..]].concat();
    [b"(", &numbers.iter().flat_map(number).collect::<Vec<u8>>()[..], b"t"].concat()
}

/// A pickled tensor: what rebuilds it, with its storage by its number, its shape and its strides.
fn tensor(number: usize, tensor: &Tensor) -> Vec<u8> {
    let shape = tensor.dims();
    let strides: Vec<usize> = (0..shape.len()).map(|i| shape[i + 1..].iter().product()).collect();
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        &text("storage")[..],
        b"ctorch\nFloatStorage\n",
        &text(&number.to_string()),
        &text("cpu"),
        &[b"J", &(tensor.elem_count() as i32).to_le_bytes()[..]].concat(),
        b"tQJ\0\0\0\0",
        &tuple(shape),
        &tuple(&strides),
        b"\x89ccollections\nOrderedDict\n)RtR",
    ]
    .concat()
}

/// A state dict in the form that `torch.save` has written since PyTorch 1.6: a zip archive of a pickle and its
/// storages.
fn save(path: &Path, tensors: &Tensors) {
    let mut pickle = b"\x80\x02}(".to_vec();
    for (number, (name, values)) in tensors.iter().enumerate() {
        pickle.extend([text(name), tensor(number, values)].concat());
    }
    pickle.extend(b"u.");
    let mut zip = ZipWriter::new(File::create(path).unwrap());
    let mut add = |name: &str, content: &[u8]| {
        let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        zip.start_file(format!("archive/{name}"), stored).unwrap();
        zip.write_all(content).unwrap();
    };
    add("data.pkl", &pickle);
    for (number, (_, values)) in tensors.iter().enumerate() {
        let values: Vec<f32> = values.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap();
        add(&format!("data/{number}"), &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
    }
    add("version", b"3\n");
    zip.finish().unwrap();
}

/// A folder with images, and with the same weights as a checkpoint without a word on their training and as `net.pth`.
fn folder() -> (TempDir, Tensors) {
    let folder = tempdir().unwrap();
    let root = folder.path();
    write_weights(&root.join("run.safetensors"), 8);
    let checkpoint = checkpoint::load(&root.join("run.safetensors"), &Device::Cpu).unwrap();
    let tensors: Tensors = checkpoint.under(GENERATOR).into_iter().collect();
    candle_core::safetensors::save(&tensors.iter().cloned().collect(), root.join("net.safetensors")).unwrap();
    save(&root.join("net.pth"), &tensors);
    (folder, tensors)
}

#[test]
fn they_colorize_and_are_scored_as_the_same_weights_in_another_form() {
    let (folder, _) = folder();
    let root = folder.path();
    succeed(root, &["data", "synth", "--out", "images", "--count", "1", "--size", "256"]);
    image::GrayImage::from_fn(64, 64, |x, y| image::Luma([(3 * x + y) as u8])).save(root.join("nir.png")).unwrap();
    let scores = |weights: &str| {
        succeed(root, &["colorize", "nir.png", "--weights", weights, "--out", "out", "--force"]);
        let table = succeed(root, &["eval", weights, "--data", "images"]);
        says(&table, &["| net | 1 |"]);
        (fs::read(root.join("out/nir.png")).unwrap(), table)
    };
    assert!(scores("net.pth") == scores("net.safetensors"));
}

#[test]
fn a_run_starts_from_them() {
    let (folder, tensors) = folder();
    let root = folder.path();
    fs::write(root.join("m.toml"), TINY.replace("[train]", "init = \"net.pth\"\n[train]\nfreeze = [\"netG_\"]"))
        .unwrap();
    let short = ["--set", "train.epochs=1", "--set", "train.steps_per_epoch=1"];
    succeed(root, &[&["run", "m.toml", "--quiet", "--variant", "mse"], &short[..]].concat());
    let last = root.join("runs/tiny/mse/seed-1/checkpoints/best.safetensors");
    let trained = checkpoint::load(&last, &Device::Cpu).unwrap().under(GENERATOR);
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let weights = tensors.iter().filter(|(name, _)| name.ends_with(".weight"));
    weights.for_each(|(name, tensor)| assert_eq!(values(&trained[name]), values(tensor), "{name}"));
}
