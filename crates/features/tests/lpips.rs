//! LPIPS against the reference's values, and its formula written out.

use candle_core::{DType, Tensor, Var};
use colormamba_features::{FeatureError, FeatureNetwork, LpipsNetwork, Metric};
use colormamba_metrics::{Image, MetricError, Pair};
use colormamba_ops::Node;
use colormamba_testkit::{Fixture, assert_gradients, device, fixtures_dir, formula, noise_tensor};
use std::collections::BTreeMap;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A classifier with weights of formulas.
fn network(kind: LpipsNetwork, dtype: DType) -> Result<FeatureNetwork, FeatureError> {
    FeatureNetwork::from_fn(kind.classifier(), dtype, &device(), |name, shape| {
        Ok(formula(&format!("{}.{name}", kind.classifier()), shape)?)
    })
}

/// Its feature maps of an image.
fn maps(kind: LpipsNetwork, image: &Tensor) -> Result<BTreeMap<String, Node>, FeatureError> {
    let taps: Vec<String> = kind.taps().iter().map(|tap| tap.to_string()).collect();
    network(kind, image.dtype())?.forward(&Node::from(image), &taps)
}

fn distance(kind: LpipsNetwork, pred: &Tensor, target: &Tensor) -> Result<f64, FeatureError> {
    kind.distance(&network(kind, pred.dtype())?, pred, target)
}

/// The reference (its package, version 0.1 weights, backbones by formula) on images of 192 x 256.
#[test]
fn values_are_those_of_the_reference() -> Outcome {
    let images = Fixture::load("metrics")?;
    let expected = std::fs::read_to_string(fixtures_dir().join("metrics_expected.json"))?;
    let expected: serde_json::Value = serde_json::from_str(&expected)?;
    let image = |key: &str| -> Result<Tensor, candle_core::Error> {
        (images.get(key)?.to_dtype(DType::F32)? / 255.0)?.permute((2, 0, 1))?.unsqueeze(0)
    };
    for pair in expected.as_array().expect("a list").iter().take(2) {
        for (kind, name) in [(LpipsNetwork::Vgg, "vgg"), (LpipsNetwork::Alex, "alex")] {
            let want = pair[format!("lpips_{name}[formula backbone, v0.1 linear weights]")].as_f64().expect("a number");
            let pred = image(&format!("pred.{}", pair["pair"].as_str().expect("text")))?;
            let got = distance(kind, &pred, &image("target")?)?;
            println!("{name} {}: {got}, relative error {:.1e}", pair["pair"], (got - want).abs() / want);
            assert!((got - want).abs() <= 2e-6 * want, "{name} {}: {got}, not {want}", pair["pair"]);
        }
    }
    Ok(())
}

/// An image of the fixtures, 192 x 256, in [0, 1].
fn fixture(images: &Fixture, key: &str) -> Result<Tensor, candle_core::Error> {
    (images.get(key)?.to_dtype(DType::F64)? / 255.0)?.permute((2, 0, 1))?.unsqueeze(0)
}

/// Distances of the fixtures' predictions by name, as the authors' package computes them in double precision.
fn stlpips_reference(key: &str) -> Result<BTreeMap<String, f64>, Box<dyn std::error::Error>> {
    let all = std::fs::read_to_string(fixtures_dir().join("stlpips_reference.json"))?;
    let mut all: BTreeMap<String, BTreeMap<String, f64>> = serde_json::from_str(&all)?;
    Ok(all.remove(key).expect("a variant of the weights"))
}

/// Compares `network`'s distances in single precision with the reference's.
fn assert_stlpips(kind: LpipsNetwork, network: &FeatureNetwork, weights: &str, tolerance: f64) -> Outcome {
    let images = Fixture::load("metrics")?;
    let key = format!("{}, {weights}", kind.definition().spec);
    let target = fixture(&images, "target")?.to_dtype(DType::F32)?;
    for (name, want) in stlpips_reference(&key)? {
        let pred = fixture(&images, &format!("pred.{name}"))?.to_dtype(DType::F32)?;
        let got = kind.distance(network, &pred, &target)?;
        println!("{key} {name}: {got}, relative error {:.1e}", (got - want).abs() / want);
        assert!((got - want).abs() <= tolerance * want, "{key} {name}: {got}, not {want}");
    }
    Ok(())
}

