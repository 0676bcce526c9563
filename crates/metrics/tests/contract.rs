//! What every measure promises, whatever the images.

use colormamba_metrics::{AngularForm, Image, Measure, MetricError, angular_error, psnr, ssim_uniform7};
use colormamba_testkit::unit_image;

fn image(name: &str, height: usize, width: usize) -> Image {
    let values = unit_image(name, (3, height, width)).and_then(|t| t.flatten_all()?.to_vec1::<f32>()).unwrap();
    Image::new(&values, height, width).unwrap()
}

fn constant(value: f64) -> Image {
    Image::new(&[value; 3 * 9 * 11], 9, 11).unwrap()
}

#[test]
fn identity_is_the_best_value() {
    let x = image("identity", 23, 31);
    assert_eq!(psnr(&x, &x).unwrap(), f64::INFINITY);
    assert_eq!(ssim_uniform7(&x, &x).unwrap(), 1.0);
    assert!(angular_error(&x, &x, AngularForm::Exact).unwrap() < 1e-7);
    // The published form's offset shows even here.
    let published = angular_error(&x, &x, AngularForm::Published).unwrap();
    assert!(published > 0.01 && published < 0.5, "{published}");
}

#[test]
fn measures_are_symmetric() {
    let (a, b) = (image("a", 23, 31), image("b", 23, 31));
    for measure in Measure::ALL {
        let (ab, ba) = (measure.compute(&a, &b).unwrap(), measure.compute(&b, &a).unwrap());
        assert!((ab - ba).abs() < 1e-12, "{}: {ab} and {ba}", measure.spec());
    }
}

#[test]
fn the_better_image_has_the_better_value() {
    let truth = image("truth", 40, 33);
    let values = |noise: f32| -> Vec<f32> {
        let other = unit_image("other", (3, 40, 33)).and_then(|t| t.flatten_all()?.to_vec1::<f32>()).unwrap();
        let truth = unit_image("truth", (3, 40, 33)).and_then(|t| t.flatten_all()?.to_vec1::<f32>()).unwrap();
        truth.iter().zip(other).map(|(t, o)| t + noise * (o - t)).collect()
    };
    let (near, far) = (Image::new(&values(0.1), 40, 33).unwrap(), Image::new(&values(0.5), 40, 33).unwrap());
    for measure in Measure::ALL {
        let (near, far) = (measure.compute(&near, &truth).unwrap(), measure.compute(&far, &truth).unwrap());
        assert_eq!(near > far, measure.higher_is_better(), "{}: {near}, {far}", measure.spec());
    }
}

#[test]
fn values_known_in_closed_form() {
    let (a, b) = (constant(0.25), constant(0.75));
    assert!((psnr(&a, &b).unwrap() - 6.020_599_913_279_624).abs() < 1e-12);
    // Without variance only the luminance factor is left.
    let luminance = (2.0 * 0.25 * 0.75 + 1e-4) / (0.25f64.powi(2) + 0.75f64.powi(2) + 1e-4);
    assert!((ssim_uniform7(&a, &b).unwrap() - luminance).abs() < 1e-9);
    assert!(angular_error(&a, &b, AngularForm::Exact).unwrap() < 1e-9);
    let (red, green) = (Image::new(&[1.0, 0.0, 0.0], 1, 1).unwrap(), Image::new(&[0.0, 1.0, 0.0], 1, 1).unwrap());
    for form in [AngularForm::Published, AngularForm::Exact] {
        assert!((angular_error(&red, &green, form).unwrap() - 90.0).abs() < 1e-12);
    }
}

#[test]
fn black_pixels() {
    let (black, grey) = (constant(0.0), constant(0.5));
    assert_eq!(angular_error(&black, &grey, AngularForm::Exact).unwrap(), 0.0);
    assert_eq!(angular_error(&black, &black, AngularForm::Exact).unwrap(), 0.0);
    assert!((angular_error(&black, &grey, AngularForm::Published).unwrap() - 90.0).abs() < 1e-12);
    assert_eq!(ssim_uniform7(&black, &black).unwrap(), 1.0);
}

#[test]
fn a_nan_is_not_hidden() {
    let mut values = [0.5; 3 * 9 * 11];
    values[100] = f64::NAN;
    let nan = Image::new(&values, 9, 11).unwrap();
    for measure in Measure::ALL {
        assert!(measure.compute(&nan, &constant(0.5)).unwrap().is_nan(), "{}", measure.spec());
    }
}

#[test]
fn wrong_shapes_are_errors() {
    let shape = |values: &[f32], h, w| Image::new(values, h, w).unwrap_err();
    assert_eq!(shape(&[0.0; 11], 2, 2), MetricError::Shape { values: 11, height: 2, width: 2 });
    assert_eq!(shape(&[], 0, 2), MetricError::Shape { values: 0, height: 0, width: 2 });
    assert!(matches!(shape(&[0.0; 3], usize::MAX, 2), MetricError::Shape { .. }));
    let (a, b) = (image("a", 8, 9), image("a", 9, 8));
    for measure in Measure::ALL {
        assert!(matches!(measure.compute(&a, &b), Err(MetricError::Mismatch { .. })), "{}", measure.spec());
    }
    let small = image("a", 6, 9);
    let message = ssim_uniform7(&small, &small).unwrap_err().to_string();
    assert_eq!(message, "SSIM with a 7x7 window needs at least 7x7 pixels, the images have 6x9");
}

#[test]
fn specs_differ() {
    let mut specs: Vec<String> = Measure::ALL.iter().map(|m| m.spec()).collect();
    specs.sort();
    specs.dedup();
    assert_eq!(specs.len(), Measure::ALL.len());
}
