//! Values of other implementations on five distortions of one photograph-like image.

use candle_core::{DType, Tensor};
use colormamba_metrics::{Image, Measure, MetricError, Pair};
use colormamba_testkit::{Fixture, fixtures_dir};
use std::error::Error;

/// A measure beside another implementation of it.
pub struct Reference {
    pub measure: Measure,
    /// Key in `metrics_expected.json`.
    key: &'static str,
    pub implementation: &'static str,
    pub tolerance: f64,
}

const fn reference(measure: Measure, key: &'static str, implementation: &'static str, tolerance: f64) -> Reference {
    Reference { measure, key, implementation, tolerance }
}

const NUMPY: &str = "NumPy";
const SKIMAGE: &str = "scikit-image";
const TORCH: &str = "PyTorch";
const SCRIPT: &str = "the published evaluation script";
const PIQ: &str = "piq";

pub const REFERENCES: [Reference; 14] = [
    reference(Measure::Psnr, "psnr", NUMPY, 1e-9),
    reference(Measure::Mae, "mae", NUMPY, 1e-9),
    reference(Measure::Rmse, "rmse", NUMPY, 1e-9),
    reference(Measure::SsimUniform7, "ssim[uniform7,sample-covariance,rgb,L=1]", SKIMAGE, 1e-9),
    reference(Measure::SsimGaussian, "ssim[gauss11,sigma1.5,valid,rgb,L=1]", TORCH, 5e-6),
    reference(Measure::MsSsim, "ms_ssim[gauss11,sigma1.5,rgb,L=1]", TORCH, 1e-6),
    reference(Measure::AngularPublished, "angular_error_deg[published: acos(a.b/(|a||b|+1e-6))]", SCRIPT, 1e-9),
    reference(Measure::AngularExact, "angular_error_deg[exact: atan2(|axb|,a.b), 0 if either is black]", NUMPY, 1e-9),
    reference(Measure::Ciede2000Mean, "ciede2000[sRGB,D65,mean]", SKIMAGE, 1e-8),
    reference(Measure::Colourfulness, "colorfulness[Hasler-Suesstrunk, pred, RGB in 0..1]", NUMPY, 1e-9),
    reference(Measure::Gmsd, "gmsd[piq]", PIQ, 1e-8),
    reference(Measure::Fsimc, "fsim_c[piq]", PIQ, 1e-8),
    reference(Measure::Vifp, "vif_p[piq]", PIQ, 1e-8),
    reference(Measure::HaarPsi, "haarpsi[piq]", PIQ, 1e-8),
];

/// One value of one measure.
pub struct Comparison {
    pub pair: String,
    pub ours: f64,
    pub theirs: f64,
}

/// The images of the fixture: the predictions by name, and their target.
pub struct Images {
    pub preds: Vec<(String, Image)>,
    pub target: Image,
    expected: Vec<serde_json::Value>,
}

impl Images {
    pub fn load() -> Result<Self, Box<dyn Error>> {
        let expected = std::fs::read_to_string(fixtures_dir().join("metrics_expected.json"))?;
        let expected: Vec<serde_json::Value> = serde_json::from_str(&expected)?;
        let images = Fixture::load("metrics")?;
        let pred = |row: &serde_json::Value| {
            let name = row["pair"].as_str().ok_or("no pair")?;
            Ok((name.to_string(), image(images.get(&format!("pred.{name}"))?)?))
        };
        let preds = expected.iter().map(pred).collect::<Result<_, Box<dyn Error>>>()?;
        Ok(Self { preds, target: image(images.get("target")?)?, expected })
    }
}

/// Every value of every reference, in the references' order.
pub fn comparisons() -> Result<Vec<Vec<Comparison>>, Box<dyn Error>> {
    let Images { preds, target, expected } = Images::load()?;
    let mut by_reference: Vec<Vec<Comparison>> = REFERENCES.iter().map(|_| Vec::new()).collect();
    for ((name, pred), row) in preds.iter().zip(&expected) {
        let pair = Pair::new(pred, &target)?;
        for (reference, comparisons) in REFERENCES.iter().zip(&mut by_reference) {
            let theirs = row[reference.key].as_f64().ok_or_else(|| format!("{name}: no {}", reference.key))?;
            comparisons.push(Comparison { pair: name.clone(), ours: reference.measure.of(&pair)?, theirs });
        }
    }
    Ok(by_reference)
}

/// 8-bit `(H, W, 3)` to a planar image in `[0, 1]`.
fn image(bytes: &Tensor) -> Result<Image, Box<dyn Error>> {
    let (h, w, _) = bytes.dims3()?;
    let planar = bytes.permute((2, 0, 1))?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let planar: Vec<f64> = planar.iter().map(|v| v / 255.0).collect();
    Image::new(&planar, h, w).map_err(|e: MetricError| e.into())
}
