//! SPADE block and colour decoder against the golden files.

use candle_core::{DType, Result, Tensor};
use colormamba_layers::{ColorDecoder, Params, SpadeBlock};
use colormamba_testkit::{Fixture, Tolerance, activations, assert_gradients, device};

/// Seen: 8e-7 at worst.
const TOLERANCE: f64 = 1e-5;
/// Of activations in bf16, whose numbers have 8 bits. Rounding moves some across 0, where the slope of a leaky ReLU jumps: with
/// 0.4 % of them moved, a gradient is off by 5 %.
const BF16: Tolerance = Tolerance { outputs: 1.5e-2, gradients: 1.5e-1 };

fn spade_block(name: &str, train: bool, (dtype, tolerance): (DType, Tolerance)) -> Result<Params> {
    let fixture = Fixture { activations: dtype, ..Fixture::load(name)? };
    let params = Params::new(0, DType::F32, &device());
    let block = SpadeBlock::new(&params.root(), 8, 8)?;
    params.fill(|name, shape| fixture.weight(name, shape))?;
    fixture.check_block(&params.trainable(), tolerance, |x| Ok(vec![block.forward(&x["x"], &x["seg"], train)?]))?;
    if train {
        fixture.check_after(&params.tensors(), TOLERANCE)?;
    }
    Ok(params)
}

#[test]
fn spade_block_in_training() -> Result<()> {
    let cases = activations(TOLERANCE, BF16)?;
    cases.into_iter().try_for_each(|case| spade_block("spade_block", true, case).map(drop))
}

#[test]
fn spade_block_in_evaluation_leaves_its_buffers_alone() -> Result<()> {
    let fixture = Fixture::load("spade_block_eval")?;
    for case in activations(TOLERANCE, BF16)? {
        let got = spade_block("spade_block_eval", false, case)?.tensors();
        for (name, want) in &fixture.under("state.") {
            assert_eq!(got[name].to_vec1::<f32>()?, want.to_vec1::<f32>()?, "{name}");
        }
    }
    Ok(())
}

#[test]
fn color_decoder() -> Result<()> {
    for (dtype, tolerance) in activations(TOLERANCE, BF16)? {
        let fixture = Fixture { activations: dtype, ..Fixture::load("color_decoder")? };
        let params = Params::new(0, DType::F32, &device());
        let decoder = ColorDecoder::new(&params.root(), 16, 8)?;
        params.fill(|name, shape| fixture.weight(name, shape))?;
        fixture.check_block(&params.trainable(), tolerance, |x| {
            Ok(vec![decoder.forward(vec![x["x"].clone()], &x["hsv"], true)?])
        })?;
        fixture.check_after(&params.tensors(), TOLERANCE)?;
    }
    Ok(())
}

#[test]
fn spade_block_gradients_of_the_inputs() -> Result<()> {
    let params = Params::new(1, DType::F64, &device());
    let block = SpadeBlock::new(&params.root(), 3, 2)?;
    let x = colormamba_testkit::noise_tensor("x", (2, 3, 5, 7))?;
    let seg = colormamba_testkit::noise_tensor("seg", (2, 2, 3, 4))?;
    assert_gradients("spade block", &[x, seg], 1e-6, |a: &[Tensor]| block.forward(&a[0], &a[1], false))
}
