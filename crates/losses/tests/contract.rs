//! What every term promises, whatever the images.

use crate::common::{Outcome, alone, gradient, networks, objective, terms, value};
use candle_core::{DType, Tensor, Var};
use colormamba_losses::{HistogramDistance, ImageObjective, LossError, Networks, Term, Weight, WeightSchedule};
use colormamba_ops::Node;
use colormamba_testkit::{assert_close, assert_gradients, device, unit_image};

/// An image that the term takes, with odd sides where it has no pyramid.
fn image(name: &str, term: &Term) -> candle_core::Result<Tensor> {
    let (height, width) = (term.smallest_side().max(25), term.smallest_side().max(27));
    unit_image(name, (2, 3, height, width))?.to_dtype(DType::F64)
}

fn of(term: &Term, pred: &Tensor, target: &Tensor) -> Result<f64, LossError> {
    value(term, networks(term, pred.dtype())?, pred, target)
}

/// The prediction alone has a variation.
fn looks_at_its_target(term: &Term) -> bool {
    *term != Term::TotalVariation {}
}

#[test]
fn zero_at_identity_and_positive_elsewhere() -> Outcome {
    for term in terms() {
        let (p, t) = (image("p", &term)?, image("t", &term)?);
        let (same, other) = (of(&term, &p, &p)?, of(&term, &p, &t)?);
        println!("{term:?}: {same:e} at identity, {other} elsewhere");
        assert!(same.abs() <= 1e-12 || !looks_at_its_target(&term), "{term:?}: {same:e}");
        assert!(other > 1e-5, "{term:?}: {other:e}");
    }
    Ok(())
}

#[test]
fn a_batch_has_the_mean_of_its_images_in_any_order() -> Outcome {
    let swap = |x: &Tensor| Tensor::cat(&[x.narrow(0, 1, 1)?, x.narrow(0, 0, 1)?], 0);
    for term in terms() {
        let (p, t) = (image("p", &term)?, image("t", &term)?);
        let both = of(&term, &p, &t)?;
        let swapped = of(&term, &swap(&p)?, &swap(&t)?)?;
        assert!((both - swapped).abs() <= 1e-12 * both.max(1.0), "{term:?}: {both} and {swapped}");
        // The published variant multiplies means over the whole batch.
        if term != (Term::MsSsimPublished {}) {
            let single = |i: usize| of(&term, &p.narrow(0, i, 1)?, &t.narrow(0, i, 1)?);
            let mean = (single(0)? + single(1)?) / 2.0;
            assert!((both - mean).abs() <= 1e-10 * both.max(1.0), "{term:?}: {both}, mean of singles {mean}");
        }
    }
    Ok(())
}

#[test]
fn terms_that_are_distances_are_symmetric() -> Outcome {
    let one_sided = |term: &Term| {
        matches!(term, Term::TotalVariation {} | Term::MsSsimPublished {} | Term::Enl(_))
            || matches!(term, Term::Histogram(options) if options.distance == HistogramDistance::Kl)
    };
    for term in terms().iter().filter(|term| !one_sided(term)) {
        let (p, t) = (image("p", term)?, image("t", term)?);
        let (there, back) = (of(term, &p, &t)?, of(term, &t, &p)?);
        assert!((there - back).abs() <= 1e-10 * there.max(1.0), "{term:?}: {there} and {back}");
    }
    Ok(())
}

#[test]
fn gradients_are_those_of_finite_differences() -> Outcome {
    for mut term in terms() {
        if let Term::Histogram(options) = &mut term {
            // With many bins some pixel is always at a centre, where there is a kink.
            options.bins = 8;
        }
        let objective = alone(&term, DType::F64)?;
        let target = objective.target(&image("fd.t", &term)?)?;
        assert_gradients(&format!("{term:?}"), &[image("fd.p", &term)?], 2e-5, |x| {
            let evaluation = objective.evaluate(Node::from(&x[0]), &target, 0);
            Ok(evaluation.map_err(candle_core::Error::wrap)?.total)
        })?;
    }
    Ok(())
}

