//! What every measure promises, whatever the images.

use colormamba_metrics::{Best, Image, Measure, MetricError, Pair, ms_ssim_windowed, ssim_windowed};
use colormamba_testkit::unit_image;

fn values(name: &str, height: usize, width: usize) -> Vec<f32> {
    unit_image(name, (3, height, width)).and_then(|t| t.flatten_all()?.to_vec1::<f32>()).unwrap()
}

fn image(name: &str, height: usize, width: usize) -> Image {
    Image::new(&values(name, height, width), height, width).unwrap()
}

/// Large enough for every measure, with an odd side.
const SIZE: (usize, usize) = (176, 183);

fn large(name: &str) -> Image {
    image(name, SIZE.0, SIZE.1)
}

fn constant(value: f64) -> Image {
    Image::new(&vec![value; 3 * SIZE.0 * SIZE.1], SIZE.0, SIZE.1).unwrap()
}

/// `of` moved towards `to` by `share`.
fn between(of: &str, to: &str, share: f32) -> Image {
    let (of, to) = (values(of, SIZE.0, SIZE.1), values(to, SIZE.0, SIZE.1));
    let mixed: Vec<f32> = of.iter().zip(to).map(|(of, to)| of + share * (to - of)).collect();
    Image::new(&mixed, SIZE.0, SIZE.1).unwrap()
}

#[test]
fn identity_is_the_best_value() {
    let x = large("identity");
    for &measure in Measure::ALL {
        let value = measure.compute(&x, &x).unwrap();
        if measure == Measure::ANGULAR_PUBLISHED {
            // The published form's offset shows even here.
            assert!(value > 0.01 && value < 0.5, "{value}");
            continue;
        }
        let best = match measure.definition().best {
            Best::Highest if measure == Measure::PSNR => f64::INFINITY,
            Best::Highest => 1.0,
            Best::Lowest => 0.0,
            Best::At(best) => best,
            Best::Undefined => continue,
        };
        assert!(value == best || (value - best).abs() < 1e-7, "{}: {value}, not {best}", measure.spec());
    }
}

#[test]
fn measures_are_symmetric_but_for_those_that_say_so() {
    let (a, b) = (large("a"), large("b"));
    let one_sided = [Measure::SSIM_MCFNET, Measure::HUE, Measure::VIFP, Measure::COLOURFULNESS];
    let differences = [Measure::COLOURFULNESS_DIFFERENCE, Measure::SPECTRAL_SLOPE];
    for &measure in Measure::ALL {
        let (ab, ba) = (measure.compute(&a, &b).unwrap(), measure.compute(&b, &a).unwrap());
        let spec = measure.spec();
        if one_sided.contains(&measure) {
            assert!((ab - ba).abs() > 1e-9, "{spec}: {ab} and {ba}");
        } else if differences.contains(&measure) {
            assert!((ab + ba).abs() < 1e-9, "{spec}");
        } else if measure == Measure::SHARPNESS {
            assert!((ab * ba - 1.0).abs() < 1e-9, "{spec}");
        } else {
            assert!((ab - ba).abs() < 1e-9 * ab.abs().max(1.0), "{spec}: {ab} and {ba}");
        }
    }
}

#[test]
fn the_better_image_has_the_better_value() {
    let (truth, near, far) = (large("truth"), between("truth", "other", 0.1), between("truth", "other", 0.5));
    for &measure in Measure::ALL {
        let badness = |pred| measure.definition().best.badness(measure.compute(pred, &truth).unwrap());
        if let [Some(near), Some(far)] = [&near, &far].map(badness) {
            assert!(near < far, "{}: {near}, {far}", measure.spec());
        }
    }
}

#[test]
fn badness_grows_away_from_the_best_value() {
    assert!(Best::Highest.badness(1.0) < Best::Highest.badness(0.5));
    assert!(Best::Lowest.badness(0.5) < Best::Lowest.badness(1.0));
    assert_eq!(Best::At(1.0).badness(0.75), Best::At(1.0).badness(1.25));
    assert_eq!(Best::Undefined.badness(1.0), None);
    for best in [Best::Highest, Best::Lowest, Best::At(0.0)] {
        assert_eq!(best.badness(f64::NAN), Some(f64::INFINITY));
    }
}

