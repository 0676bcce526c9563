//! What a user can get wrong, and what they are told.

use candle_core::{DType, Device, Tensor};
use colormamba_losses::{AutoencoderFeatures, ImageObjective, LossError, Term};
use colormamba_testkit::formula;
use std::collections::HashMap;
use std::path::Path;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn message(result: Result<impl Sized, LossError>) -> String {
    result.err().expect("an error").to_string()
}

fn load(path: &Path) -> Result<AutoencoderFeatures, LossError> {
    AutoencoderFeatures::load(path, DType::F32, &Device::Cpu)
}

#[test]
fn names_are_read_back() {
    for term in Term::ALL {
        assert_eq!(term.name().parse::<Term>().unwrap(), term);
    }
}

#[test]
fn a_misspelt_term_suggests_the_nearest() {
    let nearest = |name: &str| match name.parse::<Term>() {
        Err(LossError::UnknownTerm { nearest, .. }) => nearest,
        other => panic!("{other:?}"),
    };
    assert_eq!(nearest("msee"), Some("mse"));
    assert_eq!(nearest("feature_cos"), Some("feature_cosine"));
    assert_eq!(nearest("ms_ssim"), Some("ms_ssim_published"));
    assert_eq!(nearest("MSE"), None);
    assert_eq!(
        message("featuremse".parse::<Term>()),
        "unknown loss term `featuremse`, did you mean `feature_mse`?; the terms are mse, l1, feature_mse, feature_cosine, \
         ms_ssim_published"
    );
}

#[test]
fn impossible_objectives() {
    let objective = |terms: &[(Term, f64)]| ImageObjective::new(terms.to_vec(), None);
    for weight in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(objective(&[(Term::L1, weight)]), Err(LossError::Weight { term: Term::L1, .. })));
    }
    assert_eq!(
        message(objective(&[(Term::Mse, -2.0)])),
        "loss term `mse` has weight -2; a weight is a finite number that is not negative"
    );
    assert!(matches!(
        objective(&[(Term::L1, 1.0), (Term::Mse, 1.0), (Term::L1, 2.0)]),
        Err(LossError::Duplicate { term: Term::L1 })
    ));
    for term in [Term::FeatureMse, Term::FeatureCosine] {
        assert!(matches!(objective(&[(term, 1.0)]), Err(LossError::NoFeatures { .. })));
    }
}

#[test]
fn images_that_do_not_fit() -> Outcome {
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu);
    let mse = ImageObjective::new(vec![(Term::Mse, 1.0)], None)?;
    for dims in [&[3, 4, 4][..], &[1, 1, 4, 4], &[0, 3, 4, 4]] {
        assert!(matches!(mse.target(&zeros(dims)?), Err(LossError::Image { .. })), "{dims:?}");
    }
    let target = mse.target(&zeros(&[2, 3, 4, 4])?)?;
    assert!(matches!(mse.evaluate(&zeros(&[1, 3, 4, 4])?, &target), Err(LossError::Mismatch { .. })));

    let ms_ssim = ImageObjective::new(vec![(Term::MsSsimPublished, 1.0)], None)?;
    assert_eq!(
        message(ms_ssim.target(&zeros(&[1, 3, 175, 256])?)),
        "loss term `ms_ssim_published` needs images of at least 176x176 pixels, got 175x256"
    );
    assert!(matches!(ms_ssim.evaluate(&zeros(&[2, 3, 4, 4])?, &target), Err(LossError::Unprepared { .. })));
    Ok(())
}

#[test]
fn a_missing_weight_file_says_where_it_belongs() {
    let message = message(load(Path::new("nowhere/autoencoder.pth")));
    for part in ["nowhere/autoencoder.pth", "weights/autoencoder.pth", "weights/autoencoder.toml"] {
        assert!(message.contains(part), "{message}");
    }
    let toml = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../weights/autoencoder.toml");
    let toml = std::fs::read_to_string(toml).expect("the file that the message names");
    assert!(toml.contains("https://") && toml.contains("blake3"));
}

/// A `.safetensors` file with formula weights.
fn weights() -> candle_core::Result<HashMap<String, Tensor>> {
    let mut weights = HashMap::new();
    for (k, (i, o)) in [(6, 16), (16, 32), (32, 64), (64, 128)].into_iter().enumerate() {
        let path = format!("conv{}.0.1", k + 1);
        for (name, shape) in [("weight", vec![o, i, 3, 3]), ("bias", vec![o])] {
            let name = format!("{path}.{name}");
            weights.insert(name.clone(), formula(&format!("ae.{name}"), shape)?);
        }
    }
    Ok(weights)
}

#[test]
fn weight_files_are_read_whole_or_refused() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("autoencoder.safetensors");
    let mut tensors = weights()?;
    candle_core::safetensors::save(&tensors, &path)?;
    let image = colormamba_testkit::unit_image("x", (1, 3, 17, 24))?;
    let from_formula = AutoencoderFeatures::from_fn(DType::F32, &Device::Cpu, |name, _| Ok(tensors[name].clone()))?;
    let (got, want) = (load(&path)?.forward(&image)?, from_formula.forward(&image)?);
    assert_eq!(got.dims(), [1, 128, 3, 3]);
    colormamba_testkit::assert_close("features", &got, &want, 0.0)?;

    let bytes = std::fs::read(&path)?;
    for name in ["truncated.safetensors", "truncated.pth"] {
        let path = folder.path().join(name);
        std::fs::write(&path, &bytes[..bytes.len() / 2])?;
        let message = message(load(&path));
        assert!(message.contains(name) && message.contains("truncated: compare its size"), "{message}");
    }

    tensors.insert("conv2.0.1.bias".into(), Tensor::zeros(31, DType::F32, &Device::Cpu)?);
    candle_core::safetensors::save(&tensors, &path)?;
    assert_eq!(message(load(&path)), "`conv2.0.1.bias` of the auto-encoder has shape [31], not [32]");
    tensors.remove("conv2.0.1.bias");
    candle_core::safetensors::save(&tensors, &path)?;
    assert!(matches!(load(&path), Err(LossError::FileTensor { name, .. }) if name == "conv2.0.1.bias"));
    Ok(())
}