#[test]
fn gradients_are_finite_on_degenerate_images() -> Outcome {
    for term in terms() {
        let scene = image("scene", &term)?.to_dtype(DType::F32)?.narrow(0, 0, 1)?;
        let flat = |v: f32| Tensor::full(v, scene.shape(), &device());
        let images = [flat(0.0)?, flat(1.0)?, flat(0.5)?, flat(-1.0)?, scene];
        let objective = alone(&term, DType::F32)?;
        for (i, target) in images.iter().enumerate() {
            for (j, pred) in images.iter().enumerate() {
                let (total, grad) = gradient(&objective, pred, target)?;
                // Not by a maximum: candle's passes over a NaN.
                let finite = grad.flatten_all()?.to_vec1::<f32>()?.iter().all(|g| g.is_finite());
                assert!(total.is_finite() && finite, "{term:?}: {j} against {i}: {total}");
            }
        }
    }
    Ok(())
}

#[test]
fn any_layout_is_taken() -> Outcome {
    let strided = |x: &Tensor| x.permute((2, 3, 0, 1))?.contiguous()?.permute((2, 3, 0, 1));
    for term in terms() {
        let (p, t) = (image("p", &term)?, image("t", &term)?);
        let objective = alone(&term, DType::F64)?;
        let target = objective.target(&strided(&t)?)?;
        let got = objective.evaluate(&strided(&p)?, &target, 0)?.raw[0];
        assert_eq!(got, of(&term, &p, &t)?, "{term:?}");
    }
    Ok(())
}

#[test]
fn f32_and_f64_agree() -> Outcome {
    for term in terms() {
        let (p, t) = (image("p", &term)?, image("t", &term)?);
        let (wide, wide_gradient) = gradient(&alone(&term, DType::F64)?, &p, &t)?;
        let narrow = |x: &Tensor| x.to_dtype(DType::F32);
        let (value, gradient) = gradient(&alone(&term, DType::F32)?, &narrow(&p)?, &narrow(&t)?)?;
        assert!((value - wide).abs() <= 1e-4 * wide, "{term:?}: {value} and {wide}");
        assert_close(&format!("{term:?}"), &gradient, &narrow(&wide_gradient)?, 1e-3)?;
    }
    Ok(())
}

#[test]
fn the_total_is_the_weighted_sum_of_the_terms() -> Outcome {
    let terms = [(Term::Mse {}, 2.0), (Term::L1 {}, 0.0), (Term::FeatureMse {}, 0.5), (Term::FeatureCosine {}, 3.0)];
    let (p, t) = (image("p", &terms[0].0)?, image("t", &terms[0].0)?);
    let objective = objective(&terms, networks(&terms[2].0, DType::F64)?)?;
    let evaluation = objective.evaluate(&p, &objective.target(&t)?, 0)?;
    let mut sum = 0.0;
    for ((term, weight), (raw, weighted)) in terms.iter().zip(evaluation.raw.iter().zip(&evaluation.weighted)) {
        assert_eq!((*raw, *weighted), (of(term, &p, &t)?, weight * raw), "{term}");
        sum += weighted;
    }
    let total = evaluation.total.value().to_scalar::<f64>()?;
    assert!((total - sum).abs() < 1e-14 * sum, "{total}, not {sum}");
    Ok(())
}

/// The gradients of single terms add up to that of the total, with scheduled and learned weights too.
#[test]
fn gradients_of_terms_add_up() -> Outcome {
    let ramp = WeightSchedule::Ramp { from: 0.0, start: 1, end: 5 };
    let weighted = vec![
        (Term::Mse {}, Weight::from(2.0)),
        (Term::FeatureMse {}, Weight { value: 3.0, schedule: Some(ramp) }),
        (Term::Sobel {}, Weight::from(0.5)),
    ];
    let (p, t) = (image("p", &Term::Mse {})?, image("t", &Term::Mse {})?);
    for learned in [false, true] {
        let mut objective = ImageObjective::new(weighted.clone(), networks(&Term::FeatureMse {}, DType::F64)?)?;
        if learned {
            let at = [0.3, -0.2, 0.1].map(|s| Tensor::new(&[s], &device()));
            objective = objective.with_log_weights(at.into_iter().collect::<Result<_, _>>()?)?;
        }
        let target = objective.target(&t)?;
        let pred = Var::from_tensor(&p)?;
        let total = objective.evaluate(Node::from(&pred), &target, 3)?.total;
        let want = total.backward(&Tensor::new(1f64, &device())?)?.remove(&pred).ok_or("no gradient")?;
        let [first, rest @ ..] = &objective.gradients(&p, &target, 3)?[..] else { panic!("three terms") };
        let sum = rest.iter().try_fold(first.clone(), |sum, gradient| sum + gradient)?;
        assert_close("sum of gradients", &sum, &want, 1e-12)?;
    }
    Ok(())
}