#[test]
fn values_known_in_closed_form() {
    let (a, b) = (constant(0.25), constant(0.75));
    let of = |measure: Measure| measure.compute(&a, &b).unwrap();
    let luminance = (2.0 * 0.25 * 0.75 + 1e-4) / (0.25f64.powi(2) + 0.75f64.powi(2) + 1e-4);
    assert!((luminance - 0.600_064).abs() < 1e-6);
    let wanted = [
        (Measure::PSNR, 6.020_599_913_279_624),
        (Measure::MAE, 0.5),
        (Measure::RMSE, 0.5),
        // Without variance only the luminance factor is left.
        (Measure::SSIM_UNIFORM7, luminance),
        (Measure::SSIM_GAUSSIAN, luminance),
        (Measure::MS_SSIM, luminance.powf(0.1333)),
        (Measure::SSIM_MCFNET, 0.6),
        (Measure::ANGULAR_EXACT, 0.0),
        (Measure::HUE, 0.0),
        (Measure::COLOURFULNESS, 0.0),
        (Measure::COLOURFULNESS_DIFFERENCE, 0.0),
        (Measure::MS_SWD, 0.0),
        (Measure::SHARPNESS, 1.0),
        (Measure::SPECTRAL_SLOPE, 0.0),
    ];
    for (measure, value) in wanted {
        assert!((of(measure) - value).abs() < 1e-5, "{}: {}, not {value}", measure.spec(), of(measure));
    }
    let (red, green) = (Image::new(&[1.0, 0.0, 0.0], 1, 1).unwrap(), Image::new(&[0.0, 1.0, 0.0], 1, 1).unwrap());
    for measure in [Measure::ANGULAR_PUBLISHED, Measure::ANGULAR_EXACT] {
        assert!((measure.compute(&red, &green).unwrap() - 90.0).abs() < 1e-12);
    }
    // R − G is ±1 with mean 0 and variance 1, (R + G) / 2 − B a constant ½.
    let stripes = Image::new(&[1.0, 0.0, 0.0, 1.0, 0.0, 0.0], 1, 2).unwrap();
    assert!((Measure::COLOURFULNESS.compute(&stripes, &stripes).unwrap() - 1.15).abs() < 1e-12);
}

#[test]
fn black_pixels() {
    let (black, grey) = (constant(0.0), constant(0.5));
    assert_eq!(Measure::ANGULAR_EXACT.compute(&black, &grey).unwrap(), 0.0);
    assert_eq!(Measure::ANGULAR_EXACT.compute(&black, &black).unwrap(), 0.0);
    assert!((Measure::ANGULAR_PUBLISHED.compute(&black, &grey).unwrap() - 90.0).abs() < 1e-9);
}

#[test]
fn a_grey_prediction_misses_every_hue() {
    let (grey, colour) = (constant(0.5), large("colour"));
    assert!((Measure::HUE.compute(&grey, &colour).unwrap() - 90.0).abs() < 1e-9);
    assert_eq!(Measure::HUE.compute(&colour, &grey).unwrap(), 0.0);
}

#[test]
fn percentile_of_colour_differences_lies_between_the_neighbours() {
    // 18 equal pixels and two that are 30 or so apart: 95 % is 0.05 of the way from the 18th difference to the 19th.
    let target = Image::new(&[0.5; 60], 4, 5).unwrap();
    let mut values = [0.5; 60];
    for channel in 0..3 {
        values[channel * 20] = 0.2;
        values[channel * 20 + 7] = 0.2;
    }
    let pred = Image::new(&values, 4, 5).unwrap();
    let pair = Pair::new(&pred, &target).unwrap();
    let mean = Measure::CIEDE2000_MEAN.of(&pair).unwrap();
    assert!(mean > 2.0);
    assert!((Measure::CIEDE2000_P95.of(&pair).unwrap() - 10.0 * mean).abs() < 1e-12);
}

#[test]
fn hues_of_the_primaries() {
    let (red, green) = (Image::new(&[1.0, 0.0, 0.0], 1, 1).unwrap(), Image::new(&[0.0, 1.0, 0.0], 1, 1).unwrap());
    // 40.00° and 136.02° in CIELAB.
    assert!((Measure::HUE.compute(&red, &green).unwrap() - 96.02).abs() < 0.02);
}

/// `factor · of + offset`.
fn affine(of: &str, factor: f32, offset: f32) -> Image {
    let values: Vec<f32> = values(of, SIZE.0, SIZE.1).iter().map(|v| factor * v + offset).collect();
    Image::new(&values, SIZE.0, SIZE.1).unwrap()
}

