//! Files of weights that others wrote.

use crate::common::{colormamba, says};
use candle_core::{DType, Device, Tensor};
use colormamba::{EdgeMap, Generator, GeneratorConfig};
use colormamba_layers::Params;
use image::{GrayImage, Luma, RgbImage};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use tempfile::tempdir;
use zip::write::SimpleFileOptions;

fn generator(seed: u64) -> BTreeMap<String, Tensor> {
    let params = Params::new(seed, DType::F32, &Device::Cpu);
    Generator::new(&params.root(), &GeneratorConfig::new(8, 6, EdgeMap::Spatial).unwrap()).unwrap();
    params.tensors()
}

fn text(text: &str) -> Vec<u8> {
    [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn sizes(sizes: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let each = sizes.into_iter().flat_map(|size| [&b"J"[..], &(size as i32).to_le_bytes()].concat());
    [&b"("[..], &each.collect::<Vec<u8>>(), b"t"].concat()
}

/// The class of a storage and its bytes.
fn elements(tensor: &Tensor) -> (&'static str, Vec<u8>) {
    match tensor.to_vec1::<f32>() {
        Ok(values) => ("FloatStorage", values.into_iter().flat_map(f32::to_le_bytes).collect()),
        // What counts batches.
        Err(_) => ("LongStorage", tensor.to_vec1::<i64>().unwrap().into_iter().flat_map(i64::to_le_bytes).collect()),
    }
}

/// A file as PyTorch writes it: a dictionary of dictionaries of tensors.
fn write_pytorch(path: &Path, groups: &[(&str, BTreeMap<String, Tensor>)]) {
    let mut zip = zip::ZipWriter::new(fs::File::create(path).unwrap());
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let (mut pickle, mut storage) = (b"\x80\x02}(".to_vec(), 0);
    for (group, tensors) in groups {
        pickle.extend([&text(group)[..], b"}("].concat());
        for (name, tensor) in tensors {
            let number = storage.to_string();
            zip.start_file(format!("w/data/{number}"), options).unwrap();
            let (class, bytes) = elements(&tensor.flatten_all().unwrap());
            zip.write_all(&bytes).unwrap();
            let global = format!("ctorch\n{class}\n").into_bytes();
            let count = [&b"J"[..], &(tensor.elem_count() as i32).to_le_bytes()].concat();
            let parts: [&[u8]; 12] = [
                &text(name),
                b"ctorch._utils\n_rebuild_tensor_v2\n((",
                &text("storage"),
                &global,
                &text(&number),
                &text("cpu"),
                &count,
                b"tQK\x00",
                &sizes(tensor.dims().iter().copied()),
                &sizes(tensor.stride().iter().copied()),
                b"\x89ccollections\nOrderedDict\n)R",
                b"tR",
            ];
            pickle.extend(parts.concat());
            storage += 1;
        }
        pickle.push(b'u');
    }
    pickle.extend(b"u.");
    zip.start_file("w/data.pkl", options).unwrap();
    zip.write_all(&pickle).unwrap();
    zip.finish().unwrap();
}

#[test]
fn averaged_weights_beside_trained_ones_are_taken_and_it_is_said() {
    let folder = tempdir().unwrap();
    let root = folder.path();
    GrayImage::from_fn(64, 64, |x, y| Luma([(3 * x + y) as u8])).save(root.join("photo.png")).unwrap();
    let (trained, averaged) = (generator(1), generator(2));
    write_pytorch(&root.join("both.pth"), &[("params", trained.clone()), ("params_ema", averaged.clone())]);
    write_pytorch(&root.join("trained.pth"), &[("params", trained)]);
    write_pytorch(&root.join("averaged.pth"), &[("params", averaged)]);
    let result = |weights: &str| -> (RgbImage, String) {
        let output = colormamba(root, &["colorize", "photo.png", "--weights", weights, "--out", "out", "--force"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        (image::open(root.join("out/photo.png")).unwrap().into_rgb8(), said)
    };
    let (both, said) = result("both.pth");
    says(
        &said,
        &["note: both.pth: the tensors under `params_ema` are taken, not those of the same names under `params`"],
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    let ((trained, nothing), (averaged, _)) = (result("trained.pth"), result("averaged.pth"));
    assert_eq!(nothing, "");
    assert!(both == averaged && both != trained);
}
