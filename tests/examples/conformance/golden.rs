//! Values of other implementations on five distortions of one photograph-like image.

use crate::section::{Chapter, Outcome, Row, Section};
use candle_core::{DType, Device, Tensor};
use colormamba_features::{FeatureNetwork, LpipsNetwork};
use colormamba_metrics::{Image, Measure, Pair, ms_ssim_windowed, ssim_windowed};
use colormamba_testkit::{Fixture, fixtures_dir, formula};
use serde_json::Value;

const INTRODUCTION: &str = "\
Usual Python implementations on five distortions of one photograph-like image of 192x256 pixels
(`tests/fixtures/metrics.safetensors`, `metrics_expected.json`).

PyTorch's window for the Gaussian SSIM is of f32 weights, whose sum is 1 − 3e-8. A variance is a difference of two means, so
that shows in the sixth decimal. Under this very window (exponentials rounded to f32, divided in f32 by their sum) ours is
theirs to 1e-7; the measure keeps the exact window, as scikit-image does (below), under which constants of .25 and .75 give
.600064.

LPIPS is computed in f64 with the published linear weights (version 0.1), on backbones whose weights follow a formula.";

const NUMPY: &str = "NumPy";
const TORCH: &str = "PyTorch";
const PIQ: &str = "piq";
const SSIM_KEY: &str = "ssim[gauss11,sigma1.5,valid,rgb,L=1]";
const MS_SSIM_KEY: &str = "ms_ssim[gauss11,sigma1.5,rgb,L=1]";

/// Measure, key in `metrics_expected.json`, implementation, tolerance.
const REFERENCES: [(Measure, &str, &str, f64); 14] = [
    (Measure::PSNR, "psnr", NUMPY, 1e-9),
    (Measure::MAE, "mae", NUMPY, 1e-9),
    (Measure::RMSE, "rmse", NUMPY, 1e-9),
    (Measure::SSIM_UNIFORM7, "ssim[uniform7,sample-covariance,rgb,L=1]", "scikit-image", 1e-9),
    (Measure::SSIM_GAUSSIAN, SSIM_KEY, "PyTorch with its rounded window", 5e-6),
    (Measure::MS_SSIM, MS_SSIM_KEY, "PyTorch with its rounded window", 1e-6),
    (
        Measure::ANGULAR_PUBLISHED,
        "angular_error_deg[published: acos(a.b/(|a||b|+1e-6))]",
        "the published evaluation script",
        1e-9,
    ),
    (Measure::ANGULAR_EXACT, "angular_error_deg[exact: atan2(|axb|,a.b), 0 if either is black]", NUMPY, 1e-9),
    (Measure::CIEDE2000_MEAN, "ciede2000[sRGB,D65,mean]", "scikit-image", 1e-8),
    (Measure::COLOURFULNESS, "colorfulness[Hasler-Suesstrunk, pred, RGB in 0..1]", NUMPY, 1e-9),
    (Measure::GMSD, "gmsd[piq]", PIQ, 1e-8),
    (Measure::FSIMC, "fsim_c[piq]", PIQ, 1e-8),
    (Measure::VIFP, "vif_p[piq]", PIQ, 1e-8),
    (Measure::HAARPSI, "haarpsi[piq]", PIQ, 1e-8),
];

/// The images of the fixture: the predictions by name, and their target.
pub struct Images {
    pub preds: Vec<(String, Image)>,
    pub target: Image,
    expected: Vec<Value>,
}

impl Images {
    pub fn load() -> Outcome<Self> {
        let expected: Vec<Value> =
            serde_json::from_slice(&std::fs::read(fixtures_dir().join("metrics_expected.json"))?)?;
        let images = Fixture::load("metrics")?;
        let pred = |row: &Value| {
            let name = row["pair"].as_str().ok_or("no pair")?;
            Ok((name.to_string(), image(images.get(&format!("pred.{name}"))?)?))
        };
        let preds = expected.iter().map(pred).collect::<Outcome<_>>()?;
        Ok(Self { preds, target: image(images.get("target")?)?, expected })
    }

