//! Criss-cross attention and the edge map against the golden files.

use candle_core::{DType, Result, Tensor};
use colormamba_layers::Params;
use colormamba_ops::Node;
use colormamba_rgb_net::{CrissCross, EdgeMap, RgbNet};
use colormamba_testkit::{Fixture, activations, assert_close, device};

/// Seen: 2e-6 at worst.
const TOLERANCE: f64 = 1e-5;
/// Of activations in bf16, whose numbers have 8 bits.
const BF16_TOLERANCE: f64 = 1.5e-2;

fn criss_cross(name: &str, train: bool, (dtype, tolerance): (DType, f64)) -> Result<(Fixture, Params)> {
    let fixture = Fixture { activations: dtype, ..Fixture::load(name)? };
    let params = Params::new(0, DType::F32, &device());
    let block = CrissCross::new(&params.root(), 16)?;
    params.fill(|name, shape| fixture.weight(name, shape))?;
    fixture.check_block(&params.trainable(), tolerance, |x| Ok(vec![block.forward(&x["x"], &x["y"], train)?]))?;
    Ok((fixture, params))
}

#[test]
fn criss_cross_in_training() -> Result<()> {
    for (dtype, tolerance) in activations(TOLERANCE, BF16_TOLERANCE)? {
        let (fixture, params) = criss_cross("criss_cross", true, (dtype, tolerance))?;
        fixture.check_after(&params.tensors(), tolerance)?;
        let batches = params.tensors()["query_conv.2.num_batches_tracked"].to_scalar::<i64>()?;
        assert_eq!(batches, 1);
    }
    Ok(())
}

#[test]
fn criss_cross_in_evaluation() -> Result<()> {
    let cases = activations(TOLERANCE, BF16_TOLERANCE)?;
    cases.into_iter().try_for_each(|case| criss_cross("criss_cross_eval", false, case).map(drop))
}

fn edge_map_input() -> Result<(Fixture, Tensor)> {
    let fixture = Fixture::load("edge_map")?;
    let gray = (fixture.get("in.nir_u8")?.to_dtype(DType::F32)?.unsqueeze(1)? / 255.0)?;
    Ok((fixture, gray))
}

#[test]
fn edge_map_in_both_forms() -> Result<()> {
    let (fixture, gray) = edge_map_input()?;
    let cases = [
        ("legacy.batch1", EdgeMap::Legacy.compute(&gray.narrow(0, 0, 1)?)?),
        ("legacy.batch3", EdgeMap::Legacy.compute(&gray)?),
        ("spatial", EdgeMap::Spatial.compute(&gray)?),
    ];
    for (key, got) in cases {
        assert_close(key, &got.squeeze(1)?, fixture.get(key)?, 1e-7)?;
    }
    Ok(())
}

#[test]
fn a_flat_image_has_no_edges() -> Result<()> {
    let flat = Tensor::full(0.5f32, (2, 1, 8, 6), &device())?;
    for form in [EdgeMap::Legacy, EdgeMap::Spatial] {
        assert_eq!(form.compute(&flat)?.sum_all()?.to_scalar::<f32>()?, 0.0);
    }
    Ok(())
}

#[test]
fn spatial_edges_of_a_batch_are_those_of_its_images() -> Result<()> {
    let (_, gray) = edge_map_input()?;
    let batch = EdgeMap::Spatial.compute(&gray)?;
    for i in 0..3 {
        let single = EdgeMap::Spatial.compute(&gray.narrow(0, i, 1)?)?;
        assert_eq!(batch.narrow(0, i, 1)?.flatten_all()?.to_vec1::<f32>()?, single.flatten_all()?.to_vec1::<f32>()?);
    }
    Ok(())
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

#[test]
fn an_edge_map_is_read_back_from_its_name() {
    for map in EdgeMap::ALL {
        assert_eq!(map.to_string().parse::<EdgeMap>(), Ok(map));
    }
    let error = "Legacy".parse::<EdgeMap>().unwrap_err();
    assert_eq!(error.to_string(), "unknown edge map `Legacy`, expected one of: spatial, legacy");
}