#[test]
fn shift_tolerant_values_are_those_of_the_authors_package() -> Outcome {
    for kind in [LpipsNetwork::StVgg, LpipsNetwork::StAlex] {
        assert_stlpips(kind, &network(kind, DType::F32)?, "formula", 1e-5)?;
    }
    let alex = FeatureNetwork::pretrained(LpipsNetwork::StAlex.classifier(), "".as_ref(), DType::F32, &device())?;
    assert_stlpips(LpipsNetwork::StAlex, &alex, "f16", 1e-5)?;
    // What the rounding of the weights in the program to f16 does.
    assert_stlpips(LpipsNetwork::StAlex, &alex, "f32", 1e-3)
}

/// The files of the authors' package, where there are any: `STLPIPS_DIR` says in which folder.
#[test]
fn shift_tolerant_values_are_those_of_the_published_files() -> Outcome {
    let Some(folder) = std::env::var_os("STLPIPS_DIR").map(std::path::PathBuf::from) else {
        eprintln!("skipped: STLPIPS_DIR is not set");
        return Ok(());
    };
    for kind in [LpipsNetwork::StVgg, LpipsNetwork::StAlex] {
        let path = FeatureNetwork::find(kind.classifier(), &folder)?;
        let network = FeatureNetwork::load(kind.classifier(), &path, DType::F32, &device())?;
        assert_stlpips(kind, &network, "f32", 1e-5)?;
    }
    Ok(())
}

#[test]
fn a_metric_measures_as_its_network_does() -> Outcome {
    let images = Fixture::load("metrics")?;
    let image = |key: &str| -> Result<Image, Box<dyn std::error::Error>> {
        Ok(Image::new(&fixture(&images, key)?.flatten_all()?.to_vec1::<f64>()?, 192, 256)?)
    };
    let (pred, target) = (image("pred.blur")?, image("target")?);
    let metric: Metric = "st-lpips[alex]".parse()?;
    let loaded = metric.load("".as_ref())?;
    assert_eq!(loaded.metric(), metric);
    let want = stlpips_reference("st-lpips[alex], f16")?["blur"];
    let got = loaded.value(&Pair::new(&pred, &target)?)?;
    assert!((got - want).abs() <= 1e-5 * want, "{got}, not {want}");
    assert_eq!(loaded.value(&Pair::new(&target, &target)?)?, 0.0);
    let error = "lpips[vgg]".parse::<Metric>()?.load("nowhere".as_ref()).err().expect("an error").to_string();
    assert!(error.contains("colormamba weights fetch vgg16"), "{error}");
    Ok(())
}

#[test]
fn a_metric_refuses_small_images_and_lets_a_nan_through() -> Outcome {
    let loaded = "st-lpips[alex]".parse::<Metric>()?.load("".as_ref())?;
    let image = |side: usize, value: f64| Image::new(&vec![value; 3 * side * side], side, side);
    let (small, nan) = (image(20, 0.5)?, image(21, f64::NAN)?);
    let error = loaded.value(&Pair::new(&small, &small)?).err();
    assert!(matches!(error, Some(FeatureError::Metric(MetricError::TooSmall { side: 21, .. }))), "{error:?}");
    assert!(loaded.value(&Pair::new(&nan, &nan)?)?.is_nan());
    Ok(())
}

#[test]
fn metrics_have_names_of_their_own_and_the_sides_of_their_networks() {
    let names: Vec<&str> = Metric::all().flat_map(|metric| [metric.spec(), metric.name()]).collect();
    for metric in Metric::all() {
        assert_eq!((metric.spec().parse(), metric.name().parse()), (Ok(metric), Ok(metric)));
        let own = if metric.spec() == metric.name() { 2 } else { 1 };
        assert_eq!(names.iter().filter(|name| **name == metric.name()).count(), own, "{}", metric.name());
    }
    for kind in LpipsNetwork::ALL {
        assert_eq!(kind.definition().smallest_side, kind.classifier().smallest_side(kind.taps()), "{kind:?}");
    }
}

/// The reference takes images in [-1, 1] and scales them by numbers of its own, which come to the same.
#[test]
fn the_references_scaling_is_imagenets() {
    let (shift, scale) = ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]);
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    for channel in 0..3 {
        for x in [0.0, 0.3, 1.0f64] {
            let theirs = (2.0 * x - 1.0 - shift[channel]) / scale[channel];
            let ours = (x - mean[channel]) / std[channel];
            assert!((theirs - ours).abs() < 1e-14, "{theirs} {ours}");
        }
    }
}

