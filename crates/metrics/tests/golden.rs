//! Values of NumPy, scikit-image and the published evaluation script on five distortions of one photograph-like image.

use candle_core::{DType, Result, Tensor};
use colormamba_metrics::{AngularForm, Image, Measure, angular_error};
use colormamba_testkit::{Fixture, fixtures_dir};

/// 8-bit `(H, W, 3)` to a planar image in `[0, 1]`.
fn image(bytes: &Tensor) -> Result<Image> {
    let (h, w, _) = bytes.dims3()?;
    let planar = bytes.permute((2, 0, 1))?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let planar: Vec<f64> = planar.iter().map(|v| v / 255.0).collect();
    Ok(Image::new(&planar, h, w).expect("a whole image"))
}

fn assert_near(what: &str, got: f64, want: f64, tolerance: f64) {
    println!("{what}: {got} ({:.1e} off)", (got - want).abs());
    assert!((got - want).abs() <= tolerance, "{what}: {got}, not {want}");
}

#[test]
fn measures_equal_the_reference_implementations() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let expected = std::fs::read_to_string(fixtures_dir().join("metrics_expected.json"))?;
    let expected: Vec<serde_json::Value> = serde_json::from_str(&expected)?;
    let images = Fixture::load("metrics")?;
    let target = image(images.get("target")?)?;
    assert_eq!(expected.len(), 5);
    for row in &expected {
        let pair = row["pair"].as_str().ok_or("no pair")?;
        let want = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{pair}: no {key}"));
        let pred = image(images.get(&format!("pred.{pair}"))?)?;
        let got = |measure: Measure| measure.compute(&pred, &target).expect("images of one size");
        assert_near(&format!("{pair} psnr"), got(Measure::Psnr), want("psnr"), 1e-9);
        assert_near(&format!("{pair} ssim"), got(Measure::SsimUniform7), want(&Measure::SsimUniform7.spec()), 1e-9);
        let key = "angular_error_deg[published: acos(a.b/(|a||b|+1e-6))]";
        assert_near(&format!("{pair} ae"), got(Measure::AngularPublished), want(key), 1e-9);
        let key = "angular_error_deg[exact: atan2(|axb|,a.b), 0 if either is black]";
        assert_near(&format!("{pair} exact ae"), angular_error(&pred, &target, AngularForm::Exact)?, want(key), 1e-9);
    }
    Ok(())
}
