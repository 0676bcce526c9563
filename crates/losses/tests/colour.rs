//! Terms that compare colours.

use crate::common::{Outcome, gradient, objective, value};
use candle_core::{DType, Tensor};
use colormamba_losses::{Networks, Term};
use colormamba_metrics::ciede2000;
use colormamba_metrics::colour::lab;
use colormamba_testkit::{assert_gradients, device, noise_tensor, unit_image};

const TERMS: [Term; 3] = [Term::Cosine {}, Term::Hue {}, Term::Ciede2000 {}];

/// The colours of all pixels.
fn pixels(image: &Tensor) -> candle_core::Result<Vec<[f64; 3]>> {
    let channels = image.to_dtype(DType::F64)?.transpose(0, 1)?.flatten_from(1)?.to_vec2::<f64>()?;
    Ok((0..channels[0].len()).map(|i| [channels[0][i], channels[1][i], channels[2][i]]).collect())
}

/// The mean of `f` over the pixels of two images.
fn mean(p: &Tensor, t: &Tensor, f: impl Fn([f64; 3], [f64; 3]) -> f64) -> candle_core::Result<f64> {
    let (p, t) = (pixels(p)?, pixels(t)?);
    Ok(p.iter().zip(&t).map(|(&p, &t)| f(p, t)).sum::<f64>() / p.len() as f64)
}

/// An image of one colour.
fn flat(colour: [f64; 3]) -> candle_core::Result<Tensor> {
    Tensor::new(&colour, &device())?.reshape((1, 3, 1, 1))?.broadcast_as((2, 3, 3, 5))
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The hue angle in the plane across the greys, and the chroma.
fn polar([r, g, b]: [f64; 3]) -> (f64, f64) {
    let (alpha, beta) = (r - (g + b) / 2.0, 3f64.sqrt() / 2.0 * (g - b));
    (beta.atan2(alpha), alpha.hypot(beta))
}

#[test]
fn values_are_those_of_the_formulas() -> Outcome {
    // More pixels than are summed up at a time, in no round number.
    let shape = (2, 3, 133, 251);
    let [p, t] = [unit_image("colour.p", shape)?, unit_image("colour.t", shape)?];
    let cosine = mean(&p, &t, |p, t| 1.0 - dot(p, t) / (dot(p, p) * dot(t, t)).sqrt())?;
    let hue = mean(&p, &t, |p, t| {
        let ((h_p, c_p), (h_t, c_t)) = (polar(p), polar(t));
        c_p * c_t * (1.0 - (h_p - h_t).cos()) / 2.0
    })?;
    let difference = mean(&p, &t, |p, t| ciede2000(lab(p), lab(t)))?;
    // ciede2000 is less by ε = 1e-3 nearly everywhere; so is its tolerance.
    for (term, want, tolerance) in
        [(&TERMS[0], cosine, 1e-6), (&TERMS[1], hue, 1e-12), (&TERMS[2], difference - 1e-3, 1e-5)]
    {
        let got = value(term, Networks::default(), &p, &t)?;
        assert!((got - want).abs() <= tolerance * want, "{term}: {got}, not {want}");
        let back = value(term, Networks::default(), &t, &p)?;
        assert!((got - back).abs() <= 1e-12 * got, "{term}: {got}, and {back} the other way round");
    }
    Ok(())
}

#[test]
fn values_known_in_closed_form() -> Outcome {
    let (red, green, cyan, grey) = ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 1.0], [0.3; 3]);
    let of = |term: &Term, p, t| {
        Ok::<_, Box<dyn std::error::Error>>(value(term, Networks::default(), &flat(p)?, &flat(t)?)?)
    };
    let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-7, "{got}, not {want}");
    let [cosine, hue, ciede2000] = &TERMS;
    near(of(cosine, red, green)?, 1.0);
    near(of(cosine, red, grey)?, 1.0 - 1.0 / 3f64.sqrt());
    near(of(cosine, grey, [0.9; 3])?, 0.0);
    near(of(cosine, red, [0.0; 3])?, 0.0);
    near(of(hue, red, cyan)?, 1.0);
    near(of(hue, red, green)?, 0.75);
    near(of(hue, [1.0, 0.5, 0.5], cyan)?, 0.5);
    near(of(hue, grey, cyan)?, 0.0);
    // Of greys only lightness differs, here from 0 to 100: 100 / (1 + 0.015 · 0 / √20), in the white point's seven digits.
    assert!((of(ciede2000, [0.0; 3], [1.0; 3])? - (100.0 - 1e-3)).abs() < 1e-4);
    Ok(())
}

/// Also for a prediction that leaves [0, 1] on both sides.
#[test]
fn gradients_are_those_of_finite_differences() -> Outcome {
    let shape = (2, 3, 5, 7);
    let target = unit_image("colour.target", shape)?;
    let inside = unit_image("colour.pred", shape)?;
    let outside = (noise_tensor("colour.noise", shape)? * 1.5)?;
    for term in &TERMS {
        let objective = objective(&[(term.clone(), 1.0)], Networks::default())?;
        let target = objective.target(&target.to_dtype(DType::F64)?)?;
        for pred in [&inside, &outside] {
            assert_gradients(term.name(), std::slice::from_ref(pred), 2e-6, |x| {
                objective
                    .evaluate(&x[0], &target, 0)
                    .map(|evaluation| evaluation.total)
                    .map_err(candle_core::Error::wrap)
            })?;
        }
    }
    Ok(())
}

/// Grey, black, white, equal and far images: everything stays finite, and nothing is below zero.
#[test]
fn degenerate_images_have_finite_gradients() -> Outcome {
    let colours = [
        [0.0; 3],
        [0.5; 3],
        [1.0; 3],
        [0.2, 0.6, 0.4],
        [-0.5; 3],
        [-1.0, 2.0, 0.0],
        [1e-30, 0.0, 0.0],
        [1e6, -1e6, 3.0],
    ];
    for term in &TERMS {
        let objective = objective(&[(term.clone(), 1.0)], Networks::default())?;
        for dtype in [DType::F32, DType::F64] {
            for p in colours {
                for t in colours {
                    let (value, grad) = gradient(&objective, &flat(p)?.to_dtype(dtype)?, &flat(t)?.to_dtype(dtype)?)?;
                    assert!(value.is_finite() && value >= 0.0, "{term} of {p:?} and {t:?}: {value}");
                    assert!(p != t || value == 0.0, "{term} of {p:?} and itself: {value}");
                    let grad = grad.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
                    assert!(grad.iter().all(|g| g.is_finite()), "{term} of {p:?} and {t:?}: {:?}", &grad[..3]);
                }
            }
        }
    }
    Ok(())
}

/// A grey prediction is drawn to the hue of its target.
#[test]
fn greys_are_drawn_to_the_colour() -> Outcome {
    for term in &TERMS {
        let objective = objective(&[(term.clone(), 1.0)], Networks::default())?;
        let (_, grad) = gradient(&objective, &flat([0.5; 3])?, &flat([0.8, 0.4, 0.3])?)?;
        let grad = pixels(&grad)?[0];
        assert!(grad[0] < 0.0 && grad[0] < grad[1] && grad[0] < grad[2], "{term}: {grad:?}");
    }
    Ok(())
}
