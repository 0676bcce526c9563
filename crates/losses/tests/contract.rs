//! What every term promises, whatever the images.

use candle_core::{DType, Device, Tensor, Var};
use colormamba_losses::{AutoencoderFeatures, ImageObjective, LossError, Term, lsgan};
use colormamba_ops::Node;
use colormamba_testkit::{assert_close, assert_gradients, noise_tensor, unit_image};
use std::sync::Arc;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const HEIGHT: usize = 178;
const WIDTH: usize = 176;

fn objective(term: Term, dtype: DType) -> Result<ImageObjective, LossError> {
    let features = AutoencoderFeatures::random(7, dtype, &Device::Cpu)?;
    ImageObjective::new(vec![(term, 1.0)], Some(Arc::new(features)))
}

fn image(name: &str) -> candle_core::Result<Tensor> {
    unit_image(name, (2, 3, HEIGHT, WIDTH))
}

fn value(term: Term, pred: &Tensor, target: &Tensor) -> Result<f64, LossError> {
    let objective = objective(term, pred.dtype())?;
    let total = objective.evaluate(pred, &objective.target(target)?)?.total;
    Ok(total.to_dtype(DType::F64)?.to_scalar()?)
}

#[test]
fn zero_at_identity_and_positive_elsewhere() -> Outcome {
    let (p, t) = (image("p")?, image("t")?);
    for term in Term::ALL {
        let (same, other) = (value(term, &p, &p)?, value(term, &p, &t)?);
        println!("{term}: {same:e} at identity, {other} elsewhere");
        // The cosine and the product of powers are rounded.
        let rounding = if matches!(term, Term::FeatureCosine | Term::MsSsimPublished) { 1e-6 } else { 0.0 };
        assert!(same.abs() <= rounding, "{term}: {same:e}");
        assert!(other > 1e-5, "{term}: {other:e}");
    }
    Ok(())
}

#[test]
fn values_known_in_closed_form() -> Outcome {
    let p = Tensor::full(0.25f64, (2, 3, 5, 7), &Device::Cpu)?;
    let t = Tensor::full(0.75f64, (2, 3, 5, 7), &Device::Cpu)?;
    assert_eq!(value(Term::Mse, &p, &t)?, 0.25);
    assert_eq!(value(Term::L1, &p, &t)?, 0.5);
    assert_eq!(lsgan(&p, 1.0)?.to_scalar::<f64>()?, 0.5625);
    Ok(())
}

/// A flat image has cs = 1 at every scale, so only the last scale's luminance is left, to the fourth power of its weight.
#[test]
fn published_ms_ssim_of_flat_images_in_every_guessed_range() -> Outcome {
    for (a, b, range) in [(0.25, 0.75, 1.0), (-0.75, 0.5, 2.0), (200.0, 100.0, 255.0)] {
        let flat = |v: f64| Tensor::full(v, (1, 3, HEIGHT, WIDTH), &Device::Cpu);
        let c1 = (0.01f64 * range).powi(2);
        let luminance = (2.0 * a * b + c1) / (a * a + b * b + c1);
        let want = 1.0 - ((luminance + 1.0) / 2.0).powf(4.0 * 0.1333);
        let got = value(Term::MsSsimPublished, &flat(a)?, &flat(b)?)?;
        assert!((got - want).abs() < 1e-9, "{a} and {b}: {got}, not {want}");
    }
    Ok(())
}

#[test]
fn gradients_are_those_of_finite_differences() -> Outcome {
    for term in Term::ALL {
        // Odd sizes where the term allows it.
        let (h, w) = if term == Term::MsSsimPublished { (HEIGHT - 1, WIDTH) } else { (13, 11) };
        let objective = objective(term, DType::F64)?;
        let target = objective.target(&unit_image("fd.t", (2, 3, h, w))?.to_dtype(DType::F64)?)?;
        assert_gradients(term.name(), &[unit_image("fd.p", (2, 3, h, w))?], 1e-6, |x| {
            Ok(Node::from(&objective.evaluate(&x[0], &target).map_err(candle_core::Error::wrap)?.total))
        })?;
    }
    assert_gradients("lsgan", &[noise_tensor("lsgan", (2, 1, 6, 5))?], 1e-8, |x| Ok(Node::from(&lsgan(&x[0], 1.0)?)))?;
    Ok(())
}

#[test]
fn gradients_are_finite_on_degenerate_images() -> Outcome {
    let flat = |v: f32| Tensor::full(v, (1, 3, HEIGHT, WIDTH), &Device::Cpu);
    let scene = unit_image("scene", (1, 3, HEIGHT, WIDTH))?;
    let images = [flat(0.0)?, flat(1.0)?, flat(0.5)?, flat(-1.0)?, scene];
    for term in Term::ALL {
        let objective = objective(term, DType::F32)?;
        for (i, target) in images.iter().enumerate() {
            let target = objective.target(target)?;
            for (j, pred) in images.iter().enumerate() {
                let pred = Var::from_tensor(pred)?;
                let total = objective.evaluate(pred.as_tensor(), &target)?.total;
                let grads = total.backward()?;
                let largest = grads.get(&pred).ok_or("no gradient")?.abs()?.max_all()?.to_scalar::<f32>()?;
                assert!(total.to_scalar::<f32>()?.is_finite() && largest.is_finite(), "{term}: {j} against {i}");
            }
        }
    }
    Ok(())
}