/// A term whose weight is 0, because its schedule has not begun, neither counts nor moves its learned weight.
#[test]
fn learned_weights_rest_while_their_term_is_off() -> Outcome {
    let (p, t) = (image("p", &Term::Mse {})?, image("t", &Term::Mse {})?);
    let late = Weight { value: 1.0, schedule: Some(WeightSchedule::Switch { from: 0.0, at: 2 }) };
    let s = Var::new(&[0.7], &device())?;
    let objective = ImageObjective::new(vec![(Term::Mse {}, late)], Networks::default())?;
    let objective = objective.with_log_weights(vec![s.as_tensor().clone()])?;
    let target = objective.target(&t)?;
    let one = Tensor::new(1f64, &device())?;
    let before = objective.evaluate(&p, &target, 1)?;
    assert_eq!((before.weighted[0], before.log_weights), (0.0, Some(vec![0.7])));
    assert!(before.total.backward(&one)?.get(&s).is_none());
    assert!(objective.evaluate(&p, &target, 2)?.total.backward(&one)?.get(&s).is_some());
    Ok(())
}

/// e⁻ˢ L + s by s is 1 − e⁻ˢ L.
#[test]
fn learned_weights_have_gradients() -> Outcome {
    let (p, t) = (image("p", &Term::Mse {})?, image("t", &Term::Mse {})?);
    let terms = vec![(Term::Mse {}, Weight::from(100.0)), (Term::L1 {}, Weight::from(1.0))];
    let log_weights = [Var::new(&[0.5], &device())?, Var::new(&[-0.5], &device())?];
    let as_tensors = log_weights.iter().map(|s| s.as_tensor().clone()).collect();
    let objective = ImageObjective::new(terms, Networks::default())?.with_log_weights(as_tensors)?;
    let evaluation = objective.evaluate(&p, &objective.target(&t)?, 0)?;
    let grads = evaluation.total.backward(&Tensor::new(1f64, &device())?)?;
    for (i, (s, weight)) in log_weights.iter().zip([100.0, 1.0]).enumerate() {
        let at = s.to_vec1::<f64>()?[0];
        let scaled = (-at).exp() * weight * evaluation.raw[i];
        assert!((evaluation.weighted[i] - (scaled + at)).abs() < 1e-12);
        let got = grads.get(s).ok_or("no gradient")?.to_vec1::<f64>()?[0];
        assert!((got - (1.0 - scaled)).abs() < 1e-12, "{got}, not {}", 1.0 - scaled);
    }
    Ok(())
}

#[test]
fn weights_come_to_their_value() {
    let weight = |schedule| Weight { value: 2.0, schedule: Some(schedule) };
    let ramp = weight(WeightSchedule::Ramp { from: 1.0, start: 2, end: 6 });
    assert_eq!([0, 2, 3, 4, 6, 9].map(|epoch| ramp.at(epoch)), [1.0, 1.0, 1.25, 1.5, 2.0, 2.0]);
    let switch = weight(WeightSchedule::Switch { from: 0.0, at: 3 });
    assert_eq!([0, 2, 3, 9].map(|epoch| switch.at(epoch)), [0.0, 0.0, 2.0, 2.0]);
    assert_eq!(Weight::from(7.0).at(5), 7.0);
}

#[test]
fn only_the_prediction_takes_a_gradient() -> Outcome {
    for term in terms() {
        let objective = alone(&term, DType::F64)?;
        let (pred, target) = (Var::from_tensor(&image("p", &term)?)?, Var::from_tensor(&image("t", &term)?)?);
        let total = objective.evaluate(Node::from(&pred), &objective.target(target.as_tensor())?, 0)?.total;
        let grads = total.backward(&Tensor::new(1f64, &device())?)?;
        assert!(grads.get(&pred).is_some(), "{term:?}");
        assert!(grads.get(&target).is_none(), "{term:?}");
    }
    Ok(())
}
