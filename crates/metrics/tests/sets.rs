//! Distances of sets against NumPy and SciPy, closed forms, and what they promise.

use colormamba_metrics::{FeatureSet, SetError, frechet_distance, kernel_distance};
use colormamba_testkit::{fixtures_dir, noise};
use serde_json::Value;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// `images` vectors of mixed noise, as `benches/peers/dinov2_reference.py` has them.
fn mixed(name: &str, mix: &str, images: usize, width: usize, form: impl Fn(f64) -> f64) -> Vec<f64> {
    let noise_in = noise(name, images * width);
    let mut mixing: Vec<f64> = noise(mix, width * width).iter().map(|v| 0.5 * v).collect();
    (0..width).for_each(|i| mixing[i * width + i] += 1.0);
    let value = |i: usize| {
        let (row, column) = (&noise_in[i / width * width..][..width], i % width);
        form(row.iter().enumerate().map(|(k, v)| v * mixing[k * width + column]).sum())
    };
    (0..images * width).map(value).collect()
}

fn set(values: &[f64], width: usize) -> FeatureSet {
    FeatureSet::new(values, width).expect("whole vectors")
}

fn sets(name: &str, images: [usize; 2], width: usize) -> [FeatureSet; 2] {
    let x = mixed(&format!("{name}.x"), &format!("{name}.mix0"), images[0], width, |v| v);
    let y = mixed(&format!("{name}.y"), &format!("{name}.mix1"), images[1], width, |v| 0.3 + 1.5 * v);
    [set(&x, width), set(&y, width)]
}

/// Pairs of images at ±`lengths` on the axes around `mean`: the covariance is diagonal, with 2 length² / (2 width − 1).
fn cross(lengths: &[f64], mean: f64) -> FeatureSet {
    let width = lengths.len();
    let mut values = vec![mean; 2 * width * width];
    for (axis, length) in lengths.iter().enumerate() {
        values[2 * axis * width + axis] += length;
        values[(2 * axis + 1) * width + axis] -= length;
    }
    set(&values, width)
}

#[test]
fn distances_are_numpys() -> Outcome {
    let reference: Value = serde_json::from_slice(&std::fs::read(fixtures_dir().join("dinov2_reference.json"))?)?;
    let cases = reference["sets"].as_object().ok_or("no sets")?;
    assert_eq!(cases.len(), 4);
    for (name, case) in cases {
        let number = |value: &Value| value.as_u64().map(|n| n as usize).ok_or("no number");
        let (images, width) = ([number(&case["images"][0])?, number(&case["images"][1])?], number(&case["width"])?);
        let [x, y] = sets(name, images, width);
        for (key, got) in [("frechet", frechet_distance(&x, &y)?), ("kernel", kernel_distance(&x, &y)?)] {
            let want = case[key].as_f64().ok_or("no value")?;
            println!("{name} {key}: {got}, {want}, {:.1e} apart", (got / want - 1.0).abs());
            // A root makes 1e-8 of an eigenvalue that is 1e-16 instead of 0.
            let tolerance = if key == "frechet" { 1e-8 } else { 1e-12 };
            assert!((got - want).abs() < tolerance * want.abs(), "{name} {key}: {got}, not {want}");
        }
    }
    Ok(())
}

#[test]
fn a_set_has_no_distance_from_itself_and_both_directions_are_the_same() -> Outcome {
    for (images, width) in [([50, 30], 8), ([6, 20], 8), ([5, 4], 16)] {
        let [x, y] = sets("contract", images, width);
        let (there, back) = (frechet_distance(&x, &y)?, frechet_distance(&y, &x)?);
        let same = frechet_distance(&x, &x)?;
        assert!(there > 1.0 && (there - back).abs() < 1e-7 * there, "{there} {back}");
        assert!((0.0..1e-6).contains(&same), "{same}");
        let (there, back) = (kernel_distance(&x, &y)?, kernel_distance(&y, &x)?);
        assert!((there - back).abs() < 1e-12 * there.abs(), "{there} {back}");
    }
    Ok(())
}

