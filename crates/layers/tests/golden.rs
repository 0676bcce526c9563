//! SPADE block and colour decoder against the golden files.

use candle_core::{DType, Result, Tensor};
use colormamba_layers::{ColorDecoder, Params, SpadeBlock};
use colormamba_testkit::{Fixture, assert_gradients, device};

/// Seen: 8e-7 at worst.
const TOLERANCE: f64 = 1e-5;

fn spade_block(name: &str, train: bool) -> Result<Params> {
    let fixture = Fixture::load(name)?;
    let params = Params::new(0, DType::F32, &device());
    let block = SpadeBlock::new(&params.root(), 8, 8)?;
    params.fill(|name, shape| fixture.weight(name, shape))?;
    fixture.check_block(&params.trainable(), TOLERANCE, |x| Ok(vec![block.forward(&x["x"], &x["seg"], train)?]))?;
    if train {
        fixture.check_after(&params.tensors(), TOLERANCE)?;
    }
    Ok(params)
}

#[test]
fn spade_block_in_training() -> Result<()> {
    spade_block("spade_block", true).map(drop)
}

#[test]
fn spade_block_in_evaluation_leaves_its_buffers_alone() -> Result<()> {
    let fixture = Fixture::load("spade_block_eval")?;
    let params = spade_block("spade_block_eval", false)?;
    let want = fixture.under("state.");
    let got = params.tensors();
    for (name, want) in &want {
        assert_eq!(got[name].to_vec1::<f32>()?, want.to_vec1::<f32>()?, "{name}");
    }
    Ok(())
}

#[test]
fn color_decoder() -> Result<()> {
    let fixture = Fixture::load("color_decoder")?;
    let params = Params::new(0, DType::F32, &device());
    let decoder = ColorDecoder::new(&params.root(), 16, 8)?;
    params.fill(|name, shape| fixture.weight(name, shape))?;
    let forward = |x: &colormamba_testkit::Map| Ok(vec![decoder.forward(vec![(&x["x"]).into()], &x["hsv"], true)?]);
    fixture.check_block(&params.trainable(), TOLERANCE, forward)?;
    fixture.check_after(&params.tensors(), TOLERANCE)
}

#[test]
fn spade_block_gradients_of_the_inputs() -> Result<()> {
    let params = Params::new(1, DType::F64, &device());
    let block = SpadeBlock::new(&params.root(), 3, 2)?;
    let x = colormamba_testkit::noise_tensor("x", (2, 3, 5, 7))?;
    let seg = colormamba_testkit::noise_tensor("seg", (2, 2, 3, 4))?;
    assert_gradients("spade block", &[x, seg], 1e-6, |a: &[Tensor]| block.forward(&a[0], &a[1], false))
}
