//! Classifiers against plain loops, candle's own operations, and their descriptions.

use candle_core::{DType, Result, Shape, Tensor, Var};
use colormamba_features::{FeatureError, FeatureNetwork, Network, published};
use colormamba_ops::Node;
use colormamba_testkit::{assert_close, assert_gradients, device, formula, noise_tensor, unit_image};
use std::collections::BTreeMap;

/// Weights by formula.
fn network(network: Network, dtype: DType) -> std::result::Result<FeatureNetwork, FeatureError> {
    FeatureNetwork::from_fn(network, dtype, &device(), |name, shape| Ok(formula(&format!("{network}.{name}"), shape)?))
}

fn names<T: ToString>(taps: &[T]) -> Vec<String> {
    taps.iter().map(T::to_string).collect()
}

/// All feature maps by candle's operations, which share nothing with ours.
fn by_candle(network: Network, image: &Tensor) -> Result<BTreeMap<String, Tensor>> {
    let channels = |v: [f64; 3]| Tensor::new(&v, &device())?.to_dtype(image.dtype())?.reshape((1, 3, 1, 1));
    let normal = image.broadcast_sub(&channels([0.485, 0.456, 0.406])?)?;
    let mut x = normal.broadcast_div(&channels([0.229, 0.224, 0.225])?)?;
    let conv = |x: &Tensor, path: &str, shape: [usize; 4], stride: usize, padding: usize| -> Result<Tensor> {
        let get = |name: &str, shape: Shape| formula(&format!("{network}.{path}.{name}"), shape)?.to_dtype(x.dtype());
        let weight = get("weight", Shape::from(shape.to_vec()))?;
        let bias = get("bias", Shape::from(shape[0]))?.reshape((1, shape[0], 1, 1))?;
        x.conv2d(&weight, padding, stride, 1, 1)?.broadcast_add(&bias)?.relu()
    };
    // Windows that reach beyond the image: ReLUs are not negative, so zeros there change no maximum.
    let up = |x: &Tensor| -> Result<Tensor> {
        let odd = |n: usize| usize::from(n.is_multiple_of(2));
        let (_, _, h, w) = x.dims4()?;
        x.pad_with_zeros(2, 0, odd(h))?.pad_with_zeros(3, 0, odd(w))?.max_pool2d_with_stride(3, 2)
    };
    // Two pixels mirrored about each border; 1-2-1 along both axes, every second pixel.
    let blur = |x: &Tensor| -> Result<Tensor> {
        let (_, c, h, w) = x.dims4()?;
        let mirrored = |n: usize| {
            let n = n as u32;
            Tensor::new([2, 1].into_iter().chain(0..n).chain([n - 2, n - 3]).collect::<Vec<u32>>(), &device())
        };
        let x = x.index_select(&mirrored(h)?, 2)?.index_select(&mirrored(w)?, 3)?;
        let taps: Vec<f64> = [1.0, 2.0, 1.0, 2.0, 4.0, 2.0, 1.0, 2.0, 1.0].repeat(c);
        let taps = (Tensor::from_vec(taps, (c, 1, 3, 3), &device())? / 16.0)?.to_dtype(x.dtype())?;
        x.conv2d(&taps, 0, 2, 1, c)
    };
    let mut taps = Vec::new();
    match network {
        Network::StAlexNet => {
            let get = |name: &str, shape: &[usize]| {
                formula(&format!("{network}.net.slice1.0.{name}"), shape)?.to_dtype(x.dtype())
            };
            let bias = get("bias", &[64])?.reshape((1, 64, 1, 1))?;
            x = x.conv2d(&get("weight", &[64, 3, 11, 11])?, 2, 1, 1, 1)?.broadcast_add(&bias)?;
            x = blur(&x)?.relu()?;
            taps.push(x.clone());
            let layers = [("slice2.5", 64, 192, 5, 2), ("slice3.9", 192, 384, 3, 1), ("slice4.11", 384, 256, 3, 1)];
            for (path, i, o, k, padding) in layers.into_iter().chain([("slice5.13", 256, 256, 3, 1)]) {
                if k == 5 || i == 192 {
                    x = blur(&x.max_pool2d_with_stride(3, 1)?)?;
                }
                x = conv(&x, &format!("net.{path}"), [o, i, k, k], 1, padding)?;
                taps.push(x.clone());
            }
        }
        Network::StVgg16 => {
            let (mut index, mut i) = (0, 3);
            for (block, o) in (1..).zip([64, 128, 256, 512, 512]) {
                if block > 1 {
                    x = blur(&x.max_pool2d_with_stride(2, 1)?)?;
                    index += 2;
                }
                for _ in 0..if block < 3 { 2 } else { 3 } {
                    x = conv(&x, &format!("net.slice{block}.{index}"), [o, i, 3, 3], 1, 1)?;
                    taps.push(x.clone());
                    (index, i) = (index + 2, o);
                }
            }
        }
        Network::AlexNet => {
            let layers = [(0, 3, 64, 11, 4, 2), (3, 64, 192, 5, 1, 2), (6, 192, 384, 3, 1, 1), (8, 384, 256, 3, 1, 1)];
            for (index, i, o, k, stride, padding) in layers.into_iter().chain([(10, 256, 256, 3, 1, 1)]) {
                if [3, 6].contains(&index) {
                    x = x.max_pool2d_with_stride(3, 2)?;
                }
                x = conv(&x, &format!("features.{index}"), [o, i, k, k], stride, padding)?;
                taps.push(x.clone());
            }
        }
        Network::SqueezeNet => {
            x = conv(&x, "features.0", [64, 3, 3, 3], 2, 0)?;
            taps.push(x.clone());
            let squeezes = [(3, 16), (4, 16), (6, 32), (7, 32), (9, 48), (10, 48), (11, 64), (12, 64)];
            for (index, s) in squeezes {
                if [3, 6, 9].contains(&index) {
                    x = up(&x)?;
                }
                let squeezed = conv(&x, &format!("features.{index}.squeeze"), [s, x.dim(1)?, 1, 1], 1, 0)?;
                let point = conv(&squeezed, &format!("features.{index}.expand1x1"), [4 * s, s, 1, 1], 1, 0)?;
                let ring = conv(&squeezed, &format!("features.{index}.expand3x3"), [4 * s, s, 3, 3], 1, 1)?;
                x = Tensor::cat(&[point, ring], 1)?;
                if ![3, 6].contains(&index) {
                    taps.push(x.clone());
                }
            }
        }
        Network::Vgg16 | Network::Vgg19 => {
            let deep = if network == Network::Vgg16 { 3 } else { 4 };
            let (mut index, mut i) = (0, 3);
            for (block, o) in [64, 128, 256, 512, 512].into_iter().enumerate() {
                if block > 0 {
                    x = x.max_pool2d(2)?;
                    index += 1;
                }
                for _ in 0..if block < 2 { 2 } else { deep } {
                    x = conv(&x, &format!("features.{index}"), [o, i, 3, 3], 1, 1)?;
                    taps.push(x.clone());
                    (index, i) = (index + 2, o);
                }
            }
        }
    }
    Ok(network.taps().iter().map(|tap| tap.to_string()).zip(taps).collect())
}