#[test]
fn a_shift_is_its_length_squared() -> Outcome {
    for (images, width) in [(30, 8), (5, 8)] {
        let values = noise("shift", images * width);
        let moved: Vec<f64> = values.iter().map(|v| v + 0.25).collect();
        let distance = frechet_distance(&set(&values, width), &set(&moved, width))?;
        assert!((distance - 0.0625 * width as f64).abs() < 1e-6, "{distance}");
    }
    Ok(())
}

/// Of commuting covariances it is ‖μ₁ − μ₂‖² + Σ (σ₁ − σ₂)².
#[test]
fn normal_distributions_have_their_closed_form() -> Outcome {
    let (first, second) = ([1.0, 2.0, 0.5, 0.0, 3.0], [2.0, 2.0, 0.1, 1.0, 0.0]);
    let sigma = |length: f64| length * (2.0f64 / 9.0).sqrt();
    let spread: f64 = first.iter().zip(&second).map(|(a, b)| (sigma(*a) - sigma(*b)).powi(2)).sum();
    let got = frechet_distance(&cross(&first, 1.0), &cross(&second, -1.0))?;
    assert!((got - (spread + 20.0)).abs() < 1e-7, "{got}");
    Ok(())
}

#[test]
fn few_images_give_a_finite_value_and_say_so() -> Outcome {
    let [x, y] = sets("few", [3, 2], 40);
    assert!(frechet_distance(&x, &y)?.is_finite() && kernel_distance(&x, &y)?.is_finite());
    assert!(x.is_rank_deficient());
    let [enough, just_not] = sets("few", [41, 40], 40);
    assert!(!enough.is_rank_deficient() && just_not.is_rank_deficient());
    let flat = set(&[1.0; 12], 3);
    assert_eq!((frechet_distance(&flat, &flat)?, kernel_distance(&flat, &flat)?), (0.0, 0.0));
    Ok(())
}

/// The kernel's sum goes through blocks of rows: more than one here.
#[test]
fn the_kernel_distance_is_its_formula_and_unbiased() -> Outcome {
    let (images, width) = (300, 3);
    let [x, y] = ["x", "y"].map(|name| noise(name, images * width));
    let sum = |a: &[f64], b: &[f64], diagonal: bool| -> f64 {
        let rows = |v: &[f64]| v.chunks(width).map(<[f64]>::to_vec).collect::<Vec<_>>();
        let (a, b) = (rows(a), rows(b));
        let value = |i: usize, j: usize| (a[i].iter().zip(&b[j]).map(|(p, q)| p * q).sum::<f64>() / 3.0 + 1.0).powi(3);
        let pairs = (0..images).flat_map(|i| (0..images).map(move |j| (i, j))).filter(|(i, j)| diagonal || i != j);
        pairs.map(|(i, j)| value(i, j)).sum()
    };
    let (off, all) = ((images * (images - 1)) as f64, (images * images) as f64);
    let want = sum(&x, &x, false) / off + sum(&y, &y, false) / off - 2.0 * sum(&x, &y, true) / all;
    let got = kernel_distance(&set(&x, width), &set(&y, width))?;
    assert!((got - want).abs() < 1e-13 && want.abs() < 0.02, "{got} {want}");
    Ok(())
}

#[test]
fn what_is_no_set_is_an_error_and_a_nan_a_nan() -> Outcome {
    assert_eq!(FeatureSet::new(&[1.0; 7], 3), Err(SetError::Shape { values: 7, width: 3 }));
    assert_eq!(FeatureSet::new::<f64>(&[], 0), Err(SetError::Shape { values: 0, width: 0 }));
    assert_eq!(FeatureSet::new(&[1.0; 3], 3), Err(SetError::TooFew { images: 1 }));
    assert_eq!(FeatureSet::new::<f64>(&[], 3), Err(SetError::TooFew { images: 0 }));
    let (three, two) = (set(&[1.0; 6], 3), set(&[1.0; 6], 2));
    assert_eq!(frechet_distance(&three, &two), Err(SetError::Mismatch { pred: 3, target: 2 }));
    assert!(kernel_distance(&three, &two).is_err());
    for value in [f64::NAN, f64::INFINITY] {
        let broken = set(&[1.0, 2.0, value, 3.0, 4.0, 5.0], 3);
        assert!(frechet_distance(&broken, &three)?.is_nan() && kernel_distance(&three, &broken)?.is_nan());
    }
    Ok(())
}
