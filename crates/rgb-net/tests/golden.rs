//! Criss-cross attention against the golden files, and the network's shapes.

use candle_core::{DType, Result};
use colormamba_layers::Params;
use colormamba_ops::Node;
use colormamba_rgb_net::{CrissCross, EdgeMap, RgbNet};
use colormamba_testkit::{Fixture, Tolerance, activations, device};

/// Seen: 2e-6 at worst.
const TOLERANCE: f64 = 1e-5;
/// Of activations in bf16, whose numbers have 8 bits. Rounding moves some across 0, where the slope of a leaky ReLU jumps: with
/// 0.4 % of them moved, a gradient is off by 5 %.
const BF16: Tolerance = Tolerance { outputs: 1.5e-2, gradients: 1.5e-1 };

fn criss_cross(name: &str, train: bool, (dtype, tolerance): (DType, Tolerance)) -> Result<(Fixture, Params)> {
    let fixture = Fixture { activations: dtype, ..Fixture::load(name)? };
    let params = Params::new(0, DType::F32, &device());
    let block = CrissCross::new(&params.root(), 16)?;
    params.fill(|name, shape| fixture.weight(name, shape))?;
    fixture.check_block(&params.trainable(), tolerance, |x| Ok(vec![block.forward(&x["x"], &x["y"], train)?]))?;
    Ok((fixture, params))
}

#[test]
fn criss_cross_in_training() -> Result<()> {
    for (dtype, tolerance) in activations(TOLERANCE, BF16)? {
        let (fixture, params) = criss_cross("criss_cross", true, (dtype, tolerance))?;
        fixture.check_after(&params.tensors(), tolerance.outputs)?;
        let batches = params.tensors()["query_conv.2.num_batches_tracked"].to_scalar::<i64>()?;
        assert_eq!(batches, 1);
    }
    Ok(())
}

#[test]
fn criss_cross_in_evaluation() -> Result<()> {
    let cases = activations(TOLERANCE, BF16)?;
    cases.into_iter().try_for_each(|case| criss_cross("criss_cross_eval", false, case).map(drop))
}

#[test]
fn every_depth_gives_an_image_of_the_input_size() -> Result<()> {
    for depth in [6, 7, 8] {
        let side = 1 << depth;
        let params = Params::new(0, DType::F32, &device());
        let net = RgbNet::new(&params.root().frozen(), 8, depth, EdgeMap::Spatial)?;
        let image = |name: &str, c: usize, s: usize| colormamba_testkit::unit_image(name, (1, c, s, s));
        let features = [
            image("f1", 8, side / 2)?,
            image("f2", 16, side / 4)?,
            image("f3", 32, side / 8)?,
            image("f4", 64, side / 16)?,
        ];
        let rgb =
            net.forward(&image("gray", 1, side)?, &image("hsv", 3, side)?, features.each_ref().map(Node::from), false)?;
        assert_eq!(rgb.dims(), [1, 3, side, side]);
        let names = params.tensors();
        for k in [6, 7] {
            let there = names.keys().any(|n| n.starts_with(&format!("coder_{k}.")));
            assert_eq!(there, k < depth, "depth {depth}, coder_{k}");
        }
    }
    Ok(())
}