#[test]
fn feature_maps_are_those_of_candles_operations() -> std::result::Result<(), Box<dyn std::error::Error>> {
    for kind in Network::ALL {
        let image = unit_image("classifier", (2, 3, 37, 50))?;
        let got = network(kind, DType::F32)?.forward(&Node::from(&image), &names(kind.taps()))?;
        let want = by_candle(kind, &image)?;
        assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
        for (tap, want) in &want {
            assert_close(&format!("{kind} {tap}"), &got[tap], want, 1e-5)?;
        }
    }
    Ok(())
}

/// The first two layers written out: zeros around the normalised image, not around the image.
#[test]
fn the_border_of_the_normalised_image_is_zero() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let (h, w) = (4, 5);
    let image = unit_image("border", (1, 3, h, w))?.to_dtype(DType::F64)?;
    let values = |name: &str, shape: &[usize]| -> Result<Vec<f64>> {
        formula(&format!("vgg19.features.{name}"), shape)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
    };
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let mut x: Vec<f64> = image.flatten_all()?.to_vec1()?;
    for (i, x) in x.iter_mut().enumerate() {
        *x = (*x - mean[i / (h * w)]) / std[i / (h * w)];
    }
    for (index, inputs) in [(0, 3), (2, 64)] {
        let (weight, bias) =
            (values(&format!("{index}.weight"), &[64, inputs, 3, 3])?, values(&format!("{index}.bias"), &[64])?);
        let mut y = vec![0.0; 64 * h * w];
        for (o, r, c) in (0..64).flat_map(|o| (0..h).flat_map(move |r| (0..w).map(move |c| (o, r, c)))) {
            let mut sum = bias[o];
            for (i, dr, dc) in (0..inputs).flat_map(|i| (0..3).flat_map(move |dr| (0..3).map(move |dc| (i, dr, dc)))) {
                if (1..=h).contains(&(r + dr)) && (1..=w).contains(&(c + dc)) {
                    sum += weight[((o * inputs + i) * 3 + dr) * 3 + dc] * x[(i * h + r + dr - 1) * w + c + dc - 1];
                }
            }
            y[(o * h + r) * w + c] = sum.max(0.0);
        }
        x = y;
    }
    let got = network(Network::Vgg19, DType::F64)?.forward(&Node::from(&image), &names(&["relu1_2"]))?;
    assert_close("relu1_2", &got["relu1_2"], &Tensor::from_vec(x, (1, 64, h, w), &device())?, 1e-13)?;
    Ok(())
}