    /// A value of ours beside the one under `key`, for each prediction.
    fn rows(&self, key: &str, ours: impl Fn(&Pair, &Image) -> Outcome<f64>) -> Outcome<Vec<Row>> {
        let row = |((name, pred), expected): (&(String, Image), &Value)| {
            let theirs = expected[key].as_f64().ok_or_else(|| format!("{name}: no {key}"))?;
            Ok(Row { name: name.clone(), ours: ours(&Pair::new(pred, &self.target)?, pred)?, theirs })
        };
        self.preds.iter().zip(&self.expected).map(row).collect()
    }
}

pub fn chapter() -> Outcome<Chapter> {
    let images = Images::load()?;
    let mut sections = Vec::new();
    for (measure, key, against, tolerance) in REFERENCES {
        let rows = images.rows(key, |pair, _| Ok(measure.of(pair)?))?;
        sections.push(Section { subject: format!("`{}`", measure.spec()), against: against.into(), tolerance, rows });
    }
    sections.extend(rounded_window(&images)?);
    for (kind, name) in [(LpipsNetwork::Vgg, "vgg"), (LpipsNetwork::Alex, "alex")] {
        sections.push(lpips(&images, kind, name)?);
    }
    Ok(Chapter { heading: "The golden file", introduction: INTRODUCTION, sections })
}

/// The reference's window as f32 leaves it.
pub fn rounded_taps() -> Vec<f64> {
    let weights: Vec<f32> = (-5..=5).map(|d| (-f64::from(d * d) / 4.5).exp() as f32).collect();
    let sum = weights.iter().map(|w| f64::from(*w)).sum::<f64>() as f32;
    weights.iter().map(|w| f64::from(w / sum)).collect()
}

fn rounded_window(images: &Images) -> Outcome<[Section; 2]> {
    let taps = rounded_taps();
    let section = |name: &str, rows: Vec<Row>| Section {
        subject: format!("`{name}` under PyTorch's window"),
        against: TORCH.into(),
        tolerance: 1e-6,
        rows,
    };
    let single = images.rows(SSIM_KEY, |pair, _| Ok(ssim_windowed(pair, &taps)?))?;
    let multi = images.rows(MS_SSIM_KEY, |pair, _| Ok(ms_ssim_windowed(pair, &taps)?))?;
    Ok([section("ssim_windowed", single), section("ms_ssim_windowed", multi)])
}

fn lpips(images: &Images, kind: LpipsNetwork, name: &str) -> Outcome<Section> {
    let network = FeatureNetwork::from_fn(kind.classifier(), DType::F64, &Device::Cpu, |tensor, shape| {
        Ok(formula(&format!("{}.{tensor}", kind.classifier()), shape)?)
    })?;
    let key = format!("lpips_{name}[formula backbone, v0.1 linear weights]");
    let rows = images.rows(&key, |_, pred| Ok(kind.distance(&network, &tensor(pred)?, &tensor(&images.target)?)?))?;
    Ok(Section {
        subject: format!("`lpips[{name}]`"),
        against: "the authors' package, in f32".into(),
        tolerance: 1e-6,
        rows,
    })
}

fn tensor(image: &Image) -> Outcome<Tensor> {
    Ok(Tensor::from_slice(image.values(), (1, 3, image.height(), image.width()), &Device::Cpu)?)
}

/// 8-bit `(H, W, 3)` to a planar image in `[0, 1]`.
fn image(bytes: &Tensor) -> Outcome<Image> {
    let (h, w, _) = bytes.dims3()?;
    let planar = bytes.permute((2, 0, 1))?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let planar: Vec<f64> = planar.iter().map(|v| v / 255.0).collect();
    Ok(Image::new(&planar, h, w)?)
}
