//! Values and gradients of the published loss terms, from PyTorch.

use candle_core::{DType, Device, Tensor, Var};
use colormamba_losses::{AutoencoderFeatures, Evaluation, ImageObjective, LossError, Term};
use colormamba_testkit::{Fixture, assert_close, formula, relative_l2};
use std::sync::Arc;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn features() -> Result<Arc<AutoencoderFeatures>, LossError> {
    let weights = |name: &str, shape: &candle_core::Shape| Ok(formula(&format!("ae.{name}"), shape.clone())?);
    Ok(Arc::new(AutoencoderFeatures::from_fn(DType::F32, &Device::Cpu, weights)?))
}

/// Every `step`th row and column.
fn sampled(x: &Tensor, step: usize) -> candle_core::Result<Tensor> {
    let indices = |n: usize| Tensor::from_iter((0..n as u32).step_by(step), x.device());
    let (_, _, h, w) = x.dims4()?;
    x.index_select(&indices(h)?, 2)?.index_select(&indices(w)?, 3)
}

/// `value`, `gradient`: tolerances. A value is 1 minus something near 1 in f32, so it has fewer digits than its gradient.
fn check(name: &str, terms: &[Term], value: f64, gradient: f64) -> Outcome {
    let golden = Fixture::load("losses")?;
    let terms = terms.iter().map(|&t| (t, 1.0)).collect();
    let objective = ImageObjective::new(terms, Some(features()?))?;
    let pred = Var::from_tensor(golden.get("in.pred")?)?;
    let target = objective.target(golden.get("in.target")?)?;
    let Evaluation { total, .. } = objective.evaluate(pred.as_tensor(), &target)?;
    let grads = total.backward()?;
    let grad = grads.get(&pred).ok_or("no gradient")?;
    let norm = grad.to_dtype(DType::F64)?.sqr()?.sum_all()?.sqrt()?.reshape(1)?;
    let near = |what: &str, got: &Tensor, tolerance: f64| {
        assert_close(&format!("{name}.{what}"), got, golden.get(&format!("{name}.{what}"))?, tolerance)
    };
    near("value", &total.reshape(1)?, value)?;
    near("grad_l2", &norm, gradient)?;
    near("grad_every_7th", &sampled(grad, 7)?, gradient)?;
    Ok(())
}

#[test]
fn mse() -> Outcome {
    check("mse", &[Term::Mse], 1e-6, 1e-6)
}

#[test]
fn l1() -> Outcome {
    check("l1", &[Term::L1], 1e-6, 1e-6)
}

#[test]
fn feature_mse() -> Outcome {
    check("feature_mse", &[Term::FeatureMse], 1e-6, 2e-5)
}

#[test]
fn feature_cosine() -> Outcome {
    check("feature_cosine", &[Term::FeatureCosine], 4e-5, 2e-5)
}

/// The published code computes it on the image beside itself, which leaves every mean as it is.
#[test]
fn ms_ssim_published() -> Outcome {
    check("msssim_original_6ch", &[Term::MsSsimPublished], 4e-5, 2e-5)
}

#[test]
fn published_reconstruction_loss() -> Outcome {
    check("reconstruction_original", &[Term::FeatureMse, Term::FeatureCosine, Term::MsSsimPublished], 4e-5, 2e-5)
}

/// Needs the auto-encoder's file, which is not ours to ship.
#[test]
fn published_auto_encoder_loads() -> Outcome {
    let Some(folder) = std::env::var_os("COLORMAMBA_WEIGHTS_DIR") else {
        println!("skipped: COLORMAMBA_WEIGHTS_DIR is not set");
        return Ok(());
    };
    let path = std::path::Path::new(&folder).join("autoencoder.pth");
    let features = AutoencoderFeatures::load(&path, DType::F32, &Device::Cpu)?;
    let golden = Fixture::load("losses")?;
    let (pred, target) = (features.forward(golden.get("in.pred")?)?, features.forward(golden.get("in.target")?)?);
    assert_eq!(pred.dims(), [2, 128, 24, 22]);
    let apart = relative_l2(&pred, &target)?;
    // From NumPy in f64, on the file's tensors: four times pad(mode="edge"), windows of 3x3 at strides 1, 2, 2, 2, einsum, leaky
    // ReLU; then norm(φ(pred) − φ(target)) / norm(φ(target)).
    assert!((apart - 0.160_092_754_5).abs() < 1e-6, "{apart}");
    Ok(())
}
