//! Terms that compare local structure.

use crate::common::{Outcome, check_golden, gradient, objective, value};
use candle_core::{DType, Tensor};
use colormamba_losses::{LossError, Networks, Padding, Part, SsimOptions, Term, WindowOptions};
use colormamba_ops::Node;
use colormamba_testkit::{Fixture, assert_close, assert_gradients, device, noise_tensor, unit_image};

const PARTS: [Part; 5] = [Part::All, Part::Luminance, Part::Contrast, Part::Structure, Part::ContrastStructure];
const PADDINGS: [Padding; 3] = [Padding::Valid, Padding::Zero, Padding::Reflect];
const SCALES: [f64; 5] = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333];

/// The golden files are computed in f32, as differences of moments: their own rounding is most of what is seen here (1.6e-5).
#[test]
fn ssim_is_the_golden_one() -> Outcome {
    check_golden("ssim_g11", &[(Term::Ssim(SsimOptions::default()), 1.0)], 3e-5, 5e-5)
}

#[test]
fn ms_ssim_is_the_golden_one() -> Outcome {
    check_golden("ms_ssim_g11", &[(Term::MsSsim {}, 1.0)], 1e-5, 3e-5)
}

#[test]
fn the_published_multi_scale_similarity_is_the_golden_one() -> Outcome {
    check_golden("msssim_original_6ch", &[(Term::MsSsimPublished {}, 1.0)], 4e-5, 5e-5)
}

#[test]
fn single_precision_agrees_with_double() -> Outcome {
    let golden = Fixture::load("losses")?;
    let (p, t) = (golden.get("in.pred")?, golden.get("in.target")?);
    let parts = PARTS.map(|part| Term::Ssim(SsimOptions { part, ..Default::default() }));
    for term in parts.into_iter().chain([Term::MsSsim {}, Term::MsSsimPublished {}]) {
        let objective = objective(&[(term.clone(), 1.0)], Networks::default())?;
        let (value, grad) = gradient(&objective, &p.to_dtype(DType::F64)?, &t.to_dtype(DType::F64)?)?;
        let (value_32, grad_32) = gradient(&objective, p, t)?;
        println!("{term}: value off by {:.1e}", (value - value_32).abs() / value);
        assert!((value - value_32).abs() <= 1e-6 * value, "{term}: {value_32}, not {value}");
        assert_close(term.name(), &grad_32, &grad, 1e-5)?;
    }
    Ok(())
}

/// l, c, s and c · s of one window.
type Factors = [f64; 4];

/// A window: its width, the Gaussian's standard deviation, and what lies beyond the border.
type Window = (usize, f64, Padding);

/// The factors of SSIM in every window of every plane, from the definitions, for values of the range `range`.
fn factors(p: &Tensor, t: &Tensor, window: Window, range: f64) -> candle_core::Result<Vec<Vec<Factors>>> {
    let (b, c, h, w) = p.dims4()?;
    let (p, t) = (p.reshape((b * c, h * w))?.to_vec2::<f64>()?, t.reshape((b * c, h * w))?.to_vec2::<f64>()?);
    let border = window.0 as isize / 2;
    let rim = if window.2 == Padding::Valid { border } else { 0 };
    let middles = (rim..h as isize - rim).flat_map(|i| (rim..w as isize - rim).map(move |j| (i, j)));
    let middles: Vec<_> = middles.collect();
    let plane = |(p, t): (&Vec<f64>, &Vec<f64>)| {
        let at = |i: isize, j: isize| match (inside(i, h, window.2), inside(j, w, window.2)) {
            (Some(i), Some(j)) => (p[i * w + j], t[i * w + j]),
            _ => (0.0, 0.0),
        };
        let of = |&(i, j): &(isize, isize)| {
            let offsets = (-border..=border).flat_map(|y| (-border..=border).map(move |x| (y, x)));
            let gauss = |(y, x): (isize, isize)| (-((y * y + x * x) as f64) / (2.0 * window.1 * window.1)).exp();
            let pixels: Vec<_> = offsets.map(|(y, x)| (gauss((y, x)), at(i + y, j + x))).collect();
            one_window(&pixels, range)
        };
        middles.iter().map(of).collect()
    };
    Ok(p.iter().zip(&t).map(plane).collect())
}

/// Which of `size` places lies at place `i`.
fn inside(i: isize, size: usize, padding: Padding) -> Option<usize> {
    let last = size as isize - 1;
    let i = match padding {
        Padding::Reflect if i < 0 => -i,
        Padding::Reflect if i > last => 2 * last - i,
        _ => i,
    };
    (0..=last).contains(&i).then_some(i as usize)
}

