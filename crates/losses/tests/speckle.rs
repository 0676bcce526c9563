//! Terms for images with speckle.

use crate::common::{Outcome, gradient, objective, value};
use candle_core::{DType, Tensor};
use colormamba_losses::{EnlOptions, HistogramOptions, LogDomainOptions, LossError, Mask, Networks, Psnr, Term};
use colormamba_testkit::{assert_gradients, device, noise_tensor, unit_image};

fn log_domain(eps: f64, term: Term) -> Term {
    Term::LogDomain(LogDomainOptions { eps, term: Box::new(term) })
}

fn enl(window: usize, mask: Mask) -> Term {
    Term::Enl(EnlOptions { window, mask })
}

fn flat(colour: f64) -> candle_core::Result<Tensor> {
    Tensor::full(colour, (2, 3, 6, 7), &device())
}

#[test]
fn logarithms_are_compared_as_the_formula_says() -> Outcome {
    let shape = (2, 3, 80, 103);
    let (p, t) = (((unit_image("log.p", shape)? * 1.2)? - 0.1)?, unit_image("log.t", shape)?);
    let values = |x: &Tensor| x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let eps = 0.01f64;
    let logarithm = |x: f64| ((x.max(0.0) + eps).ln() - eps.ln()) / ((1.0 + eps).ln() - eps.ln());
    let pairs: Vec<(f64, f64)> = values(&p)?.into_iter().zip(values(&t)?).collect();
    let want = pairs.iter().map(|&(p, t)| (logarithm(p) - logarithm(t)).abs()).sum::<f64>() / pairs.len() as f64;
    let of = |x: &Tensor| x.to_dtype(DType::F64);
    let got = value(&log_domain(eps, Term::L1 {}), Networks::default(), &of(&p)?, &of(&t)?)?;
    assert!((got - want).abs() < 1e-13 * want, "{got}, not {want}");
    let got = value(&log_domain(eps, Term::L1 {}), Networks::default(), &p, &t)?;
    assert!((got - want).abs() < 1e-6 * want, "in f32 {got}, not {want}");
    Ok(())
}

#[test]
fn logarithms_map_0_to_0_and_1_to_1() -> Outcome {
    for eps in [1e-6, 1e-3, 0.5] {
        let of = |p, t| {
            Ok::<_, Box<dyn std::error::Error>>(value(
                &log_domain(eps, Term::Mse {}),
                Networks::default(),
                &flat(p)?,
                &flat(t)?,
            )?)
        };
        assert!((of(1.0, 0.0)? - 1.0).abs() < 1e-14);
        assert_eq!(of(-3.0, 0.0)?, 0.0);
    }
    Ok(())
}

#[test]
fn gradients_are_those_of_finite_differences() -> Outcome {
    let shape = (2, 3, 13, 11);
    let (pred, target) = (unit_image("speckle.pred", shape)?, unit_image("speckle.target", shape)?);
    let outside = (noise_tensor("speckle.noise", shape)? * 1.3)?;
    let terms = [
        log_domain(1e-2, Term::Mse {}),
        log_domain(0.3, Term::Psnr(Psnr::default())),
        enl(2, Mask::All),
        enl(3, Mask::Homogeneous),
        enl(11, Mask::Homogeneous),
    ];
    for term in terms {
        let objective = objective(&[(term.clone(), 1.0)], Networks::default())?;
        let target = objective.target(&target.to_dtype(DType::F64)?)?;
        for pred in [&pred, &outside] {
            assert_gradients(term.name(), std::slice::from_ref(pred), 1e-6, |x| {
                objective
                    .evaluate(&x[0], &target, 0)
                    .map(|evaluation| evaluation.total)
                    .map_err(candle_core::Error::wrap)
            })?;
        }
    }
    Ok(())
}

#[test]
fn only_pixel_structure_and_edge_terms_are_wrapped() {
    let wrapped = |term| objective(&[(log_domain(1e-3, term), 1.0)], Networks::default());
    for term in [Term::L1 {}, Term::Ssim(Default::default()), Term::Sobel {}, Term::TotalVariation {}] {
        assert!(wrapped(term).is_ok());
    }
    for term in [
        Term::FeatureMse {},
        Term::Hue {},
        Term::Histogram(HistogramOptions::default()),
        log_domain(1e-3, Term::L1 {}),
        enl(7, Mask::All),
        Term::Psnr(Psnr { eps: 0.0 }),
    ] {
        assert!(matches!(wrapped(term), Err(LossError::Option { term: "log_domain", .. })));
    }
    let made = |term| objective(&[(term, 1.0)], Networks::default());
    assert!(matches!(made(log_domain(0.0, Term::L1 {})), Err(LossError::Option { term: "log_domain", .. })));
    assert!(matches!(made(enl(1, Mask::All)), Err(LossError::Option { term: "enl", .. })));
}

