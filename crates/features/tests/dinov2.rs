//! DINOv2 against PyTorch, its description, and what cannot be loaded.

use candle_core::{DType, Device, IndexOp, Module, Shape, Tensor, safetensors};
use candle_nn::VarBuilder;
use candle_transformers::models::dinov2::DinoVisionTransformer;
use colormamba_features::{Dinov2, Dinov2Config, FeatureError, SetMetric, fetchable};
use colormamba_testkit::{device, fixtures_dir, formula, noise_tensor, relative_l2};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Patches, positions and image are those of ViT-L/14.
const SMALL: Dinov2Config = Dinov2Config { width: 32, depth: 3, heads: 2, ..Dinov2Config::VIT_L14 };

/// The weights of `benches/peers/dinov2_reference.py`.
fn weight(name: &str, shape: &Shape) -> Result<Tensor, FeatureError> {
    Ok(match name.rsplit('.').next() {
        Some("cls_token" | "position_embeddings") => noise_tensor(name, shape.clone())?,
        Some("lambda1") => {
            (((noise_tensor(name, shape.clone())?.to_dtype(DType::F64)? * 0.1)? + 1.0)?).to_dtype(DType::F32)?
        }
        _ => formula(name, shape.clone())?,
    })
}

fn small(config: Dinov2Config) -> Result<Dinov2, FeatureError> {
    Dinov2::from_fn(config, &device(), weight)
}

/// Two images in [0, 1].
fn images() -> candle_core::Result<Tensor> {
    (noise_tensor("dinov2.image", (2, 3, 224, 224))? + 1.0)? / 2.0
}

fn reference(key: &str) -> Result<Tensor, Box<dyn std::error::Error>> {
    let reference: Value = serde_json::from_slice(&std::fs::read(fixtures_dir().join("dinov2_reference.json"))?)?;
    let rows: Vec<Vec<f64>> = serde_json::from_value(reference["features"][key].clone())?;
    Ok(Tensor::new(rows, &device())?)
}

#[test]
fn features_are_pytorchs_with_either_resizing_of_the_positions() -> Outcome {
    for (offset, key, other) in [(0.0, "transformers", "hub"), (0.1, "hub", "transformers")] {
        let got = small(Dinov2Config { offset, ..SMALL })?.features(&images()?)?;
        let (error, apart) = (relative_l2(&got, &reference(key)?)?, relative_l2(&got, &reference(other)?)?);
        println!("{key}: {error:.1e} from it, {apart:.1e} from {other}");
        assert!(error < 1e-5, "{key}: {error:e}");
        assert!(apart > 1e-3, "{key} is no other than {other}: {apart:e}");
    }
    Ok(())
}

/// Why `vit` stands below and not candle-transformers' network of that name: on an image of the size of its training,
/// where no positions are resized, its approximate GELU and its layer norm's epsilon leave it a ten-thousandth away;
/// below that size it takes the nearest positions, and is a tenth away.
#[test]
fn candles_own_dinov2_is_another_network() -> Outcome {
    let image = |side: usize| (noise_tensor("dinov2.own", (1, 3, side, side))? + 1.0)? / 2.0;
    for (side, least) in [(518, 1e-5), (224, 1e-2)] {
        let config = Dinov2Config { side, offset: 0.0, ..SMALL };
        let mut theirs = HashMap::new();
        let ours = Dinov2::from_fn(config, &device(), |name, shape| {
            let value = weight(name, shape)?;
            theirs.insert(name.to_string(), value.clone());
            Ok(value)
        })?;
        let image = image(side)?;
        let want = ours.features(&image)?;
        let network = DinoVisionTransformer::new(candles(theirs)?, config.depth, config.width, config.heads)?;
        let channels = |v: [f32; 3]| Tensor::new(&v, &device())?.reshape((1, 3, 1, 1));
        let normal = image.broadcast_sub(&channels([0.485, 0.456, 0.406])?)?;
        let normal = normal.broadcast_div(&channels([0.229, 0.224, 0.225])?)?;
        let got = network.forward(&normal)?.i((.., ..32))?;
        let apart = relative_l2(&got, &want)?;
        println!("candle-transformers' dinov2 at {side}: {apart:.1e} from PyTorch's");
        assert!((least..2.0).contains(&apart), "{side}: {apart:e}");
    }
    Ok(())
}

/// The weights under the names of the authors' file, with a head that lets the class token through.
fn candles(mut tensors: HashMap<String, Tensor>) -> candle_core::Result<VarBuilder<'static>> {
    let mut take = |name: &str| tensors.remove(name).ok_or_else(|| candle_core::Error::Msg(format!("no {name}")));
    let mut named = HashMap::new();
    for (theirs, ours) in [
        ("cls_token", "embeddings.cls_token"),
        ("pos_embed", "embeddings.position_embeddings"),
        ("patch_embed.proj.weight", "embeddings.patch_embeddings.projection.weight"),
        ("patch_embed.proj.bias", "embeddings.patch_embeddings.projection.bias"),
        ("norm.weight", "layernorm.weight"),
        ("norm.bias", "layernorm.bias"),
    ] {
        named.insert(theirs.to_string(), take(ours)?);
    }
    for layer in 0..SMALL.depth {
        let mut part = |name: &str| take(&format!("encoder.layer.{layer}.{name}"));
        for end in ["weight", "bias"] {
            let heads = ["query", "key", "value"].map(|name| part(&format!("attention.attention.{name}.{end}")));
            let [query, key, value] = heads;
            named.insert(format!("blocks.{layer}.attn.qkv.{end}"), Tensor::cat(&[query?, key?, value?], 0)?);
            for (theirs, ours) in [
                ("attn.proj", "attention.output.dense"),
                ("mlp.fc1", "mlp.fc1"),
                ("mlp.fc2", "mlp.fc2"),
                ("norm1", "norm1"),
                ("norm2", "norm2"),
            ] {
                named.insert(format!("blocks.{layer}.{theirs}.{end}"), part(&format!("{ours}.{end}"))?);
            }
        }
        for scale in ["1", "2"] {
            named.insert(format!("blocks.{layer}.ls{scale}.gamma"), part(&format!("layer_scale{scale}.lambda1"))?);
        }
    }
    let head = Tensor::eye(32, DType::F32, &Device::Cpu)?;
    named.insert("head.weight".into(), head.pad_with_zeros(0, 0, 968)?.pad_with_zeros(1, 0, 32)?);
    named.insert("head.bias".into(), Tensor::zeros(1000, DType::F32, &Device::Cpu)?);
    Ok(VarBuilder::from_tensors(named, DType::F32, &Device::Cpu))
}