/// The factors of one window: weights with values of p and t.
fn one_window(pixels: &[(f64, (f64, f64))], range: f64) -> Factors {
    let (c1, c2) = ((0.01 * range).powi(2), (0.03 * range).powi(2));
    let total: f64 = pixels.iter().map(|(weight, _)| weight).sum();
    let mean =
        |f: &dyn Fn(f64, f64) -> f64| pixels.iter().map(|&(weight, (p, t))| weight * f(p, t)).sum::<f64>() / total;
    let (mp, mt) = (mean(&|p, _| p), mean(&|_, t| t));
    let (vp, vt) = (mean(&|p, _| (p - mp).powi(2)), mean(&|_, t| (t - mt).powi(2)));
    let covariance = mean(&|p, t| (p - mp) * (t - mt));
    let l = (2.0 * mp * mt + c1) / (mp * mp + mt * mt + c1);
    let cs = (2.0 * covariance + c2) / (vp + vt + c2);
    // The parts apart see the same noise of variance 1e-8 in both.
    let (vp, vt, covariance) = (vp + 1e-8, vt + 1e-8, covariance + 1e-8);
    let sigmas = (vp * vt).sqrt();
    [l, (2.0 * sigmas + c2) / (vp + vt + c2), (covariance + c2 / 2.0) / (sigmas + c2 / 2.0), cs]
}

