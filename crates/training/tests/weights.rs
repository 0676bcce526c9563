//! Files of weights, and colorizing with them.

use candle_core::{DType, Tensor};
use colormamba::{EdgeMap, GENERATOR, Generator, GeneratorConfig, checkpoint};
use colormamba_layers::{Params, ParamsError};
use colormamba_testkit::{device, unit_image};
use colormamba_training::{Architecture, ColorMambaOptions, NamedTensors, TrainingError, WeightFile, WeightsError};
use std::collections::BTreeMap;
use std::path::Path;

fn options() -> ColorMambaOptions {
    ColorMambaOptions { width: 8, depth: 6, edge_map: EdgeMap::Spatial }
}

fn config() -> GeneratorConfig {
    options().config().expect("a valid size")
}

fn trained() -> Params {
    let params = Params::new(5, DType::F32, &device());
    Generator::new(&params.root(), &config()).expect("fresh parameters");
    params
}

fn prefixed(params: &Params) -> NamedTensors {
    params.tensors().into_iter().map(|(k, v)| (format!("{GENERATOR}{k}"), v)).collect()
}

fn save(path: &Path, tensors: &NamedTensors, metadata: &[(&str, &str)]) {
    let metadata: BTreeMap<_, _> = metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    checkpoint::save(path, tensors, &metadata).expect("a writable folder");
}

fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// Whether the file names its network, as a later version might, or leaves it to be read off the tensors, as all do so
/// far.
#[test]
fn a_saved_network_colorizes_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let params = trained();
    let nir = unit_image("nir", (1, 1, 64, 128)).unwrap();
    let zero = nir.zeros_like().unwrap();
    let hsv = Tensor::cat(&[&zero, &zero, &nir], 1).unwrap();
    let direct = Generator::new(&params.root().frozen(), &config()).unwrap().forward(&nir, &hsv, false).unwrap();
    let named = [("kind", "colormamba"), ("options", r#"{"width": 8, "depth": 6, "edge_map": "spatial"}"#)];
    let bare = [("edge_map", "spatial"), ("size", "64")];
    for (tensors, metadata) in [(prefixed(&params), &bare), (params.tensors(), &bare), (prefixed(&params), &named)] {
        save(&path, &tensors, metadata);
        let file = WeightFile::load(&path, &device()).unwrap();
        assert_eq!(file.architecture, Architecture::ColorMamba(options()));
        assert_eq!(file.metadata.len(), metadata.len());
        assert_eq!(file.checksum, Some(checkpoint::digest(&path).unwrap()));
        let network = file.network(None).unwrap();
        assert_eq!(values(&network.picture(&nir, &hsv).unwrap()), values(direct.rgb.value()));
    }
}

#[test]
fn published_weights_say_nothing_of_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    save(&path, &trained().tensors(), &[]);
    let file = WeightFile::load(&path, &device()).unwrap();
    let legacy = ColorMambaOptions { edge_map: EdgeMap::Legacy, ..options() };
    assert_eq!(file.architecture, Architecture::ColorMamba(legacy));
}

#[test]
fn images_that_are_no_multiples_of_the_grid_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    save(&path, &prefixed(&trained()), &[("edge_map", "spatial")]);
    let network = WeightFile::load(&path, &device()).unwrap().network(None).unwrap();
    let nir = unit_image("nir", (1, 1, 64, 100)).unwrap();
    let error = network.picture(&nir, &Tensor::cat(&[&nir, &nir, &nir], 1).unwrap()).unwrap_err().to_string();
    assert_eq!(error, "an image of 100x64 does not fit the model: both sides must be positive multiples of 64");
}

#[test]
fn a_file_that_names_what_is_not_known_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let says = |metadata: &[(&str, &str)], wanted: &str| {
        save(&path, &trained().tensors(), metadata);
        let error = WeightFile::load(&path, &device()).err().expect("an error").to_string();
        assert!(error.contains(&format!("w.safetensors: {wanted}")), "{error}");
    };
    says(&[("edge_map", "spacial")], "unknown edge map `spacial`");
    says(&[("kind", "unet")], "weights of a network of kind `unet`, which is not known; known are `colormamba`");
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let name = "netG_C.layer10_conv.bias";
    for value in [f32::NAN, f32::INFINITY] {
        let mut tensors = trained().tensors();
        tensors.insert(name.into(), Tensor::full(value, tensors[name].shape(), &device()).unwrap());
        save(&path, &tensors, &[("edge_map", "spatial")]);
        let error = WeightFile::load(&path, &device()).err().expect("an error").to_string();
        assert!(error.contains(&format!("w.safetensors: the tensor `{name}`")), "{error}");
    }
}

#[test]
fn weights_of_something_else_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let mut tensors = trained().tensors();
    tensors.remove("netG_C.layer10_conv.bias");
    save(&path, &tensors, &[]);
    let Err(WeightsError::Network { source, found, .. }) = WeightFile::load(&path, &device()).unwrap().network(None)
    else {
        panic!("a tensor is missing");
    };
    let found = found.expect("what was found");
    assert_eq!(found.wanted, "netG_C.layer10_conv.bias");
    assert!(found.nearest.as_ref().is_some_and(|name| name.starts_with("netG_C.layer")), "{found}");
    let TrainingError::State { source: ParamsError::Missing(names), .. } = *source else { panic!("{source}") };
    assert_eq!(names, ["netG_C.layer10_conv.bias"]);
    save(&path, &BTreeMap::from([("x".to_string(), Tensor::zeros(3, DType::F32, &device()).unwrap())]), &[]);
    let error = WeightFile::load(&path, &device()).err().expect("an error");
    assert!(error.to_string().ends_with("w.safetensors: holds no ColorMamba generator"), "{error}");
    let found = std::error::Error::source(&error).expect("what was found").to_string();
    assert_eq!(found, "of its 1 tensors none is near to `netG_A.coder_1.0.weight`");
}
