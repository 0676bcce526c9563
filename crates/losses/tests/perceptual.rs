//! Terms that look through fixed networks.

use crate::common::{Outcome, check_golden, gradient, objective, value};
use candle_core::{DType, Shape, Tensor};
use colormamba_features::{FeatureError, FeatureNetwork, LpipsNetwork, Network};
use colormamba_losses::{
    FeatureDistance, LayerPreset, Layers, LossError, LpipsOptions, Networks, StyleOptions, Term, VggOptions, Weight,
};
use colormamba_testkit::{assert_gradients, device, formula, unit_image};

fn vgg(layers: LayerPreset, distance: FeatureDistance) -> Term {
    Term::Vgg(VggOptions { layers: Layers::Preset(layers), distance, ..Default::default() })
}

/// Networks with weights by formula, f64.
fn exact() -> Result<Networks, FeatureError> {
    let autoencoder = colormamba_features::AutoencoderFeatures::from_fn(DType::F64, &device(), |name, shape| {
        Ok(formula(&format!("ae.{name}"), shape)?)
    })?;
    Network::ALL.into_iter().try_fold(Networks::default().with_autoencoder(autoencoder), |networks, network| {
        let weights = |name: &str, shape: &Shape| Ok(formula(&format!("{network}.{name}"), shape)?);
        Ok(networks.with_classifier(FeatureNetwork::from_fn(network, DType::F64, &device(), weights)?))
    })
}

/// Every term of this file, small enough for finite differences.
fn terms() -> Vec<Term> {
    let names = |names: &[&str]| Layers::Names(names.iter().map(|name| name.to_string()).collect());
    let mut terms = vec![
        Term::FeatureMse {},
        Term::FeatureCosine {},
        Term::Vgg(VggOptions {
            network: Network::Vgg16,
            layers: names(&["relu2_1", "relu1_2"]),
            layer_weights: vec![0.5, 2.0],
            distance: FeatureDistance::L2,
        }),
        Term::Vgg(VggOptions { layers: names(&["relu1_1"]), distance: FeatureDistance::L1, ..Default::default() }),
        Term::Style(StyleOptions { layers: names(&["relu1_1", "relu2_1"]), ..Default::default() }),
    ];
    terms.extend(LpipsNetwork::ALL.map(|network| Term::Lpips(LpipsOptions { network })));
    terms
}

#[test]
fn feature_mse_is_the_golden_one() -> Outcome {
    check_golden("feature_mse", &[(Term::FeatureMse {}, 1.0)], 1e-6, 1e-5)
}

#[test]
fn feature_cosine_is_the_golden_one() -> Outcome {
    // The reference takes 1 minus a mean near 1, in f32.
    check_golden("feature_cosine", &[(Term::FeatureCosine {}, 1.0)], 5e-5, 1e-5)
}

/// Rounding in f32 decides about some of the ReLUs and maxima near a kink: the golden gradients differ from the
/// reference's own in f64 by 6.6e-4 (relu4_1) and 3.7e-4 (all).
const KINKS: f64 = 1e-3;

#[test]
fn vgg_at_relu4_1_is_the_golden_one() -> Outcome {
    check_golden("vgg19_features21_mse", &[(vgg(LayerPreset::Features21, FeatureDistance::L2), 1.0)], 1e-6, KINKS)
}

#[test]
fn vgg_of_the_first_layers_of_blocks_is_the_golden_one() -> Outcome {
    let term = vgg(LayerPreset::FirstOfBlocks, FeatureDistance::L2);
    check_golden("vgg19_relu1_1_to_5_1_mse", &[(term, 1.0)], 1e-5, 1e-4)
}

#[test]
fn vgg_of_all_layers_is_the_golden_one() -> Outcome {
    check_golden("vgg19_all_relu_l1", &[(vgg(LayerPreset::All, FeatureDistance::L1), 1.0)], 1e-6, KINKS)
}

#[test]
fn style_is_the_golden_one() -> Outcome {
    check_golden("vgg19_style_gram", &[(Term::Style(StyleOptions::default()), 1.0)], 1e-6, 1e-4)
}

/// A step of the difference crosses the kinks of some of the ReLUs, the more so the deeper the network is: LPIPS, whose
/// networks are the deepest here, is left to the features' tests, which check its layers and the networks apart.
#[test]
fn gradients_are_those_of_finite_differences() -> Outcome {
    let networks = exact()?;
    for term in terms().into_iter().filter(|term| !matches!(term, Term::Lpips(_))) {
        let side = term.smallest_side().max(11);
        let (pred, target) =
            (unit_image("pred", (2, 3, side, side + 2))?, unit_image("target", (2, 3, side, side + 2))?);
        let objective = objective(&[(term.clone(), 1.0)], networks.clone())?;
        let target = objective.target(&target.to_dtype(DType::F64)?)?;
        assert_gradients(&format!("{term:?}"), &[pred], 2e-3, |x| {
            Ok(objective.evaluate(&x[0], &target, 0).map_err(candle_core::Error::wrap)?.total)
        })?;
    }
    Ok(())
}