/// C² of every window of an image `[channel][row][column]`.
fn variations(image: &[Vec<Vec<f64>>], side: usize) -> Vec<Vec<f64>> {
    let (rows, columns) = (image[0].len() / side, image[0][0].len() / side);
    let mut windows = Vec::new();
    for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
        let of = |plane: &Vec<Vec<f64>>| {
            let rows = plane[row * side..(row + 1) * side].iter();
            let values: Vec<f64> = rows.flat_map(|row| row[column * side..(column + 1) * side].to_vec()).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let squares = values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64;
            (squares - mean * mean) / (mean * mean + 1e-6)
        };
        windows.push(image.iter().map(of).collect());
    }
    windows
}

#[test]
fn enl_is_what_the_formula_says() -> Outcome {
    let shape = (3, 3, 40, 47);
    let (p, t) = (unit_image("enl.p", shape)?.to_dtype(DType::F64)?, unit_image("enl.t", shape)?.to_dtype(DType::F64)?);
    for (side, mask) in [(7, Mask::All), (7, Mask::Homogeneous), (4, Mask::Homogeneous), (40, Mask::Homogeneous)] {
        let mut want = 0.0;
        for image in 0..3 {
            let of = |x: &Tensor| Ok::<_, candle_core::Error>(variations(&x.get(image)?.to_vec3::<f64>()?, side));
            let (p, t) = (of(&p)?, of(&t)?);
            let mut sorted: Vec<f64> = t.iter().map(|window| window.iter().sum()).collect();
            sorted.sort_by(f64::total_cmp);
            let limit = if mask == Mask::All { f64::INFINITY } else { sorted[(sorted.len() - 1) / 2] };
            let counted: Vec<_> = p.iter().zip(&t).filter(|(_, t)| t.iter().sum::<f64>() <= limit).collect();
            let distance =
                |(p, t): &(&Vec<f64>, &Vec<f64>)| p.iter().zip(*t).map(|(p, t)| (p - t).abs()).sum::<f64>() / 3.0;
            want += counted.iter().map(distance).sum::<f64>() / counted.len() as f64 / 3.0;
        }
        let got = value(&enl(side, mask), Networks::default(), &p, &t)?;
        assert!((got - want).abs() < 1e-10 * want, "{side} {mask:?}: {got}, not {want}");
    }
    Ok(())
}

/// Half of the pixels at 0.5 ± 0.1, against a flat image: C² = 0.01/0.25, from 25 looks.
#[test]
fn enl_known_in_closed_form() -> Outcome {
    let checked: Vec<f64> = (0..8 * 9).map(|i| if (i / 9 + i % 9) % 2 == 0 { 0.4 } else { 0.6 }).collect();
    let checked = Tensor::from_vec(checked, (1, 1, 8, 9), &device())?.broadcast_as((2, 3, 8, 9))?;
    let flat = Tensor::full(0.7, (2, 3, 8, 9), &device())?;
    for mask in [Mask::All, Mask::Homogeneous] {
        let got = value(&enl(2, mask), Networks::default(), &checked, &flat)?;
        assert!((got - 0.04).abs() < 1e-6, "{got}");
    }
    Ok(())
}

/// Rows and columns beyond the last whole window have no part in it.
#[test]
fn enl_leaves_out_what_does_not_fit() -> Outcome {
    let (pred, target) = (unit_image("enl.pred", (1, 3, 15, 16))?, unit_image("enl.target", (1, 3, 15, 16))?);
    let objective = objective(&[(enl(7, Mask::All), 1.0)], Networks::default())?;
    let (_, grad) = gradient(&objective, &pred, &target)?;
    let outside = [grad.narrow(2, 14, 1)?, grad.narrow(3, 14, 2)?];
    for part in outside {
        assert!(part.flatten_all()?.to_vec1::<f32>()?.iter().all(|g| *g == 0.0));
    }
    assert!(grad.narrow(2, 13, 1)?.narrow(3, 0, 14)?.abs()?.min_all()?.to_scalar::<f32>()? > 0.0);
    Ok(())
}

#[test]
fn degenerate_images_have_finite_gradients() -> Outcome {
    for term in
        [log_domain(1e-3, Term::L1 {}), log_domain(1e-8, Term::Mse {}), enl(2, Mask::All), enl(3, Mask::Homogeneous)]
    {
        let objective = objective(&[(term.clone(), 1.0)], Networks::default())?;
        for dtype in [DType::F32, DType::F64] {
            for (p, t) in [0.0, 0.5, 1.0, -0.7, 3.0].iter().flat_map(|&p| [0.0, 0.5, 1.0, -0.7, 3.0].map(|t| (p, t))) {
                let (value, grad) = gradient(&objective, &flat(p)?.to_dtype(dtype)?, &flat(t)?.to_dtype(dtype)?)?;
                assert!(value.is_finite() && value >= 0.0, "{term} of {p} and {t}: {value}");
                assert!(p != t || value == 0.0, "{term} of {p} and itself: {value}");
                let grad = grad.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
                assert!(grad.iter().all(|g| g.is_finite()), "{term} of {p} and {t}");
            }
        }
    }
    Ok(())
}
