//! Terms that compare pixel by pixel.

use crate::common::{Outcome, check_golden, value};
use candle_core::Tensor;
use colormamba_losses::{Adversarial, Charbonnier, Networks, Psnr, SmoothL1, Term};
use colormamba_ops::Node;
use colormamba_testkit::{assert_gradients, device, noise_tensor};

#[test]
fn mse_is_the_golden_one() -> Outcome {
    check_golden("mse", &[(Term::Mse {}, 1.0)], 1e-6, 1e-6)
}

#[test]
fn l1_is_the_golden_one() -> Outcome {
    check_golden("l1", &[(Term::L1 {}, 1.0)], 1e-6, 1e-6)
}

#[test]
fn smooth_l1_is_the_golden_one() -> Outcome {
    check_golden("smooth_l1", &[(Term::SmoothL1(SmoothL1 { beta: 1.0 }), 1.0)], 1e-6, 1e-6)
}

#[test]
fn values_known_in_closed_form() -> Outcome {
    let flat = |v: f64| Tensor::full(v, (2, 3, 5, 7), &device());
    let of = |term: Term| {
        Ok::<_, Box<dyn std::error::Error>>(value(&term, Networks::default(), &flat(0.25)?, &flat(0.75)?)?)
    };
    assert_eq!(of(Term::Mse {})?, 0.25);
    assert_eq!(of(Term::L1 {})?, 0.5);
    assert_eq!(of(Term::SmoothL1(SmoothL1 { beta: 0.25 }))?, 0.375);
    assert_eq!(of(Term::SmoothL1(SmoothL1 { beta: 1.0 }))?, 0.125);
    // √(0.25 + 1.44) − 1.2 = 0.1.
    assert!((of(Term::Charbonnier(Charbonnier { eps: 1.2 }))? - 0.1).abs() < 1e-15);
    // A mean squared error of 0.25 is 25 times 0.01: 10 log10 26.
    assert!((of(Term::Psnr(Psnr { eps: 0.01 }))? - 10.0 * 26f64.log10()).abs() < 1e-12);
    Ok(())
}

/// Scores of real images are 2 and 0.5, those of made ones -1.
#[test]
fn adversarial_losses_known_in_closed_form() -> Outcome {
    let scores = |values: &[f64]| Ok::<_, candle_core::Error>(Node::from(&Tensor::new(values, &device())?));
    let (real, fake) = (scores(&[2.0, 0.5])?, scores(&[-1.0])?);
    let softplus = |x: f64| (1.0 + x.exp()).ln();
    let vanilla = (softplus(-2.0) + softplus(-0.5)) / 2.0 + softplus(-1.0);
    let cases = [
        (Adversarial::Lsgan, (1.0 + 0.25) / 2.0 + 1.0, 4.0),
        (Adversarial::Vanilla, vanilla, softplus(1.0)),
        (Adversarial::Hinge, 0.25, 1.0),
        (Adversarial::WganGp, -1.0 - 1.25, 1.0),
    ];
    for (kind, discriminator, generator) in cases {
        let got = kind.discriminator(&real, &fake)?.value().to_scalar::<f64>()?;
        assert!((got - discriminator).abs() < 1e-12, "{kind:?}: {got}, not {discriminator}");
        let got = kind.generator(&fake)?.value().to_scalar::<f64>()?;
        assert!((got - generator).abs() < 1e-12, "{kind:?}: {got}, not {generator}");
    }
    Ok(())
}

#[test]
fn adversarial_gradients_are_those_of_finite_differences() -> Outcome {
    let scores = [noise_tensor("real", (2, 1, 6, 5))?, noise_tensor("fake", (2, 1, 6, 5))?];
    for kind in Adversarial::ALL {
        assert_gradients(&format!("{kind:?} discriminator"), &scores, 1e-8, |x| {
            kind.discriminator(&Node::from(&x[0]), &Node::from(&x[1]))
        })?;
        assert_gradients(&format!("{kind:?} generator"), &scores[..1], 1e-8, |x| kind.generator(&Node::from(&x[0])))?;
    }
    Ok(())
}
