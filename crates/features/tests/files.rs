//! Weight files: what is read, and what is said of those that cannot be.

use candle_core::{DType, Tensor, safetensors};
use colormamba_features::{AutoencoderFeatures, FeatureError, FeatureNetwork, Network, published};
use colormamba_ops::Node;
use colormamba_testkit::{device, formula, unit_image};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// SqueezeNet's tensors by formula, and one of the classifying layers.
fn tensors() -> Result<HashMap<String, Tensor>, FeatureError> {
    let mut tensors = HashMap::from([("classifier.1.bias".to_string(), Tensor::zeros(1000, DType::F32, &device())?)]);
    FeatureNetwork::from_fn(Network::SqueezeNet, DType::F32, &device(), |name, shape| {
        let value = formula(name, shape)?;
        tensors.insert(name.to_string(), value.clone());
        Ok(value)
    })?;
    Ok(tensors)
}

fn load(path: &Path) -> Result<FeatureNetwork, FeatureError> {
    FeatureNetwork::load(Network::SqueezeNet, path, DType::F32, &device())
}

/// The message, which must name the file and each of `parts`.
fn says(result: Result<FeatureNetwork, FeatureError>, path: &Path, parts: &[&str]) {
    let message = result.err().expect("an error").to_string();
    for part in [path.to_str().expect("text")].iter().chain(parts) {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[test]
fn a_file_gives_the_weights_it_holds() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mine.safetensors");
    safetensors::save(&tensors()?, &path)?;
    let image = Node::from(&unit_image("file", (1, 3, 20, 20))?);
    let of = |network: FeatureNetwork| -> Result<Vec<f32>, FeatureError> {
        Ok(network.forward(&image, &["relu7".to_string()])?["relu7"].value().flatten_all()?.to_vec1()?)
    };
    let want =
        FeatureNetwork::from_fn(Network::SqueezeNet, DType::F32, &device(), |name, shape| Ok(formula(name, shape)?))?;
    assert_eq!(of(load(&path)?)?, of(want)?);
    Ok(())
}

/// Whatever the name says, with numbers of another type and the prefix of a wrapper.
#[test]
fn content_decides_what_a_file_is() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mine.pth");
    let wrapped = |(name, value): (String, Tensor)| Ok((format!("module.{name}"), value.to_dtype(DType::F64)?));
    let wrapped = tensors()?.into_iter().map(wrapped).collect::<candle_core::Result<HashMap<_, _>>>()?;
    safetensors::save(&wrapped, &path)?;
    let image = Node::from(&unit_image("file", (1, 3, 20, 20))?);
    let of = |network: FeatureNetwork| -> Result<Vec<f32>, FeatureError> {
        Ok(network.forward(&image, &["relu7".to_string()])?["relu7"].value().flatten_all()?.to_vec1()?)
    };
    let want =
        FeatureNetwork::from_fn(Network::SqueezeNet, DType::F32, &device(), |name, shape| Ok(formula(name, shape)?))?;
    assert_eq!(of(load(&path)?)?, of(want)?);
    let renamed = folder.path().join("zip.safetensors");
    std::fs::copy(fixture("zip.pt"), &renamed)?;
    says(load(&renamed), &renamed, &["features.0.weight", "[2, 3]", "[64, 3, 3, 3]"]);
    Ok(())
}

#[test]
fn a_file_that_is_not_there_says_where_to_get_it() {
    let path = Path::new("nowhere/squeezenet1_1-b8a52dc0.pth");
    let parts = [
        "colormamba weights fetch squeezenet --weights nowhere`",
        "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
        "to nowhere/squeezenet1_1-b8a52dc0.pth",
        "weights/squeezenet.toml",
    ];
    says(load(path), path, &parts);
}