#[test]
fn the_range_of_mcfnet_is_that_of_the_prediction() {
    let values = values("a", SIZE.0, SIZE.1);
    let (low, high) = values.iter().fold((1.0f32, 0.0f32), |(lo, hi), &v| (lo.min(v), hi.max(v)));
    let (pred, target) = (affine("a", 0.25, 0.1), affine("b", 0.25, 0.2));
    // Both divided by the prediction's range, which makes it 1.
    let scale = 0.25 * (high - low);
    let (one_pred, one_target) = (affine("a", 0.25 / scale, 0.1 / scale), affine("b", 0.25 / scale, 0.2 / scale));
    let got = Measure::SSIM_MCFNET.compute(&pred, &target).unwrap();
    let want = Measure::SSIM_UNIFORM7.compute(&one_pred, &one_target).unwrap();
    assert!((got - want).abs() < 1e-6, "{got}, not {want}");
}

#[test]
fn textures_are_compared_whatever_their_mean_and_contrast() {
    let (a, paler) = (large("a"), affine("a", 0.5, 0.2));
    assert!(Measure::MS_SWD.compute(&paler, &a).unwrap() < 1e-3);
    assert!(Measure::MS_SWD.compute(&large("b"), &a).unwrap() > 1.0);
}

#[test]
fn fsim_of_grey_images_is_fsimc() {
    let grey = |name: &str| {
        let values = values(name, SIZE.0, SIZE.1);
        Image::new(&values[..SIZE.0 * SIZE.1].repeat(3), SIZE.0, SIZE.1).unwrap()
    };
    let (a, b) = (grey("a"), grey("b"));
    let pair = Pair::new(&a, &b).unwrap();
    let (luma, colour) = (Measure::FSIM.of(&pair).unwrap(), Measure::FSIMC.of(&pair).unwrap());
    assert!((luma - colour).abs() < 1e-12 && luma < 0.99, "{luma}, {colour}");
    let pair = Pair::new(&a, &a).unwrap();
    assert!((Measure::FSIM.of(&pair).unwrap() - 1.0).abs() < 1e-12);
}

#[test]
fn fsim_looks_at_large_images_from_further_away() {
    // A shorter side of 400 pixels is averaged over 2x2, one of 200 is left alone.
    let (a, b) = (image("a", 200, 211), image("b", 200, 211));
    let wanted = Measure::FSIMC.compute(&a, &b).unwrap();
    let twice = |name: &str| {
        let v = values(name, 200, 211);
        let at = |i: usize| v[(i / (4 * 200 * 211) * 200 + i / 422 % 400 / 2) * 211 + i % 422 / 2];
        Image::new(&(0..12 * 200 * 211).map(at).collect::<Vec<f32>>(), 400, 422).unwrap()
    };
    let got = Measure::FSIMC.compute(&twice("a"), &twice("b")).unwrap();
    assert!((got - wanted).abs() < 1e-9, "{got}, not {wanted}");
}

#[test]
fn more_contrast_is_more_information() {
    let vif = Measure::VIFP.compute(&affine("a", 1.5, -0.25), &large("a")).unwrap();
    assert!(vif > 1.0, "{vif}");
}

#[test]
fn blur_and_noise_show_in_sharpness_and_slope() {
    let truth = large("truth");
    let noisy = between("truth", "other", 0.3);
    assert!(Measure::SHARPNESS.compute(&noisy, &constant(0.5)).unwrap().is_infinite());
    let (h, w) = SIZE;
    let v = values("truth", h, w);
    let at = |c: usize, y: usize, x: usize| v[(c * h + y.min(h - 1)) * w + x.min(w - 1)];
    let mean = |c, y, x| (at(c, y, x) + at(c, y, x + 1) + at(c, y + 1, x) + at(c, y + 1, x + 1)) / 4.0;
    let blurred: Vec<f32> = (0..3 * h * w).map(|i| mean(i / (h * w), i / w % h, i % w)).collect();
    let blurred = Image::new(&blurred, h, w).unwrap();
    assert!(Measure::SHARPNESS.compute(&blurred, &truth).unwrap() < 0.9);
    assert!(Measure::SPECTRAL_SLOPE.compute(&blurred, &truth).unwrap() < -0.1);
}

#[test]
fn flat_images_have_finite_values() {
    for (pred, target) in [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.3, 0.3), (0.3, 0.7)] {
        let (pred, target) = (constant(pred), constant(target));
        let pair = Pair::new(&pred, &target).unwrap();
        for &measure in Measure::ALL {
            let value = measure.of(&pair).unwrap();
            let infinite = measure == Measure::PSNR && pred == target;
            assert!(value.is_finite() || infinite, "{}: {value}", measure.spec());
        }
    }
}