fn part_of([l, c, s, cs]: Factors, part: Part) -> f64 {
    match part {
        Part::All => l * cs,
        Part::Luminance => l,
        Part::Contrast => c,
        Part::Structure => s,
        Part::ContrastStructure => cs,
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

/// Images that are alike.
fn pair(shape: (usize, usize, usize, usize)) -> candle_core::Result<[Tensor; 2]> {
    let (t, noise) = (unit_image("structure", shape)?, noise_tensor("structure", shape)?);
    let t = t.to_dtype(DType::F64)?;
    let p = ((&t * 0.8)? + (noise.to_dtype(DType::F64)? * 0.2)?)?;
    Ok([p, t])
}

#[test]
fn every_part_and_padding_is_that_of_plain_loops() -> Outcome {
    // Rows shorter than a register, of several registers, and of one window.
    for (shape, window, sigma) in [((2, 3, 9, 7), 5, 0.8), ((2, 3, 20, 45), 7, 2.0), ((1, 3, 13, 11), 11, 1.5)] {
        let [p, t] = pair(shape)?;
        for padding in PADDINGS {
            let planes = factors(&p, &t, (window, sigma, padding), 1.0)?;
            for part in PARTS {
                let want = 1.0 - mean(planes.iter().map(|plane| mean(plane.iter().map(|&f| part_of(f, part)))));
                let got =
                    value(&Term::Ssim(SsimOptions { window, sigma, padding, part }), Networks::default(), &p, &t)?;
                assert!((got - want).abs() < 1e-11, "{part:?}, {padding:?}, {shape:?}: {got}, not {want}");
            }
            let got = value(&Term::DSsim(WindowOptions { window, sigma, padding }), Networks::default(), &p, &t)?;
            let want =
                (1.0 - mean(planes.iter().map(|plane| mean(plane.iter().map(|&f| part_of(f, Part::All)))))) / 2.0;
            assert!((got - want).abs() < 1e-12, "d_ssim, {padding:?}, {shape:?}: {got}, not {want}");
        }
    }
    Ok(())
}

/// The image holds one window, and all channels are the same: the term is that of one pixel of the map.
#[test]
fn the_product_of_the_parts_is_ssim() -> Outcome {
    let [p, t] = pair((1, 1, 11, 11))?;
    let (p, t) = (p.repeat((1, 3, 1, 1))?, t.repeat((1, 3, 1, 1))?);
    let of = |part| {
        Ok::<_, LossError>(
            1.0 - value(&Term::Ssim(SsimOptions { part, ..Default::default() }), Networks::default(), &p, &t)?,
        )
    };
    let (l, c, s, cs) = (of(Part::Luminance)?, of(Part::Contrast)?, of(Part::Structure)?, of(Part::ContrastStructure)?);
    let whole = of(Part::All)?;
    assert!((l * cs - whole).abs() < 1e-14);
    // The noise of variance 1e-8 in c and s alone.
    assert!((l * c * s - whole).abs() < 1e-5 * whole, "{l} · {c} · {s} is not {whole}");
    assert!(l < 0.9999 && c < 0.999 && s < 0.99, "a test of nothing: {l}, {c}, {s}");
    Ok(())
}

#[test]
fn values_known_in_closed_form() -> Outcome {
    let flat = |v: f64| Tensor::full(v, (2, 3, 16, 16), &device());
    let of = |term: Term| value(&term, Networks::default(), &flat(0.25)?, &flat(0.75)?);
    let ssim = |part| Term::Ssim(SsimOptions { part, ..Default::default() });
    // (2 · 0.25 · 0.75 + 0.0001)/(0.25² + 0.75² + 0.0001).
    let l = 0.3751 / 0.6251;
    assert!((l - 0.600064f64).abs() < 1e-6);
    assert!((of(ssim(Part::All))? - (1.0 - l)).abs() < 1e-12);
    assert!((of(ssim(Part::Luminance))? - (1.0 - l)).abs() < 1e-12);
    assert!((of(Term::DSsim(WindowOptions::default()))? - (1.0 - l) / 2.0).abs() < 1e-12);
    for part in [Part::Contrast, Part::Structure, Part::ContrastStructure] {
        assert!(of(ssim(part))? < 1e-12, "{part:?}");
    }
    Ok(())
}

/// All terms of this file with all options.
fn terms() -> Vec<Term> {
    let ssim = |part| PADDINGS.map(|padding| Term::Ssim(SsimOptions { window: 5, sigma: 1.2, padding, part }));
    let d_ssim = PADDINGS.map(|padding| Term::DSsim(WindowOptions { window: 5, sigma: 1.2, padding }));
    PARTS.into_iter().flat_map(ssim).chain(d_ssim).collect()
}

fn assert_differences(term: &Term, p: &Tensor, t: &Tensor, tolerance: f64) -> Outcome {
    let objective = objective(&[(term.clone(), 1.0)], Networks::default())?;
    let target = objective.target(t)?;
    assert_gradients(&format!("{term:?}"), std::slice::from_ref(p), tolerance, |x| {
        let values = objective.values(&Node::from(&x[0]), &target);
        Ok(values.map_err(candle_core::Error::wrap)?.remove(0))
    })?;
    Ok(())
}

#[test]
fn gradients_are_those_of_finite_differences() -> Outcome {
    for shape in [(2, 3, 7, 9), (2, 3, 21, 41)] {
        let [p, t] = pair(shape)?;
        for term in terms() {
            assert_differences(&term, &p, &t, 1e-6)?;
        }
    }
    Ok(())
}

#[test]
fn gradients_over_several_scales_are_those_of_finite_differences() -> Outcome {
    // The last row and column of some scales have no part in the next one.
    let [p, t] = pair((2, 3, 177, 182))?;
    assert_differences(&Term::MsSsim {}, &p, &t, 1e-6)?;
    assert_differences(&Term::MsSsimPublished {}, &p, &t, 1e-6)
}

/// The mean of every plane of c · s, at the last scale of l · c · s, in plain loops.
fn plane_means(p: &Tensor, t: &Tensor, range: f64) -> candle_core::Result<Vec<Vec<f64>>> {
    let (mut p, mut t, mut all) = (p.clone(), t.clone(), Vec::new());
    for scale in 0..SCALES.len() {
        if scale > 0 {
            (p, t) = (p.avg_pool2d(2)?, t.avg_pool2d(2)?);
        }
        let part = if scale == 4 { Part::All } else { Part::ContrastStructure };
        let planes = factors(&p, &t, (11, 1.5, Padding::Valid), range)?;
        all.push(planes.iter().map(|plane| mean(plane.iter().map(|&f| part_of(f, part)))).collect());
    }
    Ok(all)
}

#[test]
fn ms_ssim_is_the_product_over_scales() -> Outcome {
    let [p, t] = pair((2, 3, 177, 179))?;
    let means = plane_means(&p, &t, 1.0)?;
    let product = |plane: usize| SCALES.iter().zip(&means).map(|(weight, means)| means[plane].powf(*weight)).product();
    let want = 1.0 - mean((0..6).map(product));
    let got = value(&Term::MsSsim {}, Networks::default(), &p, &t)?;
    assert!((got - want).abs() < 1e-12, "{got}, not {want}");
    Ok(())
}

#[test]
fn the_published_one_guesses_the_range_and_takes_the_last_scale_four_times() -> Outcome {
    let [p, t] = pair((2, 3, 176, 178))?;
    let wide = |x: &Tensor| x.clamp(0.0, 1.0)?.affine(300.0, 0.0);
    let signed = |x: &Tensor| x.affine(2.0, -1.0);
    // Coarse noise: at every scale some values are above 128 of 300, and some below -0.5.
    for (p, t, range) in [(wide(&p)?, wide(&t)?, 255.0), (signed(&p)?, signed(&t)?, 2.0), (p, t, 1.0)] {
        let factors: Vec<f64> =
            plane_means(&p, &t, range)?.into_iter().map(|means| (mean(means.into_iter()) + 1.0) / 2.0).collect();
        let product: f64 = (0..4).map(|j| factors[j].powf(SCALES[j]) * factors[4].powf(SCALES[4])).product();
        let got = value(&Term::MsSsimPublished {}, Networks::default(), &p, &t)?;
        assert!((got - (1.0 - product)).abs() < 1e-12, "range {range}: {got}, not {}", 1.0 - product);
    }
    Ok(())
}

#[test]
fn every_term_is_zero_at_identity() -> Outcome {
    for dtype in [DType::F32, DType::F64] {
        let small = pair((2, 3, 9, 40))?[0].to_dtype(dtype)?;
        for term in terms() {
            assert_eq!(value(&term, Networks::default(), &small, &small)?, 0.0, "{term:?}");
        }
        let large = pair((1, 3, 176, 176))?[0].to_dtype(dtype)?;
        for term in [Term::MsSsim {}, Term::MsSsimPublished {}] {
            assert_eq!(value(&term, Networks::default(), &large, &large)?, 0.0, "{term:?}");
        }
    }
    Ok(())
}

/// σ has no gradient where it is 0.
#[test]
fn gradients_are_finite_on_degenerate_images() -> Outcome {
    for dtype in [DType::F32, DType::F64] {
        let flat = |v: f64| Tensor::full(v, (1, 3, 12, 12), &device())?.to_dtype(dtype);
        let noise = noise_tensor("degenerate", (1, 3, 12, 12))?.to_dtype(dtype)?;
        let images = [flat(0.0)?, flat(1.0)?, flat(0.5)?, flat(-3.0)?, (&noise * 1e-5)?, noise];
        for term in terms() {
            let objective = objective(&[(term.clone(), 1.0)], Networks::default())?;
            for (i, j) in (0..images.len()).flat_map(|i| (0..images.len()).map(move |j| (i, j))) {
                let (value, grad) = gradient(&objective, &images[i], &images[j])?;
                let largest = grad.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
                assert!(value.is_finite() && value >= 0.0, "{term:?} of {i} against {j}: {value}");
                assert!(largest.is_finite() && largest < 1e3, "{term:?} of {i} against {j}: gradient {largest}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_negative_image_has_no_multi_scale_similarity_and_no_gradient() -> Outcome {
    let t = unit_image("negative", (1, 3, 176, 176))?;
    let p = t.affine(-1.0, 1.0)?;
    let objective = objective(&[(Term::MsSsim {}, 1.0)], Networks::default())?;
    let (value, grad) = gradient(&objective, &p, &t)?;
    assert_eq!(value, 1.0);
    assert!(grad.flatten_all()?.to_vec1::<f32>()?.iter().all(|g| *g == 0.0));
    Ok(())
}

#[test]
fn a_prediction_that_is_not_a_number_does_not_pass_for_one() -> Outcome {
    let t = unit_image("number", (1, 3, 176, 176))?;
    let p = (&t * f64::NAN)?;
    let parts = PARTS.map(|part| Term::Ssim(SsimOptions { part, ..Default::default() }));
    for term in parts.into_iter().chain([Term::MsSsim {}, Term::MsSsimPublished {}]) {
        assert!(value(&term, Networks::default(), &p, &t)?.is_nan(), "{term:?}");
    }
    Ok(())
}

#[test]
fn options_that_mean_nothing_are_errors() -> Outcome {
    let refused = |options: SsimOptions| {
        let of_ssim = objective(&[(Term::Ssim(options), 1.0)], Networks::default());
        let SsimOptions { window, sigma, padding, .. } = options;
        let of_d_ssim = objective(&[(Term::DSsim(WindowOptions { window, sigma, padding }), 1.0)], Networks::default());
        matches!(of_ssim, Err(LossError::Option { .. })) && matches!(of_d_ssim, Err(LossError::Option { .. }))
    };
    for window in [0, 1, 4] {
        assert!(refused(SsimOptions { window, ..Default::default() }), "window {window}");
    }
    for sigma in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(refused(SsimOptions { sigma, ..Default::default() }), "sigma {sigma}");
    }
    Ok(())
}

#[test]
fn images_smaller_than_a_window_are_errors() -> Outcome {
    for (padding, smallest) in [(Padding::Valid, 11), (Padding::Reflect, 6), (Padding::Zero, 1)] {
        let term = Term::Ssim(SsimOptions { padding, ..Default::default() });
        let of = |side: usize| {
            let x = Tensor::full(0.5f32, (1, 3, side, 12), &device())?;
            value(&term, Networks::default(), &x, &x)
        };
        assert_eq!(of(smallest)?, 0.0, "{padding:?}");
        if smallest > 1 {
            let got = of(smallest - 1);
            assert!(matches!(got, Err(LossError::TooSmall { .. })), "{padding:?}: {got:?}");
        }
    }
    let x = Tensor::full(0.5f32, (1, 3, 176, 175), &device())?;
    for term in [Term::MsSsim {}, Term::MsSsimPublished {}] {
        let got = value(&term, Networks::default(), &x, &x);
        assert!(matches!(got, Err(LossError::TooSmall { smallest: 176, .. })), "{term}: {got:?}");
    }
    Ok(())
}