#[test]
fn the_default_file_is_whichever_is_there() -> Outcome {
    let folder = tempfile::tempdir()?;
    let find = || FeatureNetwork::find(Network::Vgg19, folder.path());
    let error = find().expect_err("an error").to_string();
    for part in ["weights fetch vgg19", "vgg19-dcbb9e9d.pth", "vgg19.safetensors"] {
        assert!(error.contains(part), "{error}");
    }
    for name in ["vgg19-dcbb9e9d.pth", "vgg19.safetensors"] {
        std::fs::write(folder.path().join(name), b"")?;
        assert_eq!(find()?, folder.path().join(name));
    }
    Ok(())
}

#[test]
fn a_published_name_needs_the_published_checksum() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("squeezenet1_1-b8a52dc0.pth");
    std::fs::write(&path, b"abc")?;
    // The digest of "abc" is an example of the standard (FIPS 180-4).
    let parts = [
        "cut or changed",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "b8a52dc0",
        "weights/squeezenet.toml",
    ];
    says(load(&path), &path, &parts);
    let mut file = published(Network::SqueezeNet).files[0].clone();
    file.sha256 = Some("ba7816bf".into());
    file.verify("squeezenet", &path)?;
    file.sha256 = Some("ba7816be".into());
    assert!(file.verify("squeezenet", &path).is_err());
    // Of some files no checksum is known.
    file.sha256 = None;
    file.verify("squeezenet", &path)?;
    Ok(())
}

#[test]
fn cut_and_foreign_files_are_errors() -> Outcome {
    let folder = tempfile::tempdir()?;
    let whole = folder.path().join("whole.safetensors");
    safetensors::save(&tensors()?, &whole)?;
    let bytes = std::fs::read(&whole)?;
    let path = folder.path().join("cut.safetensors");
    for length in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length])?;
        says(load(&path), &path, &["cannot be read", "weights/squeezenet.toml"]);
    }
    let path = folder.path().join("cut.pth");
    for name in ["zip.pt", "python2.pt"] {
        let bytes = std::fs::read(fixture(name))?;
        for length in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
            std::fs::write(&path, &bytes[..length])?;
            says(load(&path), &path, &["cannot be read", "weights/squeezenet.toml"]);
        }
    }
    std::fs::write(&path, "no weights, but text")?;
    says(load(&path), &path, &["cannot be read"]);
    says(load(folder.path()), folder.path(), &["cannot be read"]);

    says(
        load(&fixture("python2.pt")),
        &fixture("python2.pt"),
        &["no tensor `features.0.weight`", "it is a file of PyTorch"],
    );
    says(load(&fixture("zip.pt")), &fixture("zip.pt"), &["features.0.weight", "[2, 3]", "[64, 3, 3, 3]"]);
    let path = folder.path().join("other.safetensors");
    let mut tensors = tensors()?;
    tensors.remove("features.12.squeeze.bias");
    safetensors::save(&tensors, &path)?;
    says(load(&path), &path, &["no tensor `features.12.squeeze.bias`", "the nearest is `features.11.squeeze.bias`"]);
    Ok(())
}

#[test]
fn the_auto_encoder_says_what_is_wrong_with_its_file() -> Outcome {
    let folder = tempfile::tempdir()?;
    let load =
        |path: &Path| AutoencoderFeatures::load(path, DType::F32, &device()).err().expect("an error").to_string();
    let path = folder.path().join("autoencoder.pth");
    let missing = load(&path);
    assert!(missing.contains("weights/autoencoder.toml") && missing.contains("weights fetch autoencoder"), "{missing}");
    std::fs::write(&path, b"abc")?;
    assert!(load(&path).contains("is cut or changed: its checksum is"), "{}", load(&path));
    let path = folder.path().join("other.pth");
    std::fs::write(&path, b"abc")?;
    assert!(load(&path).contains("cannot be read"), "{}", load(&path));
    let path = folder.path().join("autoencoder.safetensors");
    let weight = Tensor::zeros((16, 3, 3, 3), DType::F32, &device())?;
    safetensors::save(&HashMap::from([("conv1.0.1.weight", weight)]), &path)?;
    assert!(load(&path).contains("[16, 3, 3, 3]"), "{}", load(&path));
    Ok(())
}
