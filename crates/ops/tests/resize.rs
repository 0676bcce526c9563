//! Resizing against the formulas written out, and against finite differences.

use candle_core::{DType, Result, Tensor};
use colormamba_ops::{Node, resize_bilinear2d, resize_nearest2d, upsample_bilinear2d};
use colormamba_testkit::{assert_close, assert_gradients, device, noise_tensor};

const EXACT: f64 = 1e-14;
const SINGLE: f64 = 1e-7;

/// `(2, 3, h, w)`, stored with height and width swapped: not contiguous.
fn image(name: &str, h: usize, w: usize) -> Result<Tensor> {
    noise_tensor(name, (2, 3, w, h))?.to_dtype(DType::F64)?.transpose(2, 3)
}

/// Every output pixel from `pixel(plane, i, j)`.
fn expected(h: usize, w: usize, pixel: impl Fn(usize, usize, usize) -> f64) -> Result<Tensor> {
    let values: Vec<f64> = (0..6 * h * w).map(|n| pixel(n / (h * w), n / w % h, n % w)).collect();
    Tensor::from_vec(values, (2, 3, h, w), &device())
}

#[test]
fn bilinear_interpolates_between_aligned_corners() -> Result<()> {
    for (h, w, factor) in [(5, 3, 2), (3, 4, 4), (2, 3, 8), (4, 5, 1), (1, 3, 2)] {
        let x = image("bilinear", h, w)?;
        let v = x.flatten_all()?.to_vec1::<f64>()?;
        let position = |i: usize, inputs: usize| {
            let outputs = inputs * factor;
            if outputs == 1 { 0.0 } else { i as f64 * (inputs - 1) as f64 / (outputs - 1) as f64 }
        };
        let want = expected(h * factor, w * factor, |plane, i, j| {
            // The tent around every input pixel.
            let weight = |p: f64, q: usize| (1.0 - (p - q as f64).abs()).max(0.0);
            let (y, x) = (position(i, h), position(j, w));
            (0..h * w).map(|n| weight(y, n / w) * weight(x, n % w) * v[plane * h * w + n]).sum()
        })?;
        assert_close("bilinear", &upsample_bilinear2d(&x, factor)?, &want, EXACT)?;
        assert_close("bilinear", &upsample_bilinear2d(&x.to_dtype(DType::F32)?, factor)?, &want, SINGLE)?;
        assert_gradients("bilinear", &[x], 1e-8, |x| upsample_bilinear2d(&x[0], factor))?;
    }
    Ok(())
}

/// `F.interpolate(torch.tensor([[[[0., 1., 4.]]]]), scale_factor=2, mode="bilinear", align_corners=True)`
#[test]
fn bilinear_agrees_with_pytorch() -> Result<()> {
    let got = upsample_bilinear2d(&Tensor::new(&[[[[0f32, 1.0, 4.0]]]], &device())?, 2)?;
    let row = [0f32, 0.4, 0.8, 1.6, 2.8, 4.0];
    assert_close("bilinear", &got, &Tensor::new(&[[[row, row]]], &device())?, SINGLE)
}

#[test]
fn bilinear_interpolates_between_centres() -> Result<()> {
    let sizes = [
        ((5, 3), (10, 6)),
        ((3, 4), (3, 4)),
        ((7, 6), (3, 4)),
        ((4, 5), (9, 1)),
        ((1, 2), (4, 7)),
        ((8, 40), (16, 80)),
    ];
    for ((h, w), (to_h, to_w)) in sizes {
        let x = image("centres", h, w)?;
        let v = x.flatten_all()?.to_vec1::<f64>()?;
        let position = |i: usize, inputs: usize, outputs: usize| {
            ((i as f64 + 0.5) * inputs as f64 / outputs as f64 - 0.5).clamp(0.0, (inputs - 1) as f64)
        };
        let want = expected(to_h, to_w, |plane, i, j| {
            let weight = |p: f64, q: usize| (1.0 - (p - q as f64).abs()).max(0.0);
            let (y, x) = (position(i, h, to_h), position(j, w, to_w));
            (0..h * w).map(|n| weight(y, n / w) * weight(x, n % w) * v[plane * h * w + n]).sum()
        })?;
        assert_close("centres", &resize_bilinear2d(&x, to_h, to_w)?, &want, EXACT)?;
        assert_close("centres", &resize_bilinear2d(&x.to_dtype(DType::F32)?, to_h, to_w)?, &want, SINGLE)?;
        assert_gradients("centres", &[x], 1e-8, |x| resize_bilinear2d(&x[0], to_h, to_w))?;
    }
    Ok(())
}