#[test]
fn gradients_reach_the_image_from_every_map() -> std::result::Result<(), Box<dyn std::error::Error>> {
    // Two feature maps at once: one gradient passes through the other's layer.
    for (kind, taps, side) in [
        (Network::Vgg16, ["relu1_1", "relu2_1"], 5),
        (Network::AlexNet, ["relu1", "relu2"], 17),
        (Network::SqueezeNet, ["relu2", "relu3"], 19),
        (Network::StVgg16, ["relu1_2", "relu2_1"], 5),
        (Network::StAlexNet, ["relu1", "relu2"], 17),
    ] {
        let network = network(kind, DType::F64)?;
        let image = unit_image("gradient", (2, 3, side, side + 2))?;
        for tap in taps {
            // A step of the difference crosses the kinks of some of the thousands of ReLUs.
            assert_gradients(&format!("{kind} {tap}"), std::slice::from_ref(&image), 2e-3, |x| {
                let maps = network.forward(&Node::from(&x[0]), &names(&taps)).map_err(candle_core::Error::wrap)?;
                Ok(maps[tap].clone())
            })?;
        }
    }
    Ok(())
}

#[test]
fn weights_are_constants_and_only_asked_maps_come_back() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let weights: Vec<Var> = Vec::new();
    let kept = std::cell::RefCell::new(weights);
    let network = FeatureNetwork::from_fn(Network::Vgg16, DType::F32, &device(), |name, shape| {
        let var = Var::from_tensor(&formula(name, shape)?)?;
        kept.borrow_mut().push(var.clone());
        Ok(var.as_tensor().clone())
    })?;
    let image = unit_image("constant", (1, 3, 16, 16))?;
    let maps = network.forward(&Node::from(&image), &names(&["relu2_1", "relu1_1"]))?;
    assert_eq!(maps.keys().collect::<Vec<_>>(), ["relu1_1", "relu2_1"]);
    assert!(maps.values().all(|map| !map.is_tracked()));
    let image = Var::from_tensor(&image)?;
    let maps = network.forward(&Node::from(&image), &names(&["relu2_1"]))?;
    let grads = maps["relu2_1"].clone().backward(&maps["relu2_1"].value().ones_like()?)?;
    assert!(grads.get(&image).is_some());
    assert!(kept.borrow().iter().all(|var| grads.get(var).is_none()));
    // Maps behind the last one asked for are not computed: this image is too small for them.
    let small = Node::from(&unit_image("small", (1, 3, 2, 2))?);
    assert!(network.forward(&small, &names(&["relu2_2"])).is_ok());
    assert!(matches!(network.forward(&small, &names(&["relu3_1"])), Err(FeatureError::Candle(_))));
    Ok(())
}