#[test]
fn terms_are_zero_at_the_target_and_the_mean_of_the_singles() -> Outcome {
    let networks = exact()?;
    for term in terms() {
        let side = term.smallest_side().max(11);
        let image = |name: &str| unit_image(name, (2, 3, side, side + 3))?.to_dtype(DType::F64);
        let (pred, target) = (image("pred")?, image("target")?);
        let of = |p: &Tensor, t: &Tensor| value(&term, networks.clone(), p, t);
        let same = of(&pred, &pred)?;
        assert!((0.0..1e-14).contains(&same), "{term:?}: {same}");
        let single = |i: usize| -> Result<f64, LossError> { of(&pred.narrow(0, i, 1)?, &target.narrow(0, i, 1)?) };
        let (both, mean) = (of(&pred, &target)?, (single(0)? + single(1)?) / 2.0);
        assert!(both > 0.0 && (both - mean).abs() < 1e-12 * mean, "{term:?}: {both} {mean}");
    }
    Ok(())
}

#[test]
fn flat_images_have_finite_gradients() -> Outcome {
    for dtype in [DType::F32, DType::F64] {
        let weights = |network| FeatureNetwork::random(network, 3, dtype, &device());
        let mut networks = Networks::default();
        for network in Network::ALL {
            networks = networks.with_classifier(weights(network)?);
        }
        networks = networks.with_autoencoder(colormamba_features::AutoencoderFeatures::random(3, dtype, &device())?);
        for term in terms() {
            let side = term.smallest_side();
            let objective = objective(&[(term.clone(), 1.0)], networks.clone())?;
            let flat = |v: f64| Tensor::full(v, (1, 3, side, side), &device())?.to_dtype(dtype);
            for (p, t) in [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.5, 0.5), (0.485, 0.2)] {
                let (value, grad) = gradient(&objective, &flat(p)?, &flat(t)?)?;
                let grad = grad.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
                assert!(value.is_finite() && grad.iter().all(|g| g.is_finite()), "{term:?} at {p}, {t}");
            }
        }
    }
    Ok(())
}

/// Two layers with weights are the weighted sum of each alone.
#[test]
fn layers_are_added_up_by_their_weights() -> Outcome {
    let networks = exact()?;
    let image = |name: &str| unit_image(name, (1, 3, 9, 12))?.to_dtype(DType::F64);
    let (pred, target) = (image("pred")?, image("target")?);
    let of = |layers: &[&str], layer_weights: &[f64]| {
        let layers = Layers::Names(layers.iter().map(|name| name.to_string()).collect());
        let options = VggOptions { layers, layer_weights: layer_weights.to_vec(), ..Default::default() };
        value(&Term::Vgg(options), networks.clone(), &pred, &target)
    };
    let (first, second) = (of(&["relu1_2"], &[])?, of(&["relu3_1"], &[])?);
    let both = of(&["relu3_1", "relu1_2"], &[0.25, 3.0])?;
    assert!((both - (0.25 * second + 3.0 * first)).abs() < 1e-12 * both);
    let both = of(&["relu3_1", "relu1_2"], &[])?;
    assert!((both - (second + first)).abs() < 1e-12 * both);
    Ok(())
}

/// LPIPS as a term is the sum of its layers, whose values the features' own tests compare with the reference's.
#[test]
fn lpips_is_the_sum_of_its_layers() -> Outcome {
    for network in LpipsNetwork::ALL {
        let side = Term::Lpips(LpipsOptions { network }).smallest_side();
        let image = |name: &str| unit_image(name, (2, 3, side, side + 5))?.to_dtype(DType::F64);
        let (pred, target) = (image("pred")?, image("target")?);
        let classifier = FeatureNetwork::random(network.classifier(), 5, DType::F64, &device())?;
        let taps: Vec<String> = network.taps().iter().map(|tap| tap.to_string()).collect();
        let maps = |x: &Tensor| classifier.forward(&x.into(), &taps);
        let (p, t) = (maps(&pred)?, maps(&target)?);
        let mut want = 0.0;
        for layer in network.layers()? {
            let unit = |x: &Tensor| x.broadcast_div(&(x.sqr()?.sum_keepdim(1)?.sqrt()? + 1e-10)?);
            let weights = Tensor::new(layer.weights(), &device())?.reshape((1, (), 1, 1))?;
            let (p, t) = (unit(p[layer.tap()].value())?, unit(t[layer.tap()].value())?);
            want += (p - t)?.sqr()?.broadcast_mul(&weights)?.sum(1)?.mean_all()?.to_scalar::<f64>()?;
        }
        let networks = Networks::default().with_classifier(classifier);
        let got = value(&Term::Lpips(LpipsOptions { network }), networks, &pred, &target)?;
        assert!((got - want).abs() < 1e-12 * want, "{network:?}: {got} {want}");
    }
    Ok(())
}