#[test]
fn there_is_a_weight_for_every_channel_and_none_is_negative() -> Outcome {
    for kind in LpipsNetwork::ALL {
        let maps = maps(kind, &Tensor::ones((1, 3, 32, 32), DType::F32, &device())?)?;
        for layer in kind.layers()? {
            assert_eq!(layer.weights().len(), maps[layer.tap()].dims()[1], "{kind:?} {}", layer.tap());
            assert!(layer.weights().iter().all(|w| *w >= 0.0) && layer.weights().iter().any(|w| *w > 0.0));
        }
    }
    Ok(())
}

/// Feature maps of the first layer's 64 channels, larger than a block, with zeros among them.
fn features(name: &str) -> candle_core::Result<Tensor> {
    noise_tensor(name, (2, 64, 23, 29))?.to_dtype(DType::F64)?.relu()
}

#[test]
fn a_layer_is_its_formula() -> Outcome {
    let layer = LpipsNetwork::Alex.layers()?.swap_remove(0);
    let (p, t) = (features("p")?, features("t")?);
    let unit = |x: &Tensor| x.broadcast_div(&(x.sqr()?.sum_keepdim(1)?.sqrt()? + 1e-10)?);
    let weights = Tensor::new(layer.weights(), &device())?.reshape((1, 64, 1, 1))?;
    let want = (unit(&p)? - unit(&t)?)?.sqr()?.broadcast_mul(&weights)?.sum(1)?.mean_all()?.to_scalar::<f64>()?;
    let distance = layer.against(&t)?;
    let of = |p: &Tensor| -> candle_core::Result<f64> { distance.mean(&Node::from(p))?.value().to_scalar() };
    assert!((of(&p)? - want).abs() < 1e-14 * want, "{} {want}", of(&p)?);
    assert_eq!(of(&t)?, 0.0);
    let single = distance_f32(&p, &t)?;
    assert!((single - want).abs() < 1e-6 * want, "{single} {want}");
    Ok(())
}

fn distance_f32(p: &Tensor, t: &Tensor) -> Result<f64, FeatureError> {
    let layer = LpipsNetwork::Alex.layers()?.swap_remove(0);
    let distance = layer.against(&t.to_dtype(DType::F32)?)?;
    Ok(distance.mean(&Node::from(&p.to_dtype(DType::F32)?))?.value().to_scalar()?)
}

#[test]
fn a_layers_gradient_is_that_of_finite_differences() -> Outcome {
    let layer = LpipsNetwork::Alex.layers()?.swap_remove(0);
    let distance = layer.against(&features("t")?)?;
    // Vectors far from zero: steps must not cross what the root makes of it.
    assert_gradients("lpips", &[(features("p")? + 0.1)?], 1e-7, |x| distance.mean(&Node::from(&x[0])))?;
    Ok(())
}

#[test]
fn vectors_of_zeros_get_no_gradient_and_tiny_ones_a_finite_one() -> Outcome {
    let mut values = vec![0.0f32; 64 * 4];
    (values[1], values[2]) = (1e-9, 1e-30);
    values[3] = 1e-3;
    let pred = Var::from_vec(values, (1, 64, 2, 2), &device())?;
    for target in
        [Tensor::zeros((1, 64, 2, 2), DType::F32, &device())?, Tensor::ones((1, 64, 2, 2), DType::F32, &device())?]
    {
        let distance = LpipsNetwork::Alex.layers()?.swap_remove(0).against(&target)?;
        let mean = distance.mean(&Node::from(&pred))?;
        assert!(mean.value().to_scalar::<f64>()?.is_finite());
        let grad = mean.backward(&Tensor::new(1f64, &device())?)?.remove(&pred).expect("a gradient");
        let grad = grad.reshape((64, 4))?.to_vec2::<f32>()?;
        assert!(grad.iter().flatten().all(|g| g.is_finite()));
        assert!(grad.iter().all(|channel| channel[0] == 0.0));
    }
    Ok(())
}

#[test]
fn other_shapes_are_errors() -> Outcome {
    let zeros = |shape: [usize; 4]| Tensor::zeros(shape.to_vec(), DType::F32, &device());
    let layer = || LpipsNetwork::Alex.layers().map(|mut layers| layers.swap_remove(0));
    for shape in [[1, 63, 2, 2], [0, 64, 2, 2], [1, 64, 0, 2]] {
        assert!(layer()?.against(&zeros(shape)?).is_err(), "{shape:?}");
    }
    let distance = layer()?.against(&zeros([1, 64, 2, 3])?)?;
    assert!(distance.mean(&Node::from(&zeros([1, 64, 3, 2])?)).is_err());
    Ok(())
}
