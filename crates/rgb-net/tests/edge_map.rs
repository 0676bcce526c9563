//! The edge map against the golden file and its definition.

use candle_core::{DType, Result, Tensor};
use colormamba_rgb_net::EdgeMap;
use colormamba_testkit::{Fixture, assert_close, device};

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

/// Values along an axis `step` apart, reflect-101: `x[i - 1] - 2 x[i] + x[i + 1]`.
fn second_difference(x: &[f32], i: usize, length: usize, step: usize) -> f32 {
    let (place, start) = (i / step % length, i - i / step % length * step);
    let at = |place: isize| {
        let last = length as isize - 1;
        let reflected = if place > last { 2 * last - place } else { place.abs() };
        x[start + reflected.clamp(0, last) as usize * step]
    };
    at(place as isize - 1) - 2.0 * at(place as isize) + at(place as isize + 1)
}

/// The map of `gray` `(b, 1, h, w)`, from the values in f32.
fn definition(form: EdgeMap, gray: &[f32], [b, h, w]: [usize; 3]) -> Vec<f32> {
    let levels: Vec<f32> = gray.iter().map(|v| (v * 255.0).floor()).collect();
    let edge = |i: usize| {
        let vertical = second_difference(&levels, i, h, w);
        match form {
            EdgeMap::Legacy => second_difference(&levels, i, b, h * w) + vertical,
            EdgeMap::Spatial => vertical + second_difference(&levels, i, w, 1),
        }
    };
    let edges: Vec<f32> = (0..levels.len()).map(edge).collect();
    let group = if form == EdgeMap::Legacy { b * h * w } else { h * w };
    let stretch = |edges: &[f32]| {
        let (low, high) =
            (edges.iter().copied().fold(f32::MAX, f32::min), edges.iter().copied().fold(f32::MIN, f32::max));
        edges.iter().map(|edge| if high > low { (edge - low) / (high - low) } else { 0.0 }).collect::<Vec<_>>()
    };
    edges.chunks(group).flat_map(stretch).collect()
}

#[test]
fn every_size_and_type_gives_the_bits_of_the_definition() -> Result<()> {
    for [b, h, w] in [[1, 1, 1], [1, 1, 7], [2, 5, 1], [3, 2, 2], [3, 7, 10], [2, 65, 33], [1, 160, 230]] {
        for dtype in [DType::F32, DType::F64, DType::BF16] {
            let gray = colormamba_testkit::unit_image("gray", (b, 1, h, w))?.to_device(&device())?;
            // Values of f64 that are none of f32.
            let gray = (gray.to_dtype(dtype)? * 0.999)?;
            let values = gray.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            for form in EdgeMap::ALL {
                let want = Tensor::from_vec(definition(form, &values, [b, h, w]), gray.shape(), &device())?;
                let want = want.to_dtype(dtype)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
                let got = form.compute(&gray)?;
                assert_eq!((got.dtype(), got.shape()), (dtype, gray.shape()));
                let got = got.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
                assert_eq!(got, want, "{form} {dtype:?} {b}x{h}x{w}");
            }
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
