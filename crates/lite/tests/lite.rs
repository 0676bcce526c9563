//! The network against its PyTorch rendition (`benches/peers/lite_torch.py`), which computes in f64.

use candle_core::{DType, Result, Tensor};
use colormamba_layers::Params;
use colormamba_lite::{Dropping, Lite};
use colormamba_testkit::{Fixture, Map, assert_close, cotangent, device, noise_tensor, relative_l2_map};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;

const WIDTH: usize = 4;

/// Sides that no stride divides.
fn nir() -> Result<Tensor> {
    noise_tensor("lite.nir", (2, 1, 45, 70))?.affine(0.5, 0.5)
}

fn chance() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

fn filled(fixture: &Fixture) -> Result<Params> {
    let params = Params::new(0, DType::F32, &device());
    Lite::new(&params.root(), WIDTH)?;
    params.fill(|name, shape| fixture.weight(name, shape))?;
    Ok(params)
}

/// Seen: 5e-7.
#[test]
fn evaluation() -> Result<()> {
    let fixture = Fixture::load("lite")?;
    let net = Lite::new(&filled(&fixture)?.root().frozen(), WIDTH)?;
    assert_close("lite eval.rgb", &net.forward(&nir()?, None)?, fixture.get("eval.rgb")?, 1e-5)
}

/// Output, every parameter's gradient by its norm, and the statistics that move: those of the decoder alone.
#[test]
fn training() -> Result<()> {
    let fixture = Fixture::load("lite")?;
    let params = filled(&fixture)?;
    let before = params.tensors().into_iter().map(|(name, t)| Ok((name, t.copy()?))).collect::<Result<Map>>()?;
    let rgb = Lite::new(&params.root(), WIDTH)?.forward(&nir()?, Some(&mut chance()))?;
    assert_close("lite train.rgb", &rgb, fixture.get("train.rgb")?, 1e-5)?;
    let grad = cotangent("lite.cotangent.0", rgb.value())?;
    let grads = rgb.backward(&grad)?;
    let mut norms = Map::new();
    for (name, var) in params.trainable() {
        let grad = grads.get(&var).unwrap_or_else(|| panic!("{name} gets no gradient"));
        norms.insert(name, grad.to_dtype(DType::F64)?.sqr()?.sum_all()?.sqrt()?.reshape(1)?);
    }
    let wanted = fixture.under("gradnorm.param.");
    assert_eq!(norms.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    let errors = relative_l2_map(&norms, &wanted)?;
    let (name, worst) = errors.iter().max_by(|a, b| a.1.total_cmp(b.1)).expect("parameters");
    println!("worst gradient norm: {name}, {worst:.1e}");
    assert!(*worst < 1e-4, "{name}: {worst:.1e}");
    fixture.check_after(&moved(&before, &params)?, 1e-5)
}

/// The statistics of the decoder now; panics if one of the encoder moved.
fn moved(before: &Map, params: &Params) -> Result<Map> {
    let mut moved = Map::new();
    for (name, tensor) in params.tensors() {
        if name.starts_with("encoder.") {
            let change = (&tensor - &before[&name])?.abs()?.sum_all()?.to_scalar::<f32>()?;
            assert_eq!(change, 0.0, "{name} moved");
        } else if name.contains("running_") {
            moved.insert(name, tensor);
        }
    }
    Ok(moved)
}

/// Fresh weights give the NIR image in each colour, within the range that has a logit.
#[test]
fn starts_as_the_nir_image() -> Result<()> {
    let params = Params::new(3, DType::F32, &device());
    let net = Lite::new(&params.root(), WIDTH)?;
    for size in [(1, 1), (7, 33), (64, 64)] {
        let nir = noise_tensor("start", (1, 1, size.0, size.1))?.affine(0.4, 0.5)?;
        let rgb = net.forward(&nir, None)?;
        assert_close("start", &rgb, &nir.broadcast_as((1, 3, size.0, size.1))?.contiguous()?, 1e-5)?;
    }
    Ok(())
}

/// What is left out is chance, and the same for the same seed; over some passes every parameter learns.
#[test]
fn parts_are_left_out_in_training_alone() -> Result<()> {
    let fixture = Fixture::load("lite")?;
    let params = filled(&fixture)?;
    let plain = Lite::new(&params.root(), WIDTH)?;
    let apart = |a: &Tensor, b: &Tensor| (a - b)?.abs()?.max_all()?.to_scalar::<f32>();
    let nir = nir()?;
    for dropping in [Dropping { channels: 0.5, blocks: 0.0 }, Dropping { channels: 0.0, blocks: 0.5 }] {
        let net = Lite::new(&params.root(), WIDTH)?.with_dropping(dropping);
        let mut passes = chance();
        let (first, second) = (net.forward(&nir, Some(&mut passes))?, net.forward(&nir, Some(&mut passes))?);
        assert!(apart(first.value(), second.value())? > 1e-4, "{dropping:?}: passes differ");
        let again = net.forward(&nir, Some(&mut chance()))?;
        assert_eq!(apart(first.value(), again.value())?, 0.0, "{dropping:?}: by the seed alone");
        let (whole, evaluated) = (plain.forward(&nir, None)?, net.forward(&nir, None)?);
        assert_eq!(apart(whole.value(), evaluated.value())?, 0.0, "{dropping:?}: not in evaluation");
        let mut learned = BTreeSet::new();
        for _ in 0..8 {
            let rgb = net.forward(&nir, Some(&mut passes))?;
            let cotangent = cotangent("lite.cotangent.0", rgb.value())?;
            let gradients = rgb.backward(&cotangent)?;
            for (name, var) in params.trainable() {
                let gradient = gradients.get(&var).map(|gradient| gradient.abs()?.max_all()?.to_scalar::<f32>());
                if gradient.transpose()?.is_some_and(|largest| largest > 0.0) {
                    learned.insert(name);
                }
            }
        }
        let all: BTreeSet<String> = params.trainable().into_iter().map(|(name, _)| name).collect();
        assert_eq!(learned, all, "{dropping:?}");
    }
    Ok(())
}
