//! Values of other implementations, and what their own rounding explains.

#[path = "../examples/conformance/golden.rs"]
mod golden;
#[path = "../examples/conformance/page.rs"]
mod page;
#[path = "../examples/conformance/sharma.rs"]
mod sharma;

use colormamba_metrics::{Measure, ciede2000};
use golden::{Images, REFERENCES, comparisons};
use std::error::Error;

#[test]
fn measures_equal_the_reference_implementations() -> Result<(), Box<dyn Error>> {
    for (reference, comparisons) in REFERENCES.iter().zip(comparisons()?) {
        assert_eq!(comparisons.len(), 5);
        for golden::Comparison { pair, ours, theirs } in comparisons {
            let (spec, difference) = (reference.measure.spec(), (ours - theirs).abs());
            assert!(difference <= reference.tolerance, "{spec} of {pair}: {ours}, not {theirs}");
        }
    }
    Ok(())
}

#[test]
fn colour_differences_are_those_of_sharma_wu_and_dalal() {
    for [l1, a1, b1, l2, a2, b2, want] in sharma::PAIRS {
        let got = ciede2000([l1, a1, b1], [l2, a2, b2]);
        assert!((got - want).abs() < 1e-4, "{l1} {a1} {b1} and {l2} {a2} {b2}: {got}, not {want}");
        assert_eq!(got, ciede2000([l2, a2, b2], [l1, a1, b1]));
    }
}

#[test]
fn the_committed_page_is_what_the_example_prints() -> Result<(), Box<dyn Error>> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.md");
    assert!(std::fs::read_to_string(path)? == page::page()?, "docs/conformance.md is not what the example prints");
    Ok(())
}

/// SSIM by its definition, pixel by pixel, on 8-bit images in `(H, W, 3)`.
fn ssim_by_definition(pred: &[f64], target: &[f64], (height, width): (usize, usize), window_sum: f64) -> f64 {
    let gauss: Vec<f64> = (-5..=5).map(|d| (-f64::from(d * d) / 4.5).exp()).collect();
    let norm: f64 = gauss.iter().sum::<f64>().powi(2) / window_sum;
    let mut total = 0.0;
    for c in 0..3 {
        for top in 0..height - 10 {
            for left in 0..width - 10 {
                let [mut p1, mut t1, mut pp, mut tt, mut pt] = [0.0; 5];
                for (y, down) in gauss.iter().enumerate() {
                    for (x, across) in gauss.iter().enumerate() {
                        let at = ((top + y) * width + left + x) * 3 + c;
                        let (w, p, t) = (down * across / norm, pred[at], target[at]);
                        (p1, t1) = (p1 + w * p, t1 + w * t);
                        (pp, tt, pt) = (pp + w * p * p, tt + w * t * t, pt + w * p * t);
                    }
                }
                let (vp, vt, cov) = (pp - p1 * p1, tt - t1 * t1, pt - p1 * t1);
                total += (2.0 * p1 * t1 + 1e-4) * (2.0 * cov + 9e-4) / ((p1 * p1 + t1 * t1 + 1e-4) * (vp + vt + 9e-4));
            }
        }
    }
    total / (3 * (height - 10) * (width - 10)) as f64
}

#[test]
fn gaussian_ssim_is_its_definition_and_the_reference_that_of_a_rounded_window() -> Result<(), Box<dyn Error>> {
    let Images { preds, target, .. } = Images::load()?;
    let reference = REFERENCES.iter().position(|r| r.measure == Measure::SsimGaussian).ok_or("no reference")?;
    let bytes = colormamba_testkit::Fixture::load("metrics")?;
    let interleaved = |key: &str| -> Result<Vec<f64>, Box<dyn Error>> {
        Ok(bytes.get(key)?.flatten_all()?.to_vec1::<u8>()?.into_iter().map(|v| f64::from(v) / 255.0).collect())
    };
    let size = (target.height(), target.width());
    for ((name, pred), golden) in preds.iter().zip(&comparisons()?[reference]) {
        let (p, t) = (interleaved(&format!("pred.{name}"))?, interleaved("target")?);
        let ours = Measure::SsimGaussian.compute(pred, &target)?;
        let exact = ssim_by_definition(&p, &t, size, 1.0);
        assert!((ours - exact).abs() < 1e-11, "{name}: {ours}, not {exact}");
        let rounded = ssim_by_definition(&p, &t, size, 1.0 - 6.13e-8);
        assert!((rounded - golden.theirs).abs() < 1e-7, "{name}: {rounded}, not {}", golden.theirs);
    }
    Ok(())
}
