//! The term `histogram`.

use crate::common::{Outcome, gradient, objective, sampled, value};
use candle_core::{DType, Tensor};
use colormamba_losses::{HistogramDistance, HistogramOptions, LossError, Networks, Space, Term};
use colormamba_metrics::colour::lab;
use colormamba_testkit::{Fixture, assert_gradients, device, unit_image};
use palette::convert::FromColorUnclamped;
use palette::{Hsv, Srgb};

const SPACES: [Space; 3] = [Space::Rgb, Space::Hsv, Space::Lab];
const DISTANCES: [HistogramDistance; 4] =
    [HistogramDistance::CdfL1, HistogramDistance::Kl, HistogramDistance::Chi2, HistogramDistance::Wasserstein];

fn term(space: Space, bins: usize, distance: HistogramDistance) -> Term {
    Term::Histogram(HistogramOptions { space, bins, distance })
}

/// Every 7th row and column is compared: the norm of the gradient hangs on the few pixels within 1e-6 of a bin's centre.
#[test]
fn cdf_l1_of_256_bins_is_the_golden_one() -> Outcome {
    let golden = Fixture::load("losses")?;
    let objective = objective(&[(Term::Histogram(HistogramOptions::default()), 1.0)], Networks::default())?;
    let (value, grad) = gradient(&objective, golden.get("in.pred")?, golden.get("in.target")?)?;
    let want = f64::from(golden.get("histogram_thesis.value")?.flatten_all()?.to_vec1::<f32>()?[0]);
    assert!((value - want).abs() < 2e-7 * want, "{value}, not {want}");

    let got = sampled(&grad, 7)?.flatten_all()?.to_vec1::<f32>()?;
    let want = golden.get("histogram_thesis.grad_every_7th")?.flatten_all()?.to_vec1::<f32>()?;
    let largest = want.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    for (index, (got, want)) in got.iter().zip(&want).enumerate() {
        assert!((got - want).abs() < 2e-5 * largest, "sample {index}: {got}, not {want}");
    }
    Ok(())
}

/// The channels that are counted, each a list of values.
fn channels(image: &Tensor, space: Space) -> candle_core::Result<Vec<Vec<f64>>> {
    let planes = image.to_dtype(DType::F64)?.flatten_from(1)?.to_vec2::<f64>()?;
    let (_, _, h, w) = image.dims4()?;
    let converted = |r: f64, g: f64, b: f64| match space {
        Space::Rgb => [r, g, b],
        Space::Hsv => {
            let hsv = Hsv::from_color_unclamped(Srgb::new(r, g, b));
            [hsv.hue.into_positive_degrees() / 360.0, hsv.saturation, hsv.value]
        }
        Space::Lab => {
            let [l, a, b] = lab([r, g, b]);
            [l / 100.0, (a + 128.0) / 255.0, (b + 128.0) / 255.0]
        }
    };
    let mut channels = Vec::new();
    for image in planes {
        let pixels: Vec<_> = (0..h * w).map(|i| converted(image[i], image[i + h * w], image[i + 2 * h * w])).collect();
        channels.extend((0..3).map(|channel| pixels.iter().map(|pixel| pixel[channel]).collect::<Vec<f64>>()));
    }
    Ok(channels)
}

/// Every bin looks at every pixel.
fn histogram(values: &[f64], bins: usize, circular: bool) -> Vec<f64> {
    let gaps = if circular { bins } else { bins - 1 } as f64;
    let width = 1.0 / gaps + 1e-6;
    let share = |bin: usize| {
        let away = |x: f64| {
            let away = (x - bin as f64 / gaps).abs();
            if circular { away.min(1.0 - away) } else { away }
        };
        values.iter().map(|&x| (width - away(x)).max(0.0) / width).sum::<f64>() / values.len() as f64
    };
    (0..bins).map(share).collect()
}

