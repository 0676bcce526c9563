//! The term on class scores.

use crate::common::{Outcome, alone, gradient, objective, value};
use candle_core::{DType, Tensor};
use colormamba_losses::{Channels, ImageObjective, LossError, Networks, Term, Weight};
use colormamba_ops::Node;
use colormamba_testkit::{assert_close, assert_gradients, device, noise_tensor};

const TERM: Term = Term::CrossEntropy {};

/// Scores of three classes, two rows of them.
const SCORES: [[f64; 3]; 2] = [[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]];

fn of(scores: &Tensor, target: &Tensor) -> Result<f64, LossError> {
    value(&TERM, Networks::default(), scores, target)
}

fn tensor(rows: &[[f64; 3]]) -> candle_core::Result<Tensor> {
    Tensor::from_iter(rows.iter().flatten().copied(), &device())?.reshape((rows.len(), 3))
}

/// Rows of probabilities.
fn probabilities(name: &str, rows: usize, classes: usize) -> candle_core::Result<Tensor> {
    let positive = noise_tensor(name, (rows, classes))?.to_dtype(DType::F64)?.exp()?;
    positive.broadcast_div(&positive.sum_keepdim(1)?)
}

/// −ln(eˣ/Σ eˣ) of the class, averaged: `torch.nn.functional.cross_entropy(scores, classes)`.
#[test]
fn of_known_classes_it_is_the_negative_log_likelihood() -> Outcome {
    let log_sum = |row: [f64; 3]| row.iter().map(|x| x.exp()).sum::<f64>().ln();
    let want = (log_sum(SCORES[0]) - SCORES[0][2] + log_sum(SCORES[1]) - SCORES[1][1]) / 2.0;
    let got = of(&tensor(&SCORES)?, &tensor(&[[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])?)?;
    assert!((got - want).abs() < 1e-14, "{got}, not {want}");
    // ln(e² + e⁻¹ + e^½) − ½ = 1.7413 and ln(1 + e³ + e⁻²) − 3 = 0.0550, computed by hand.
    assert!((got - 0.898_148).abs() < 1e-6, "{got}");
    Ok(())
}

/// `torch.nn.functional.cross_entropy(scores, probabilities)`.
#[test]
fn of_probabilities_it_is_their_mean_negative_log_likelihood() -> Outcome {
    let target = [[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]];
    let mut want = 0.0;
    for (row, probabilities) in SCORES.iter().zip(&target) {
        let log_sum = row.iter().map(|x| x.exp()).sum::<f64>().ln();
        want += row.iter().zip(probabilities).map(|(x, t)| t * (log_sum - x)).sum::<f64>() / 2.0;
    }
    let got = of(&tensor(&SCORES)?, &tensor(&target)?)?;
    assert!((got - want).abs() < 1e-14, "{got}, not {want}");
    Ok(())
}

/// Equal scores say nothing: the loss is the logarithm of the number of classes.
#[test]
fn equal_scores_cost_the_logarithm_of_the_number_of_classes() -> Outcome {
    let got = of(&Tensor::full(7.0, (4, 10), &device())?, &probabilities("t", 4, 10)?)?;
    assert!((got - 10f64.ln()).abs() < 1e-14, "{got}");
    Ok(())
}

#[test]
fn its_gradient_is_that_of_finite_differences() -> Outcome {
    let objective = alone(&TERM, DType::F64)?;
    let target = objective.target(&probabilities("fd.t", 3, 5)?)?;
    assert_gradients("cross_entropy", &[noise_tensor("fd.p", (3, 5))?], 1e-8, |x| {
        let evaluation = objective.evaluate(Node::from(&x[0]), &target, 0);
        Ok(evaluation.map_err(candle_core::Error::wrap)?.total)
    })?;
    Ok(())
}

/// (softmax(p) − t)/B, in the type of the scores.
#[test]
fn its_gradient_is_softmax_less_target() -> Outcome {
    let target = probabilities("t", 2, 3)?;
    let exponentials = tensor(&SCORES)?.exp()?;
    let softmax = exponentials.broadcast_div(&exponentials.sum_keepdim(1)?)?;
    let want = ((softmax - &target)? / 2.0)?.to_dtype(DType::F32)?;
    let narrow = |x: &Tensor| x.to_dtype(DType::F32);
    let (_, got) = gradient(&alone(&TERM, DType::F32)?, &narrow(&tensor(&SCORES)?)?, &narrow(&target)?)?;
    assert_eq!(got.dtype(), DType::F32);
    assert_close("cross_entropy", &got, &want, 1e-6)?;
    Ok(())
}

/// Where e to the power of a score is infinite, or 0 for all classes.
#[test]
fn large_scores_do_not_overflow() -> Outcome {
    let target = tensor(&[[0.0, 1.0, 0.0]])?;
    for offset in [1e4, -1e4] {
        let scores = tensor(&[SCORES[0].map(|x| x + offset)])?;
        let got = of(&scores, &target)?;
        assert!((got - of(&tensor(&SCORES[..1])?, &target)?).abs() < 1e-9, "{got} at {offset}");
        let (_, slopes) = gradient(&alone(&TERM, DType::F64)?, &scores, &target)?;
        assert!(slopes.flatten_all()?.to_vec1::<f64>()?.iter().all(|slope| slope.is_finite()));
    }
    let got = of(&tensor(&[[-1e4, 1e4, 0.0]])?, &tensor(&[[1.0, 0.0, 0.0]])?)?;
    assert_eq!(got, 2e4, "a class that is next to impossible");
    Ok(())
}

#[test]
fn images_and_class_scores_do_not_mix() -> Outcome {
    let message = |result: Result<_, LossError>| result.map(|_: colormamba_losses::Target| ()).unwrap_err().to_string();
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &device());
    let scored = alone(&TERM, DType::F32)?;
    assert_eq!(
        message(scored.target(&zeros(&[2, 3, 4, 4])?)),
        "loss term `cross_entropy` takes class scores (B, n), got shape [2, 3, 4, 4]"
    );
    assert_eq!(
        message(objective(&[(Term::Mse {}, 1.0)], Networks::default())?.target(&zeros(&[2, 5])?)),
        "loss term `mse` takes images (B, C, H, W), got shape [2, 5]"
    );
    for dims in [&[5][..], &[2, 5, 1], &[0, 5], &[2, 0]] {
        assert!(matches!(scored.target(&zeros(dims)?), Err(LossError::Image { .. })), "{dims:?}");
    }
    let wanted = "loss term `cross_entropy` takes probabilities as the target, not below 0 and 1 in sum for each row";
    assert_eq!(message(scored.target(&zeros(&[2, 5])?)), wanted);
    let target = scored.target(&probabilities("t", 2, 5)?.to_dtype(DType::F32)?)?;
    assert!(matches!(scored.evaluate(&zeros(&[2, 4])?, &target, 0), Err(LossError::Mismatch { .. })));
    assert_eq!(TERM.channels(), Channels::Classes);
    Ok(())
}

/// Weights, learned ones too, treat it as any other term.
#[test]
fn its_weight_may_be_learned() -> Outcome {
    let log_weight = Tensor::new(&[0.5], &device())?;
    let objective = ImageObjective::new(vec![(TERM, Weight::from(3.0))], Networks::default())?;
    let objective = objective.with_log_weights(vec![log_weight])?;
    let target = objective.target(&tensor(&[[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])?)?;
    let evaluation = objective.evaluate(&tensor(&SCORES)?, &target, 0)?;
    let want = (-0.5f64).exp() * 3.0 * evaluation.raw[0] + 0.5;
    assert!((evaluation.weighted[0] - want).abs() < 1e-12);
    assert_eq!(objective.gradients(&tensor(&SCORES)?, &target, 0)?[0].dims(), [2, 3]);
    Ok(())
}
