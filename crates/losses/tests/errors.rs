//! What a user can get wrong, and what they are told.

use crate::common::{Outcome, objective};
use candle_core::{DType, Tensor};
use colormamba_losses::{
    Charbonnier, Extractor, ImageObjective, LossError, Networks, Preset, SmoothL1, Term, Weight, WeightSchedule,
};
use colormamba_testkit::device;

fn message(result: Result<impl Sized, LossError>) -> String {
    result.err().expect("an error").to_string()
}

#[test]
fn names_are_read_back() {
    for term in Term::all() {
        assert_eq!(term.name().parse::<Term>().unwrap(), term);
    }
    for preset in Preset::all() {
        assert_eq!(Preset::named(preset.name).unwrap(), preset);
    }
}

/// The list of all terms is complete: every variant that serde knows is in it under its name.
#[test]
fn names_are_those_of_the_manifest() {
    let unknown = serde_json::from_str::<Term>("{\"nothing\": {}}").unwrap_err().to_string();
    let known: Vec<&str> = unknown.split('`').skip(3).step_by(2).collect();
    assert_eq!(known, Term::all().iter().map(Term::name).collect::<Vec<_>>());
}

#[test]
fn a_misspelt_term_suggests_the_nearest() {
    let nearest = |name: &str| match name.parse::<Term>() {
        Err(LossError::UnknownTerm { nearest, .. }) => nearest,
        other => panic!("{other:?}"),
    };
    assert_eq!(nearest("msee"), Some("mse"));
    assert_eq!(nearest("feature_cos"), Some("feature_cosine"));
    assert_eq!(nearest("MSE"), Some("mse"));
    assert_eq!(nearest("quality"), None);
    let text = message("featuremse".parse::<Term>());
    assert!(
        text.starts_with("unknown loss term `featuremse`, did you mean `feature_mse`?; the terms are mse, l1,"),
        "{text}"
    );
    let text = message(Preset::named("thesis-vg"));
    assert!(
        text.starts_with("unknown preset `thesis-vg`, did you mean `thesis-vgg`?; the presets are colormamba"),
        "{text}"
    );
}

#[test]
fn impossible_objectives() {
    let of = |terms: &[(Term, f64)]| objective(terms, Networks::default());
    for weight in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(of(&[(Term::L1 {}, weight)]), Err(LossError::Weight { term: "l1", .. })));
    }
    assert_eq!(
        message(of(&[(Term::Mse {}, -2.0)])),
        "loss term `mse` has weight -2; a weight is a finite number that is not negative"
    );
    let twice = [(Term::L1 {}, 1.0), (Term::Mse {}, 1.0), (Term::L1 {}, 2.0)];
    assert!(matches!(of(&twice), Err(LossError::Duplicate { term: "l1" })));
    for term in Term::all().into_iter().filter(|term| term.extractor().is_some()) {
        assert!(matches!(of(&[(term, 1.0)]), Err(LossError::NoFeatures { .. })));
    }
    assert_eq!(
        message(of(&[(Term::FeatureMse {}, 1.0)])),
        format!("loss term `feature_mse` looks through {}, which is not given", Extractor::Autoencoder)
    );
    assert_eq!(
        message(of(&[(Term::SmoothL1(SmoothL1 { beta: 0.0 }), 1.0)])),
        "loss term `smooth_l1`: beta is 0, it must be above 0"
    );
    assert!(of(&[(Term::Charbonnier(Charbonnier { eps: f64::NAN }), 1.0)]).is_err());
}

#[test]
fn impossible_weights() {
    let with = |schedule| {
        ImageObjective::new(vec![(Term::Mse {}, Weight { value: 1.0, schedule: Some(schedule) })], Networks::default())
    };
    let backwards = WeightSchedule::Ramp { from: 0.0, start: 4, end: 4 };
    assert_eq!(
        message(with(backwards)),
        "loss term `mse`: its ramp starts in epoch 4 and ends in epoch 4; it must end later"
    );
    assert!(matches!(with(WeightSchedule::Switch { from: -1.0, at: 1 }), Err(LossError::Weight { weight: -1.0, .. })));
    let one = objective(&[(Term::Mse {}, 1.0)], Networks::default()).unwrap();
    assert_eq!(message(one.with_log_weights(Vec::new())), "learned weights are one scalar for each of the 1 terms");
}

#[test]
fn images_of_channels_that_a_term_does_not_take() -> Outcome {
    let of = |terms: &[(Term, f64)], channels: usize| {
        objective(terms, Networks::default())?.target(&Tensor::zeros((1, channels, 4, 4), DType::F32, &device())?)
    };
    assert_eq!(
        message(of(&[(Term::Mse {}, 1.0), (Term::Hue {}, 1.0)], 1)),
        "loss term `hue` takes images of 3 channels, got 1"
    );
    let term = Term::LogDomain(Default::default());
    assert!(of(&[(term, 1.0)], 2).is_ok());
    assert_eq!(
        message(Term::FeatureMse {}.check_shape(&(1, 2, 64, 64).into())),
        "loss term `feature_mse` takes images of 1 or 3 channels, got 2"
    );
    assert!(matches!(Term::L1 {}.check_shape(&(1, 0, 64, 64).into()), Err(LossError::Channels { got: 0, .. })));
    Ok(())
}

#[test]
fn images_that_do_not_fit() -> Outcome {
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &device());
    let mse = objective(&[(Term::Mse {}, 1.0)], Networks::default())?;
    for dims in [&[3, 4, 4][..], &[1, 0, 4, 4], &[0, 3, 4, 4]] {
        assert!(matches!(mse.target(&zeros(dims)?), Err(LossError::Image { .. })), "{dims:?}");
    }
    let target = mse.target(&zeros(&[2, 3, 4, 4])?)?;
    assert!(matches!(mse.evaluate(&zeros(&[1, 3, 4, 4])?, &target, 0), Err(LossError::Mismatch { .. })));

    let ms_ssim = objective(&[(Term::MsSsimPublished {}, 1.0)], Networks::default())?;
    assert_eq!(
        message(ms_ssim.target(&zeros(&[1, 3, 175, 256])?)),
        "loss term `ms_ssim_published` needs images of at least 176x176 pixels, got 175x256"
    );
    let none = objective(&[], Networks::default())?;
    assert!(matches!(none.evaluate(&zeros(&[2, 3, 4, 4])?, &target, 0), Err(LossError::Mismatch { .. })));
    Ok(())
}