fn cumulated(p: &[f64], t: &[f64]) -> Vec<f64> {
    (0..p.len()).map(|end| (0..=end).map(|i| p[i] - t[i]).sum()).collect()
}

/// Around a circle, of all bins to start with, the one that gives the least.
fn sum_of_cumulated(p: &[f64], t: &[f64], circular: bool) -> f64 {
    let d = cumulated(p, t);
    let from = |start: f64| d.iter().map(|d| (d - start).abs()).sum::<f64>();
    if circular { d.iter().map(|&start| from(start)).fold(f64::INFINITY, f64::min) } else { from(0.0) }
}

fn distance(kind: HistogramDistance, p: &[f64], t: &[f64], circular: bool) -> f64 {
    let normal = |h: &[f64], floor: f64| {
        let mass: f64 = h.iter().map(|x| x + floor).sum();
        h.iter().map(|x| (x + floor) / mass).collect::<Vec<f64>>()
    };
    let bins = p.len() as f64;
    match kind {
        HistogramDistance::CdfL1 => sum_of_cumulated(p, t, circular) / bins,
        HistogramDistance::Wasserstein => {
            sum_of_cumulated(&normal(p, 0.0), &normal(t, 0.0), circular) / if circular { bins } else { bins - 1.0 }
        }
        HistogramDistance::Chi2 => p.iter().zip(t).map(|(p, t)| 0.5 * (p - t).powi(2) / (p + t + 1e-10)).sum(),
        HistogramDistance::Kl => normal(p, 1e-5).iter().zip(normal(t, 1e-5)).map(|(p, t)| t * (t / p).ln()).sum(),
    }
}

