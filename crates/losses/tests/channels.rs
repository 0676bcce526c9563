//! How many channels the images of each term have, and what it makes of images that are not of three.

use crate::common;
use crate::common::{Outcome, alone, gradient, terms};
use candle_core::{DType, Tensor};
use colormamba_losses::{Channels, EnlOptions, HistogramOptions, LossError, Mask, Space, Term};
use colormamba_ops::Node;
use colormamba_testkit::{assert_close, assert_gradients, device, unit_image};

/// What the term ought to take.
fn expected(term: &Term) -> Channels {
    match term.name() {
        "cosine" | "hue" | "ciede2000" => Channels::Three,
        "feature_mse" | "feature_cosine" | "vgg" | "style" | "lpips" => Channels::OneOrThree,
        "histogram" => match term {
            Term::Histogram(HistogramOptions { space: Space::Rgb, .. }) => Channels::Any,
            _ => Channels::Three,
        },
        _ => Channels::Any,
    }
}

/// Whether a term's value is the mean over the channels, each compared alone.
fn averages_over_channels(term: &Term) -> bool {
    match term.name() {
        "mse" | "l1" | "smooth_l1" | "charbonnier" | "ssim" | "d_ssim" | "ms_ssim" => true,
        "sobel" | "laplacian" | "total_variation" | "log_domain" => true,
        "histogram" => expected(term) == Channels::Any,
        // The homogeneous windows are those of all channels together.
        "enl" => matches!(term, Term::Enl(EnlOptions { mask: Mask::All, .. })),
        _ => false,
    }
}

fn image(name: &str, term: &Term, channels: usize) -> candle_core::Result<Tensor> {
    let side = term.smallest_side();
    unit_image(name, (2, channels, side.max(25), side.max(27)))?.to_dtype(DType::F64)
}

fn with_all_windows() -> Vec<Term> {
    let mut terms = terms();
    terms.push(Term::Enl(EnlOptions { mask: Mask::All, ..Default::default() }));
    terms
}

fn grey_ones() -> impl Iterator<Item = Term> {
    with_all_windows().into_iter().filter(|term| term.channels().takes(1))
}

#[test]
fn terms_take_what_they_state_and_nothing_else() -> Outcome {
    for term in with_all_windows() {
        assert_eq!(term.channels(), expected(&term), "{term:?}");
        let objective = alone(&term, DType::F64)?;
        for channels in 1..=4 {
            let (p, t) = (image("p", &term, channels)?, image("t", &term, channels)?);
            match objective.target(&t) {
                Ok(target) => {
                    assert!(term.channels().takes(channels), "{term:?} takes {channels} channels");
                    let value = objective.evaluate(&p, &target, 0)?.raw[0];
                    assert!(value.is_finite() && value > 1e-5, "{term:?} of {channels} channels: {value}");
                }
                Err(LossError::Channels { term: name, takes, got }) => {
                    assert_eq!((name, takes, got), (term.name(), term.channels(), channels));
                    assert!(!term.channels().takes(channels), "{term:?} refuses {channels} channels");
                }
                Err(other) => return Err(other.into()),
            }
        }
    }
    Ok(())
}

/// A grey image has the value of the same image in three channels, and the sum of their gradients.
#[test]
fn grey_counts_as_three_channels_that_are_alike() -> Outcome {
    let thrice = |x: &Tensor| Tensor::cat(&[x, x, x], 1);
    for term in grey_ones() {
        let (p, t) = (image("p", &term, 1)?, image("t", &term, 1)?);
        let objective = alone(&term, DType::F64)?;
        let (grey, by_grey) = gradient(&objective, &p, &t)?;
        let (colour, by_colour) = gradient(&objective, &thrice(&p)?, &thrice(&t)?)?;
        assert!((grey - colour).abs() <= 1e-12 * colour.max(1.0), "{term:?}: {grey}, not {colour}");
        assert_close(&format!("{term:?}"), &by_grey, &by_colour.sum_keepdim(1)?, 1e-9)?;
    }
    Ok(())
}

#[test]
fn values_are_means_over_the_channels_where_these_are_compared_one_by_one() -> Outcome {
    for term in with_all_windows().iter().filter(|term| averages_over_channels(term)) {
        let objective = alone(term, DType::F64)?;
        let of = |p: &Tensor, t: &Tensor| -> Result<f64, LossError> {
            Ok(objective.evaluate(p, &objective.target(t)?, 0)?.raw[0])
        };
        let (p, t) = (image("p", term, 3)?, image("t", term, 3)?);
        let all = of(&p, &t)?;
        let mut mean = 0.0;
        for channel in 0..3 {
            mean += of(&p.narrow(1, channel, 1)?, &t.narrow(1, channel, 1)?)? / 3.0;
        }
        assert!((all - mean).abs() <= 1e-12 * all.max(1.0), "{term:?}: {all}, not {mean}");
    }
    Ok(())
}

/// Terms that look through networks are left out: a step of a grey image moves three channels at once over the kinks of their
/// ReLUs. Their gradients are, by the test above, sums of those that `contract.rs` checks.
#[test]
fn gradients_of_grey_images_are_those_of_finite_differences() -> Outcome {
    for mut term in grey_ones().filter(|term| term.extractor().is_none()) {
        if let Term::Histogram(options) = &mut term {
            // With many bins some pixel is always at a centre, where there is a kink.
            options.bins = 8;
        }
        let objective = alone(&term, DType::F64)?;
        let target = objective.target(&image("fd.t", &term, 1)?)?;
        assert_gradients(&format!("{term:?}"), &[image("fd.p", &term, 1)?], 2e-5, |x| {
            let evaluation = objective.evaluate(Node::from(&x[0]), &target, 0);
            Ok(evaluation.map_err(candle_core::Error::wrap)?.total)
        })?;
    }
    Ok(())
}

#[test]
fn terms_are_defined_on_the_smallest_image_that_they_state() -> Outcome {
    for term in with_all_windows() {
        let side = term.smallest_side();
        let channels = if term.channels().takes(1) { 1 } else { 3 };
        let of = |name: &str| unit_image(name, (1, channels, side, side))?.to_dtype(DType::F64);
        let (value, gradient) = gradient(&alone(&term, DType::F64)?, &of("p")?, &of("t")?)?;
        let finite = gradient.flatten_all()?.to_vec1::<f64>()?.iter().all(|g| g.is_finite());
        assert!(value.is_finite() && finite, "{term:?} of {side}x{side} pixels: {value}");
        assert!(side == 1 || term.check_shape(&(1, channels, side, side - 1).into()).is_err(), "{term:?}");
    }
    Ok(())
}

/// Without a term nothing is asked of an image.
#[test]
fn an_objective_without_terms_takes_any_channels() -> Outcome {
    let objective = common::objective(&[], Default::default())?;
    let x = Tensor::zeros((1, 5, 2, 2), DType::F64, &device())?;
    assert_eq!(objective.evaluate(&x, &objective.target(&x)?, 0)?.total.value().to_scalar::<f64>()?, 0.0);
    Ok(())
}