#[test]
fn a_nan_is_not_hidden() {
    let mut values = vec![0.5; 3 * SIZE.0 * SIZE.1];
    values[100] = f64::NAN;
    let nan = Image::new(&values, SIZE.0, SIZE.1).unwrap();
    for &measure in Measure::ALL {
        assert!(measure.compute(&nan, &constant(0.5)).unwrap().is_nan(), "{}", measure.spec());
        assert!(measure.compute(&constant(0.5), &nan).unwrap().is_nan(), "{}", measure.spec());
    }
}

#[test]
fn a_pair_gives_what_the_images_give() {
    let (a, b) = (large("a"), large("b"));
    let pair = Pair::new(&a, &b).unwrap();
    for &measure in Measure::ALL {
        assert_eq!(measure.of(&pair).unwrap(), measure.compute(&a, &b).unwrap(), "{}", measure.spec());
    }
}

#[test]
fn the_smallest_images_have_values_and_smaller_ones_errors() {
    for &measure in Measure::ALL {
        let side = measure.definition().smallest_side;
        let value = measure.compute(&image("a", side, side), &image("b", side, side)).unwrap();
        assert!(!value.is_nan(), "{}: {value}", measure.spec());
        if side > 1 {
            let small = image("a", side - 1, side + 2);
            let error = measure.compute(&small, &small).unwrap_err();
            let (height, width) = (side - 1, side + 2);
            let wanted = MetricError::TooSmall { measure: measure.definition().spec, side, height, width };
            assert_eq!(error, wanted);
        }
    }
    let small = image("a", 6, 9);
    let message = Measure::SSIM_UNIFORM7.compute(&small, &small).unwrap_err().to_string();
    let wanted = "ssim[uniform7,sample-covariance,rgb,L=1] needs at least 7x7 pixels, the images have 6x9";
    assert_eq!(message, wanted);
}

#[test]
fn wrong_shapes_are_errors() {
    let shape = |values: &[f32], h, w| Image::new(values, h, w).unwrap_err();
    assert_eq!(shape(&[0.0; 11], 2, 2), MetricError::Shape { values: 11, height: 2, width: 2 });
    assert_eq!(shape(&[], 0, 2), MetricError::Shape { values: 0, height: 0, width: 2 });
    assert!(matches!(shape(&[0.0; 3], usize::MAX, 2), MetricError::Shape { .. }));
    let (a, b) = (image("a", 8, 9), image("a", 9, 8));
    for &measure in Measure::ALL {
        assert!(matches!(measure.compute(&a, &b), Err(MetricError::Mismatch { .. })), "{}", measure.spec());
    }
}

/// The Gaussian window of the measures.
fn gaussian() -> Vec<f64> {
    let weights: Vec<f64> = (-5..=5).map(|d| (-f64::from(d * d) / 4.5).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|w| w / sum).collect()
}

#[test]
fn under_the_gaussian_window_of_ones_own_the_values_are_those_of_the_measures() {
    let (a, b) = (large("a"), large("b"));
    let pair = Pair::new(&a, &b).unwrap();
    let (single, multi) = (ssim_windowed(&pair, &gaussian()).unwrap(), ms_ssim_windowed(&pair, &gaussian()).unwrap());
    assert!((single - Measure::SSIM_GAUSSIAN.of(&pair).unwrap()).abs() < 1e-14);
    assert!((multi - Measure::MS_SSIM.of(&pair).unwrap()).abs() < 1e-14);
    assert!((ssim_windowed(&pair, &[1.0 / 7.0; 7]).unwrap() - single).abs() > 1e-4);
}

#[test]
fn a_window_of_ones_own_must_have_weights_and_fit() {
    let small = image("a", 10, 12);
    let pair = Pair::new(&small, &small).unwrap();
    assert_eq!(ssim_windowed(&pair, &[]).unwrap_err(), MetricError::NoWindow);
    let message = ssim_windowed(&pair, &gaussian()).unwrap_err().to_string();
    assert_eq!(message, "ssim_windowed needs at least 11x11 pixels, the images have 10x12");
    let error = ms_ssim_windowed(&pair, &[1.0]).unwrap_err().to_string();
    assert_eq!(error, "ms_ssim_windowed needs at least 16x16 pixels, the images have 10x12");
    let nan = Image::new(&[f64::NAN; 3 * 256], 16, 16).unwrap();
    let pair = Pair::new(&nan, &nan).unwrap();
    assert!(ms_ssim_windowed(&pair, &[1.0]).unwrap().is_nan() && ssim_windowed(&pair, &[1.0]).unwrap().is_nan());
}