#[test]
fn values_are_those_of_every_bin_looking_at_every_pixel() -> Outcome {
    let shape = (2, 3, 131, 139);
    let (p, t) = (unit_image("histogram.p", shape)?.to_dtype(DType::F64)?, unit_image("histogram.t", shape)?);
    // Beyond both ends there is something, too; the other spaces know only colours.
    let stretched = ((&p * 1.4)? - 0.2)?;
    for space in SPACES {
        let p = if space == Space::Rgb { &stretched } else { &p };
        let (p_values, t_values) = (channels(p, space)?, channels(&t, space)?);
        for bins in [2, 3, 16, 256] {
            for kind in DISTANCES {
                let of = |(i, (p, t)): (usize, (&Vec<f64>, &Vec<f64>))| {
                    let circular = space == Space::Hsv && i % 3 == 0;
                    distance(kind, &histogram(p, bins, circular), &histogram(t, bins, circular), circular)
                };
                let want = p_values.iter().zip(&t_values).enumerate().map(of).sum::<f64>() / 6.0;
                let got = value(&term(space, bins, kind), Networks::default(), p, &t.to_dtype(DType::F64)?)?;
                assert!((got - want).abs() < 2e-6 * want, "{space:?} {bins} {kind:?}: {got}, not {want}");
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_are_those_of_finite_differences() -> Outcome {
    let shape = (2, 3, 5, 7);
    let (pred, target) = (unit_image("histogram.pred", shape)?, unit_image("histogram.target", shape)?);
    for space in SPACES {
        for bins in [7, 8] {
            for kind in DISTANCES {
                let objective = objective(&[(term(space, bins, kind), 1.0)], Networks::default())?;
                let target = objective.target(&target.to_dtype(DType::F64)?)?;
                assert_gradients(&format!("{space:?} {bins} {kind:?}"), std::slice::from_ref(&pred), 1e-6, |x| {
                    let evaluation = objective.evaluate(&x[0], &target, 0);
                    evaluation.map(|evaluation| evaluation.total).map_err(candle_core::Error::wrap)
                })?;
            }
        }
    }
    Ok(())
}

fn flat(colour: [f64; 3]) -> candle_core::Result<Tensor> {
    Tensor::new(&colour, &device())?.reshape((1, 3, 1, 1))?.broadcast_as((2, 3, 4, 5))
}

/// One value moved to another: W1 is how far.
#[test]
fn wasserstein_is_how_far_colours_move() -> Outcome {
    let of = |space, p, t| -> Result<f64, Box<dyn std::error::Error>> {
        Ok(value(&term(space, 101, HistogramDistance::Wasserstein), Networks::default(), &flat(p)?, &flat(t)?)?)
    };
    let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-5, "{got}, not {want}");
    near(of(Space::Rgb, [0.1, 0.2, 0.3], [0.4, 0.2, 0.25])?, (0.3 + 0.05) / 3.0);
    // Hue -3 degrees and 3: 6 of 360, the short way, at the same saturation 1 and value 1.
    near(of(Space::Hsv, [1.0, 0.0, 0.05], [1.0, 0.05, 0.0])?, 6.0 / 360.0 / 3.0);
    // Lightness from 0 to 1; greys have no hue and no saturation.
    near(of(Space::Hsv, [0.0; 3], [1.0; 3])?, 1.0 / 3.0);
    near(of(Space::Lab, [0.0; 3], [1.0; 3])?, 1.0 / 3.0);
    Ok(())
}

#[test]
fn wasserstein_is_n_over_n_minus_1_of_cdf_l1() -> Outcome {
    // Between 0.1 and 0.9 and away from centres every pixel counts the same.
    let shape = (1, 3, 32, 32);
    let image = |name: &str| ((unit_image(name, shape)? * 0.8)? + 0.1)?.to_dtype(DType::F64);
    let (p, t) = (image("histogram.p")?, image("histogram.t")?);
    let of = |kind| value(&term(Space::Rgb, 16, kind), Networks::default(), &p, &t);
    let (cdf, wasserstein) = (of(HistogramDistance::CdfL1)?, of(HistogramDistance::Wasserstein)?);
    assert!((wasserstein - cdf * 16.0 / 15.0).abs() < 1e-4 * wasserstein, "{wasserstein} and {cdf}");
    Ok(())
}

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
        [1e9, -1e9, 3.0],
    ];
    for space in SPACES {
        for kind in DISTANCES {
            let objective = objective(&[(term(space, 256, kind), 1.0)], Networks::default())?;
            for dtype in [DType::F32, DType::F64] {
                for (p, t) in colours.iter().flat_map(|&p| colours.map(|t| (p, t))) {
                    let (value, grad) = gradient(&objective, &flat(p)?.to_dtype(dtype)?, &flat(t)?.to_dtype(dtype)?)?;
                    let what = format!("{space:?} {kind:?} of {p:?} and {t:?}");
                    assert!(value.is_finite() && value >= 0.0, "{what}: {value}");
                    assert!(p != t || value == 0.0, "{what}: {value}");
                    let grad = grad.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
                    assert!(grad.iter().all(|g| g.is_finite()), "{what}: {grad:?}");
                }
            }
        }
    }
    Ok(())
}

/// No bin within reach: nothing is counted, and nothing pulls.
#[test]
fn values_out_of_range_count_nothing() -> Outcome {
    let objective = objective(&[(term(Space::Rgb, 256, HistogramDistance::CdfL1), 1.0)], Networks::default())?;
    let (value, grad) = gradient(&objective, &flat([-0.5, 1.5, 7.0])?, &flat([0.0, 0.0, 0.0])?)?;
    // Of the target all bins from the first one on have 1; the second has the 1e-6 that bins overlap by.
    assert!((value - 1.0).abs() < 3e-4, "{value}");
    assert!(grad.flatten_all()?.to_vec1::<f64>()?.iter().all(|&g| g == 0.0));
    Ok(())
}

#[test]
fn numbers_of_bins_that_mean_nothing_are_errors() {
    for bins in [0, 1, 65537] {
        let made = objective(&[(term(Space::Rgb, bins, HistogramDistance::Kl), 1.0)], Networks::default());
        assert!(matches!(made, Err(LossError::Option { term: "histogram", .. })), "{bins}");
    }
}
