//! Checkpoints.

use candle_core::{DType, Tensor};
use colormamba::checkpoint::{self, CheckpointError};
use colormamba::{EdgeMap, Generator, GeneratorConfig, ModelError};
use colormamba_layers::Params;
use colormamba_testkit::{device, unit_image};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

fn trained(config: &GeneratorConfig) -> Params {
    let params = Params::new(5, DType::F32, &device());
    Generator::new(&params.root(), config).expect("fresh parameters");
    params
}

fn config() -> GeneratorConfig {
    GeneratorConfig::new(8, 6, EdgeMap::Spatial).expect("a valid size")
}

fn save(path: &Path, tensors: &BTreeMap<String, Tensor>) {
    let metadata = BTreeMap::from([("edge_map".to_string(), "spatial".to_string())]);
    checkpoint::save(path, tensors, &metadata).expect("a writable folder");
}

#[test]
fn equal_tensors_give_equal_files() {
    let dir = tempfile::tempdir().unwrap();
    let tensors = trained(&config()).tensors();
    let metadata: BTreeMap<String, String> = (0..9).map(|i| (format!("key{i}"), format!("value{i}"))).collect();
    let write = |name: &str| {
        let path = dir.path().join(name);
        checkpoint::save(&path, &tensors, &metadata).unwrap();
        std::fs::read(path).unwrap()
    };
    assert!(write("a") == write("b"));
    let back = checkpoint::load(&dir.path().join("a"), &device()).unwrap();
    assert_eq!(back.metadata, metadata);
    assert_eq!(back.tensors.len(), tensors.len());
}

#[test]
fn a_truncated_checkpoint_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("last.safetensors");
    save(&path, &trained(&config()).tensors());
    let bytes = std::fs::read(&path).unwrap();
    for length in [0, 7, 100, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let error = checkpoint::load(&path, &device()).err().expect("an error");
        assert!(matches!(error, CheckpointError::Format { .. }));
        assert!(error.to_string().contains("last.safetensors: cut short"), "{error}");
        // It may be all that someone has of published weights.
        assert!(!error.to_string().contains("delete"), "{error}");
    }
}

/// Everything but the length of the header, which the reader needs to find the rest at all.
#[test]
fn a_flipped_bit_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let tensors = BTreeMap::from([("g.weight".to_string(), unit_image("w", (2, 3)).unwrap())]);
    save(&path, &tensors);
    let bytes = std::fs::read(&path).unwrap();
    let sound = checkpoint::load(&path, &device()).unwrap();
    assert_eq!(sound.checksum.as_deref(), Some(checkpoint::digest(&path).unwrap().as_str()));
    assert_eq!(checkpoint::metadata(&path).unwrap(), sound.metadata);
    let values = |name: &str, tensors: &BTreeMap<String, Tensor>| {
        tensors.get(name).map(|tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap())
    };
    for bit in 64..8 * bytes.len() {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &flipped).unwrap();
        let Ok(read) = checkpoint::load(&path, &device()) else { continue };
        // What is left are the names of our entry and of its checksum: then it says less, but nothing that is wrong.
        assert!(read.checksum.is_none() || read.metadata == sound.metadata, "bit {bit}");
        assert_eq!(values("g.weight", &read.tensors), values("g.weight", &sound.tensors), "bit {bit}");
    }
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &flipped).unwrap();
    let error = checkpoint::load(&path, &device()).err().expect("an error");
    assert!(matches!(error, CheckpointError::Checksum { .. }), "{error}");
}

/// Those of a generator beside a discriminator's, without the prefix of the pair, as f32.
#[test]
fn weights_of_others_are_read_in_whatever_form() {
    let generator = trained(&config()).tensors();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.ckpt");
    let wrapped = |(name, tensor): (&String, &Tensor)| {
        let tensor = if tensor.dtype().is_float() { tensor.to_dtype(DType::F64).unwrap() } else { tensor.clone() };
        (format!("netG.module.{name}"), tensor)
    };
    let mut tensors: HashMap<_, _> = generator.iter().map(wrapped).collect();
    tensors.insert("netD.weight".to_string(), Tensor::zeros(1, DType::F32, &device()).unwrap());
    candle_core::safetensors::save(&tensors, &path).unwrap();
    let read = checkpoint::load(&path, &device()).unwrap();
    assert!(read.metadata.is_empty());
    assert!(read.tensors.keys().eq(generator.keys()));
    for (name, tensor) in &read.tensors {
        let values = |tensor: &Tensor| tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>();
        assert_eq!(tensor.dtype(), generator[name].dtype(), "{name}");
        assert_eq!(values(tensor).unwrap(), values(&generator[name]).unwrap(), "{name}");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights/tests/fixtures");
    for name in ["nested.zip.pt", "nested.legacy.pt"] {
        std::fs::copy(folder.join(name), &path).unwrap();
        let read = checkpoint::load(&path, &device()).unwrap();
        assert_eq!(read.tensors["conv.weight"].dims(), [2, 3], "{name}");
    }
}

/// A checkpoint of ours keeps the types that it was written with.
#[test]
fn what_was_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("last.safetensors");
    let wide = Tensor::new(&[1.0f64 / 3.0], &device()).unwrap();
    save(&path, &BTreeMap::from([("module.wide".to_string(), wide.clone())]));
    let read = checkpoint::load(&path, &device()).unwrap().tensors["module.wide"].to_vec1::<f64>().unwrap();
    assert_eq!(read, wide.to_vec1::<f64>().unwrap());
}

#[cfg(unix)]
#[test]
fn whoever_may_read_other_files_may_read_a_checkpoint() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let mode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
    std::fs::write(dir.path().join("usual"), "x").unwrap();
    save(&dir.path().join("w.safetensors"), &BTreeMap::new());
    assert_eq!(mode("w.safetensors"), mode("usual"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn impossible_models_and_images_are_refused() {
    assert!(matches!(GeneratorConfig::new(12, 8, EdgeMap::Spatial), Err(ModelError::Width(12))));
    assert!(matches!(GeneratorConfig::new(0, 8, EdgeMap::Spatial), Err(ModelError::Width(0))));
    assert!(matches!(GeneratorConfig::new(8, 9, EdgeMap::Spatial), Err(ModelError::Depth(9))));
    assert!(matches!(config().check_size(64, 65), Err(ModelError::Grid { grid: 64, .. })));
    assert!(matches!(config().check_size(0, 64), Err(ModelError::Grid { .. })));
    config().check_size(64, 192).unwrap();
}
