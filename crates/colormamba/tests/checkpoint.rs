//! Checkpoints and colorizing with them.

use candle_core::{DType, Tensor};
use colormamba::checkpoint::{self, CheckpointError};
use colormamba::{ColorizeError, Colorizer, EdgeMap, GENERATOR, Generator, GeneratorConfig, ModelError};
use colormamba_layers::{Params, ParamsError};
use colormamba_testkit::{device, unit_image};
use std::collections::BTreeMap;
use std::path::Path;

fn trained(config: &GeneratorConfig) -> Params {
    let params = Params::new(5, DType::F32, &device());
    Generator::new(&params.root(), config).expect("fresh parameters");
    params
}

fn prefixed(params: &Params, prefix: &str) -> BTreeMap<String, Tensor> {
    params.tensors().into_iter().map(|(k, v)| (format!("{prefix}{k}"), v)).collect()
}

fn config() -> GeneratorConfig {
    GeneratorConfig::new(8, 6, EdgeMap::Spatial).expect("a valid size")
}

fn save(path: &Path, tensors: &BTreeMap<String, Tensor>) {
    let metadata = BTreeMap::from([("edge_map".to_string(), "spatial".to_string())]);
    checkpoint::save(path, tensors, &metadata).expect("a writable folder");
}

#[test]
fn a_saved_generator_colorizes_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let params = trained(&config());
    save(&path, &prefixed(&params, GENERATOR));
    let colorizer = Colorizer::load(&path, &device()).unwrap();
    assert_eq!(colorizer.generator_config(), &config());
    let nir = unit_image("nir", (1, 1, 64, 128)).unwrap();
    let zero = nir.zeros_like().unwrap();
    let hsv = Tensor::cat(&[&zero, &zero, &nir], 1).unwrap();
    let direct = Generator::new(&params.root().frozen(), &config()).unwrap().forward(&nir, &hsv, false).unwrap();
    let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(values(colorizer.colorize(&nir, &hsv).unwrap().rgb.value()), values(direct.rgb.value()));
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

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let name = "netG_C.layer10_conv.bias";
    for value in [f32::NAN, f32::INFINITY] {
        let mut tensors = trained(&config()).tensors();
        tensors.insert(name.into(), Tensor::full(value, tensors[name].shape(), &device()).unwrap());
        save(&path, &tensors);
        let error = Colorizer::load(&path, &device()).err().expect("an error").to_string();
        assert!(error.contains(&format!("w.safetensors: the tensor `{name}`")), "{error}");
    }
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
fn an_edge_map_that_is_not_known_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let metadata = BTreeMap::from([("edge_map".to_string(), "spacial".to_string())]);
    checkpoint::save(&path, &trained(&config()).tensors(), &metadata).unwrap();
    let error = Colorizer::load(&path, &device()).err().expect("an error").to_string();
    assert!(error.contains("w.safetensors: unknown edge map `spacial`"), "{error}");
}

#[test]
fn weights_of_something_else_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let mut tensors = trained(&config()).tensors();
    tensors.remove("netG_C.layer10_conv.bias");
    save(&path, &tensors);
    match Colorizer::load(&path, &device()).err() {
        Some(ColorizeError::Weights { source: ParamsError::Missing(names), .. }) => {
            assert_eq!(names, ["netG_C.layer10_conv.bias"]);
        }
        other => panic!("{other:?}"),
    }
    save(&path, &BTreeMap::from([("x".to_string(), Tensor::zeros(3, DType::F32, &device()).unwrap())]));
    assert!(matches!(Colorizer::load(&path, &device()), Err(ColorizeError::Description { .. })));
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