#[test]
fn an_image_has_the_same_features_beside_others_and_alone() -> Outcome {
    let (network, images) = (small(SMALL)?, images()?);
    let both = network.features(&images)?;
    for i in 0..2 {
        let alone = network.features(&images.narrow(0, i, 1)?)?;
        assert!(relative_l2(&alone, &both.narrow(0, i, 1)?)? < 1e-6);
    }
    for shape in [[1, 3, 224, 223], [1, 1, 224, 224], [1, 3, 238, 238]] {
        let error = network.features(&Tensor::zeros(&shape, DType::F32, &device())?).expect_err("an error");
        assert!(error.to_string().contains("(B, 3, 224, 224)"), "{error}");
    }
    Ok(())
}

#[test]
fn random_features_follow_from_the_seed_and_tell_images_apart() -> Outcome {
    let of = |seed| Dinov2::random(SMALL, seed, &device())?.features(&images()?);
    let (first, again, other) = (of(7)?, of(7)?, of(8)?);
    assert_eq!(first.to_vec2::<f32>()?, again.to_vec2::<f32>()?);
    assert!(relative_l2(&other, &first)? > 0.1);
    assert!(relative_l2(&first.narrow(0, 0, 1)?, &first.narrow(0, 1, 1)?)? > 1e-3);
    Ok(())
}

#[test]
fn the_description_names_the_tensors() -> Outcome {
    let (_, published) = fetchable().find(|(name, _)| *name == "dinov2-vitl14").ok_or("none")?;
    // One layer of the full width: 24 of them would be made to be thrown away.
    let mut asked = BTreeMap::new();
    Dinov2::from_fn(Dinov2Config { depth: 1, ..Dinov2Config::VIT_L14 }, &device(), |name, shape| {
        asked.insert(name.replace("layer.0.", "layer.*."), shape.dims().to_vec());
        Ok(Tensor::zeros(shape, DType::F32, &device())?)
    })?;
    assert_eq!(published.tensors, asked);
    let [file] = &published.files[..] else { return Err("one file".into()) };
    assert_eq!(
        (file.name.as_str(), file.place.as_str()),
        ("dinov2-vitl14.safetensors", "weights/dinov2-vitl14.safetensors")
    );
    let hub = file.hub.as_ref().ok_or("no hub")?;
    assert_eq!(file.url, format!("https://huggingface.co/{}/resolve/main/{}", hub.repository, hub.file));
    assert!(file.sha256.is_none() && !published.terms.is_empty() && !published.citation.is_empty());
    Ok(())
}

#[test]
fn a_file_gives_the_weights_it_holds_and_says_what_is_wrong_with_it() -> Outcome {
    let folder = tempfile::tempdir()?;
    let missing = Dinov2::pretrained(folder.path(), &device()).err().ok_or("no error")?.to_string();
    for part in ["weights fetch dinov2-vitl14", "facebook/dinov2-large", "weights/dinov2-vitl14.toml"] {
        assert!(missing.contains(part), "`{part}` is not in: {missing}");
    }
    assert!(!missing.contains("random"), "{missing}");
    let path = folder.path().join("mine.safetensors");
    let mut tensors = HashMap::new();
    Dinov2::from_fn(SMALL, &device(), |name, shape| {
        tensors.insert(name.to_string(), weight(name, shape)?);
        weight(name, shape)
    })?;
    safetensors::save(&tensors, &path)?;
    let load = |config| Dinov2::load(config, &path, &device());
    let images = images()?.narrow(0, 0, 1)?;
    let (got, want) = (load(SMALL)?.features(&images)?, small(SMALL)?.features(&images)?);
    assert_eq!(got.to_vec2::<f32>()?, want.to_vec2::<f32>()?);
    let error = load(Dinov2Config { width: 64, ..SMALL }).err().ok_or("no error")?.to_string();
    assert!(error.contains("[1, 1, 64]") && error.contains("mine.safetensors"), "{error}");
    let error = load(Dinov2Config { depth: 4, ..SMALL }).err().ok_or("no error")?.to_string();
    assert!(error.contains("no tensor `encoder.layer.3."), "{error}");
    std::fs::write(&path, "no weights")?;
    assert!(load(SMALL).err().ok_or("no error")?.to_string().contains("cannot be read"));
    Ok(())
}

#[test]
fn measures_of_sets_have_names_of_their_own() {
    for metric in SetMetric::ALL {
        let definition = metric.definition();
        assert_eq!((definition.spec.parse(), definition.name.parse()), (Ok(metric), Ok(metric)));
        assert!(definition.spec.ends_with(']'));
    }
    assert_eq!("fd_dinov2".parse(), Ok(SetMetric::FrechetDinov2));
    assert!("fd_dino".parse::<SetMetric>().is_err_and(|error| error.to_string().contains("`fd_dinov2`?")));
}