#[test]
fn the_smallest_side_is_the_smallest_that_works() -> std::result::Result<(), Box<dyn std::error::Error>> {
    for kind in Network::ALL {
        let network = FeatureNetwork::random(kind, 1, DType::F32, &device())?;
        for tap in kind.taps() {
            let side = kind.smallest_side(&[tap]);
            let at = |side: usize| -> std::result::Result<_, FeatureError> {
                network.forward(&Node::from(&Tensor::ones((1, 3, side, side), DType::F32, &device())?), &names(&[tap]))
            };
            assert!(at(side).is_ok(), "{kind} {tap} at {side}");
            assert!(side == 1 || at(side - 1).is_err(), "{kind} {tap} below {side}");
        }
    }
    assert_eq!(Network::AlexNet.smallest_side(&["relu1", "relu5", "relu2"]), 31);
    assert_eq!(Network::SqueezeNet.smallest_side(Network::SqueezeNet.taps()), 17);
    assert_eq!(Network::Vgg19.smallest_side(&["relu5_1"]), 16);
    assert_eq!(Network::StVgg16.smallest_side(&["relu5_3"]), 18);
    assert_eq!(Network::StAlexNet.smallest_side(&["relu5"]), 21);
    assert_eq!(Network::Vgg19.smallest_side::<&str>(&[]), 1);
    Ok(())
}

#[test]
fn an_unknown_map_is_an_error_that_lists_the_known() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let network = FeatureNetwork::random(Network::AlexNet, 1, DType::F32, &device())?;
    let image = Node::from(&Tensor::zeros((1, 3, 64, 64), DType::F32, &device())?);
    let error = network.forward(&image, &names(&["relu1", "relu6"])).err().expect("an error").to_string();
    assert_eq!(error, "alexnet has no feature map `relu6`; it has relu1, relu2, relu3, relu4, relu5");
    Ok(())
}

#[test]
fn random_features_follow_from_the_seed_and_keep_their_scale() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let image = Node::from(&noise_tensor("random", (1, 3, 64, 64))?);
    for kind in Network::ALL {
        let maps =
            |seed| FeatureNetwork::random(kind, seed, DType::F32, &device())?.forward(&image, &names(kind.taps()));
        let (first, again, other) = (maps(7)?, maps(7)?, maps(8)?);
        for (tap, map) in &first {
            let power = map.value().sqr()?.mean_all()?.to_scalar::<f32>()?;
            println!("{kind} {tap}: mean square {power}");
            assert!((0.1..1000.0).contains(&power), "{kind} {tap}: mean square {power}");
            let all = |maps: &BTreeMap<String, Node>| maps[tap].value().flatten_all()?.to_vec1::<f32>();
            assert_eq!(all(&first)?, all(&again)?);
            assert_ne!(all(&first)?, all(&other)?);
        }
    }
    Ok(())
}

/// What the descriptions say is read is what is asked for.
#[test]
fn descriptions_name_the_tensors_and_the_files() -> std::result::Result<(), Box<dyn std::error::Error>> {
    for kind in Network::ALL {
        let published = published(kind);
        let mut asked = BTreeMap::new();
        FeatureNetwork::from_fn(kind, DType::F32, &device(), |name, shape| {
            asked.insert(name.to_string(), shape.dims().to_vec());
            Ok(Tensor::zeros(shape, DType::F32, &device())?)
        })?;
        assert_eq!(published.tensors, asked, "{kind}");
        assert!(!published.files.is_empty() && !published.citation.is_empty() && !published.terms.is_empty(), "{kind}");
        for file in &published.files {
            assert_eq!(file.place, format!("weights/{}", file.name));
            let sha256 = file.sha256.as_ref().expect("a checksum");
            assert!(sha256.len() >= 8 && sha256.bytes().all(|b| b.is_ascii_hexdigit()), "{}", file.name);
            let in_name = file.name.strip_suffix(".pth").and_then(|stem| stem.rsplit_once('-'));
            assert!(in_name.is_none_or(|(_, digits)| sha256.starts_with(digits)), "{}", file.name);
            if let Some(hub) = &file.hub {
                assert_eq!(file.url, format!("https://huggingface.co/{}/resolve/main/{}", hub.repository, hub.file));
            }
        }
    }
    Ok(())
}