/// Zero feature vectors are orthogonal to everything, in value and gradient.
#[test]
fn features_that_vanish_have_no_direction() -> Outcome {
    let zero = |_: &str, shape: &candle_core::Shape| Ok(Tensor::zeros(shape, DType::F32, &Device::Cpu)?);
    let features = AutoencoderFeatures::from_fn(DType::F32, &Device::Cpu, zero)?;
    let objective = ImageObjective::new(vec![(Term::FeatureCosine, 1.0)], Some(Arc::new(features)))?;
    let pred = Var::from_tensor(&unit_image("p", (1, 3, 16, 16))?)?;
    let total = objective.evaluate(pred.as_tensor(), &objective.target(pred.as_tensor())?)?.total;
    assert_eq!(total.to_scalar::<f32>()?, 1.0);
    let grads = total.backward()?;
    assert_eq!(grads.get(&pred).ok_or("no gradient")?.abs()?.max_all()?.to_scalar::<f32>()?, 0.0);
    Ok(())
}

#[test]
fn the_order_of_a_batch_does_not_matter() -> Outcome {
    let swap = |x: &Tensor| Tensor::cat(&[x.narrow(0, 1, 1)?, x.narrow(0, 0, 1)?], 0);
    let (p, t) = (image("p")?.to_dtype(DType::F64)?, image("t")?.to_dtype(DType::F64)?);
    for term in Term::ALL {
        let (one, other) = (value(term, &p, &t)?, value(term, &swap(&p)?, &swap(&t)?)?);
        assert!((one - other).abs() < 1e-12, "{term}: {one} and {other}");
    }
    Ok(())
}

#[test]
fn any_layout_is_taken() -> Outcome {
    let (p, t) = (image("p")?, image("t")?);
    let strided = |x: &Tensor| x.permute((2, 3, 0, 1))?.contiguous()?.permute((2, 3, 0, 1));
    for term in Term::ALL {
        let objective = objective(term, DType::F32)?;
        let gradient = |p: Tensor, t: &Tensor, through: &dyn Fn(&Tensor) -> candle_core::Result<Tensor>| {
            let p = Var::from_tensor(&p)?;
            let total = objective.evaluate(&through(p.as_tensor())?, &objective.target(t)?)?.total;
            Ok::<_, LossError>(total.backward()?.get(&p).map(|g| (total.clone(), g.clone())).expect("a gradient"))
        };
        let (value, grad) = gradient(p.clone(), &t, &|x| Ok(x.clone()))?;
        let (strided_value, strided_grad) = gradient(p.clone(), &strided(&t)?, &strided)?;
        assert_eq!(value.to_scalar::<f32>()?, strided_value.to_scalar::<f32>()?, "{term}");
        assert_close(term.name(), &strided_grad, &grad, 0.0)?;
    }
    Ok(())
}

#[test]
fn the_total_is_the_weighted_sum_of_the_terms() -> Outcome {
    let (p, t) = (image("p")?, image("t")?);
    let weights = [2.0, 0.0, 0.5, 3.0, 10.0];
    let features = AutoencoderFeatures::random(7, DType::F32, &Device::Cpu)?;
    let terms: Vec<(Term, f64)> = Term::ALL.into_iter().zip(weights).collect();
    let objective = ImageObjective::new(terms.clone(), Some(Arc::new(features)))?;
    let evaluation = objective.evaluate(&p, &objective.target(&t)?)?;
    let mut sum = 0.0;
    for ((term, raw), (want, weight)) in evaluation.terms.iter().zip(&terms) {
        assert_eq!(term, want);
        let raw = f64::from(raw.to_scalar::<f32>()?);
        assert!((raw - value(*term, &p, &t)?).abs() < 1e-6, "{term}");
        sum += weight * raw;
    }
    let total = f64::from(evaluation.total.to_scalar::<f32>()?);
    assert!((total - sum).abs() < 1e-5 * sum, "{total}, not {sum}");
    Ok(())
}

#[test]
fn only_the_prediction_takes_a_gradient() -> Outcome {
    let weights = std::cell::RefCell::new(Vec::new());
    let features = AutoencoderFeatures::from_fn(DType::F32, &Device::Cpu, |name, shape| {
        let weight = Var::from_tensor(&noise_tensor(name, shape.clone())?)?;
        weights.borrow_mut().push(weight.clone());
        Ok(weight.as_tensor().clone())
    })?;
    let objective = ImageObjective::new(Term::ALL.map(|t| (t, 1.0)).to_vec(), Some(Arc::new(features)))?;
    let (pred, target) = (Var::from_tensor(&image("p")?)?, Var::from_tensor(&image("t")?)?);
    let evaluation = objective.evaluate(pred.as_tensor(), &objective.target(target.as_tensor())?)?;
    let grads = evaluation.total.backward()?;
    assert!(grads.get(&pred).is_some());
    assert!(grads.get(&target).is_none());
    let weights = weights.into_inner();
    assert_eq!(weights.len(), 8);
    assert!(weights.iter().all(|w| grads.get(w).is_none()));
    assert!(evaluation.terms.iter().all(|(_, value)| !value.track_op()));
    Ok(())
}
