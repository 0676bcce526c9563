//! Padding and cropping against index formulas, and against finite differences.

use candle_core::{DType, Result, Tensor};
use colormamba_ops::{Node, crop_ring, pad2d, reflect_pad2d, replicate_pad2d, zero_ring};
use colormamba_testkit::{assert_close, assert_gradients, device, noise_tensor};

const H: usize = 5;
const W: usize = 4;

/// `(2, 3, H, W)`, stored with height and width swapped: not contiguous.
fn image(name: &str) -> Result<Tensor> {
    noise_tensor(name, (2, 3, W, H))?.to_dtype(DType::F64)?.transpose(2, 3)
}

/// Pads by `p` with the pixels that `source(position, length)` names, and checks both precisions and the gradient.
fn check(name: &str, p: usize, f: fn(&Tensor, usize) -> Result<Node>, source: fn(i64, i64) -> i64) -> Result<()> {
    let x = image(name)?;
    let v = x.flatten_all()?.to_vec1::<f64>()?;
    let (h, w) = (H + 2 * p, W + 2 * p);
    let pixel = |n: usize| {
        let index = |i: usize, length: usize| source(i as i64 - p as i64, length as i64) as usize;
        v[(n / (h * w) * H + index(n / w % h, H)) * W + index(n % w, W)]
    };
    let want = Tensor::from_vec((0..6 * h * w).map(pixel).collect::<Vec<_>>(), (2, 3, h, w), &device())?;
    assert_close(name, &f(&x, p)?, &want, 0.0)?;
    assert_close(name, &f(&x.to_dtype(DType::F32)?, p)?, &want, 0.0)?;
    assert_gradients(name, &[x], 1e-8, |x| f(&x[0], p))
}

#[test]
fn replicate_repeats_the_border() -> Result<()> {
    for p in [0, 1, 3, 6] {
        check("replicate", p, |x, p| replicate_pad2d(x, p), |i, n| i.clamp(0, n - 1))?;
    }
    Ok(())
}

#[test]
fn reflect_mirrors_about_the_border_pixel() -> Result<()> {
    for p in [0, 1, 3] {
        check("reflect", p, |x, p| reflect_pad2d(x, p), |i, n| if i < 0 { -i } else { i.min(2 * (n - 1) - i) })?;
    }
    Ok(())
}

#[test]
fn zeros_on_each_side() -> Result<()> {
    let x = image("zeros")?;
    for [top, bottom, left, right] in [[0; 4], [0, 1, 0, 1], [1, 1, 0, 1], [2, 0, 5, 3]] {
        let want = x.pad_with_zeros(2, top, bottom)?.pad_with_zeros(3, left, right)?;
        let sides = [top, bottom, left, right];
        assert_close("pad2d", &pad2d(&x, sides)?, &want, 0.0)?;
        assert_close("pad2d", &pad2d(&x.to_dtype(DType::F32)?, sides)?, &want, 0.0)?;
        assert_gradients("pad2d", std::slice::from_ref(&x), 1e-8, |x| pad2d(&x[0], sides))?;
    }
    Ok(())
}

#[test]
fn ring_of_zeros() -> Result<()> {
    let x = image("ring")?.permute((0, 2, 3, 1))?;
    let want = x.pad_with_zeros(1, 1, 1)?.pad_with_zeros(2, 1, 1)?;
    assert_close("zero_ring", &zero_ring(&x)?, &want, 0.0)?;
    assert_close("crop_ring", &crop_ring(&want)?, &x, 0.0)?;
    assert_close("zero_ring", &zero_ring(&x.to_dtype(DType::F32)?)?, &want, 0.0)?;
    assert_gradients("zero_ring", std::slice::from_ref(&x), 1e-8, |x| zero_ring(&x[0]))?;
    assert_gradients("crop_ring", &[x], 1e-8, |x| crop_ring(&x[0]))
}

fn is_op_error(op: &str, result: Result<Node>) -> bool {
    // Candle boxes an `OpError` so that only its message can be seen; it begins with the operation.
    result.is_err_and(|e| e.to_string().starts_with(&format!("{op}: ")))
}

#[test]
fn wrong_arguments_are_op_errors() -> Result<()> {
    let x = image("wrong")?;
    assert!(is_op_error("reflect_pad2d", reflect_pad2d(&x, W)));
    assert!(is_op_error("reflect_pad2d", reflect_pad2d(&x.flatten(0, 1)?, 1)));
    assert!(is_op_error("replicate_pad2d", replicate_pad2d(&x.flatten(0, 1)?, 1)));
    assert!(is_op_error("replicate_pad2d", replicate_pad2d(&x.narrow(3, 0, 0)?, 1)));
    assert!(is_op_error("pad2d", pad2d(&x.flatten(0, 1)?, [1; 4])));
    assert!(is_op_error("pad2d", pad2d(&x.narrow(2, 0, 0)?, [1; 4])));
    assert!(is_op_error("zero_ring", zero_ring(&x.flatten(0, 1)?)));
    assert!(is_op_error("zero_ring", zero_ring(&x.to_dtype(DType::U8)?)));
    assert!(is_op_error("crop_ring", crop_ring(&x.narrow(1, 0, 2)?)));
    Ok(())
}