#[test]
fn images_that_are_too_small_are_an_error() -> Outcome {
    let networks = exact()?;
    for (term, smallest) in [
        (Term::Vgg(VggOptions::default()), 8),
        (Term::Style(StyleOptions::default()), 16),
        (Term::Lpips(LpipsOptions { network: LpipsNetwork::Vgg }), 16),
        (Term::Lpips(LpipsOptions { network: LpipsNetwork::Alex }), 31),
        (Term::Lpips(LpipsOptions { network: LpipsNetwork::Squeeze }), 17),
        (Term::Lpips(LpipsOptions { network: LpipsNetwork::StVgg }), 18),
        (Term::Lpips(LpipsOptions { network: LpipsNetwork::StAlex }), 21),
    ] {
        let flat = |side: usize| Tensor::zeros((1, 3, side, 40), DType::F64, &device());
        assert!(value(&term, networks.clone(), &flat(smallest)?, &flat(smallest)?).is_ok(), "{term}");
        let below = value(&term, networks.clone(), &flat(smallest - 1)?, &flat(smallest - 1)?);
        assert!(matches!(below, Err(LossError::TooSmall { smallest: s, .. }) if s == smallest), "{term}");
    }
    Ok(())
}

#[test]
fn options_that_mean_nothing_are_errors() -> Outcome {
    let networks = exact()?;
    let names = |names: &[&str]| Layers::Names(names.iter().map(|name| name.to_string()).collect());
    let vgg = |options: VggOptions| Term::Vgg(options);
    let layers = |layers: Layers| vgg(VggOptions { layers, ..Default::default() });
    for (term, part) in [
        (layers(names(&["relu1_3"])), "`relu1_3`; those of vgg19 are relu1_1, relu1_2"),
        (layers(names(&["relu1_1", "relu1_1"])), "twice"),
        (layers(names(&[])), "empty"),
        (vgg(VggOptions { network: Network::AlexNet, ..Default::default() }), "must be vgg16 or vgg19"),
        (vgg(VggOptions { layer_weights: vec![1.0, 1.0], ..Default::default() }), "2 weights for 1 layers"),
        (vgg(VggOptions { layer_weights: vec![-1.0], ..Default::default() }), "not negative"),
        (vgg(VggOptions { layer_weights: vec![f64::NAN], ..Default::default() }), "finite"),
        (Term::Style(StyleOptions { network: Network::SqueezeNet, ..Default::default() }), "must be vgg16 or vgg19"),
    ] {
        let Err(error) =
            colormamba_losses::ImageObjective::new(vec![(term.clone(), Weight::from(1.0))], networks.clone())
        else {
            panic!("{term:?} is accepted");
        };
        assert!(error.to_string().contains(part), "{error}");
    }
    Ok(())
}

#[test]
fn options_read_as_they_are_written() -> Outcome {
    let read = |text: &str| serde_json::from_str::<Term>(text);
    assert_eq!(read(r#"{"vgg": {}}"#)?, Term::Vgg(VggOptions::default()));
    let st_alex = read(r#"{"vgg": {"network": "st-alexnet", "layers": ["relu1", "relu3"]}}"#)?;
    assert!(matches!(&st_alex, Term::Vgg(options) if options.network == Network::StAlexNet) && st_alex.check().is_ok());
    let st_vgg = read(r#"{"lpips": {"network": "st-vgg"}}"#)?;
    assert_eq!(st_vgg, Term::Lpips(LpipsOptions { network: LpipsNetwork::StVgg }));
    assert_eq!(read(r#"{"lpips": {"network": "alex"}}"#)?, Term::Lpips(LpipsOptions { network: LpipsNetwork::Alex }));
    for text in [
        r#"{"vgg":{"network":"vgg16","layers":"relu1_2-3_3","layer_weights":[],"distance":"l1"}}"#,
        r#"{"vgg":{"network":"vgg19","layers":["relu1_1"],"layer_weights":[2.0],"distance":"l2"}}"#,
        r#"{"style":{"network":"vgg19","layers":"relu1_1-5_1"}}"#,
        r#"{"style":{"network":"vgg16","layers":"all"}}"#,
        r#"{"lpips":{"network":"squeeze"}}"#,
    ] {
        assert_eq!(serde_json::to_string(&read(text)?)?, text);
    }
    for text in
        [r#"{"vgg": {"layers": "relu1_1-3_1"}}"#, r#"{"vgg": {"layer": "all"}}"#, r#"{"lpips": {"network": "vgg19"}}"#]
    {
        assert!(read(text).is_err(), "{text}");
    }
    let error = read(r#"{"vgg": {"layers": "relu1_1-3_1"}}"#).expect_err("an error").to_string();
    assert!(error.contains("features21") && error.contains("relu1_2-3_3"), "{error}");
    Ok(())
}