/// `F.interpolate(torch.tensor([[[[0., 1, 4], [2, -1, 3]]]]), size=size, mode="bilinear")`
#[test]
fn bilinear_between_centres_agrees_with_pytorch() -> Result<()> {
    let x = Tensor::new(&[[[[0f32, 1.0, 4.0], [2.0, -1.0, 3.0]]]], &device())?;
    let cases: [((usize, usize), &[f64]); 4] = [
        (
            (4, 6),
            &[
                0.0, 0.25, 0.75, 1.75, 3.25, 4.0, 0.5, 0.5, 0.5, 1.3125, 2.9375, 3.75, 1.5, 1.0, 0.0, 0.4375, 2.3125,
                3.25, 2.0, 1.25, -0.25, 0.0, 2.0, 3.0,
            ],
        ),
        ((3, 5), &[0.0, 0.4, 1.0, 2.8, 4.0, 1.0, 0.6, 0.0, 2.1, 3.5, 2.0, 0.8, -1.0, 1.4, 3.0]),
        ((1, 2), &[0.75, 2.625]),
        ((2, 3), &[0.0, 1.0, 4.0, 2.0, -1.0, 3.0]),
    ];
    for ((h, w), want) in cases {
        assert_close(
            "centres",
            &resize_bilinear2d(&x, h, w)?,
            &Tensor::new(want, &device())?.reshape((1, 1, h, w))?,
            2e-7,
        )?;
    }
    Ok(())
}

#[test]
fn nearest_copies_the_floor() -> Result<()> {
    let (h, w) = (5, 7);
    let x = image("nearest", h, w)?;
    let v = x.flatten_all()?.to_vec1::<f64>()?;
    for (to_h, to_w) in [(10, 14), (3, 2), (7, 7), (1, 20), (5, 7)] {
        let want = expected(to_h, to_w, |plane, i, j| v[(plane * h + i * h / to_h) * w + j * w / to_w])?;
        assert_close("nearest", &resize_nearest2d(&x, to_h, to_w)?, &want, 0.0)?;
        assert_close("nearest", &resize_nearest2d(&x.to_dtype(DType::F32)?, to_h, to_w)?, &want, 0.0)?;
        assert_gradients("nearest", std::slice::from_ref(&x), 1e-8, |x| resize_nearest2d(&x[0], to_h, to_w))?;
    }
    Ok(())
}

fn is_op_error(op: &str, result: Result<Node>) -> bool {
    // Candle boxes an `OpError` so that only its message can be seen; it begins with the operation.
    result.is_err_and(|e| e.to_string().starts_with(&format!("{op}: ")))
}

#[test]
fn wrong_arguments_are_op_errors() -> Result<()> {
    let x = image("wrong", 4, 4)?;
    assert!(is_op_error("upsample_bilinear2d", upsample_bilinear2d(&x, 0)));
    assert!(is_op_error("upsample_bilinear2d", upsample_bilinear2d(&x.flatten(0, 1)?, 2)));
    assert!(is_op_error("upsample_bilinear2d", upsample_bilinear2d(&x.to_dtype(DType::U8)?, 2)));
    assert!(is_op_error("resize_nearest2d", resize_nearest2d(&x, 0, 3)));
    assert!(is_op_error("resize_bilinear2d", resize_bilinear2d(&x, 0, 3)));
    assert!(is_op_error("resize_bilinear2d", resize_bilinear2d(&x.flatten(0, 1)?, 3, 3)));
    assert!(is_op_error("resize_nearest2d", resize_nearest2d(&x, 3, 0)));
    assert!(is_op_error("resize_nearest2d", resize_nearest2d(&x.narrow(2, 0, 0)?, 3, 3)));
    Ok(())
}
