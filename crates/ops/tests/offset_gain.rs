//! The output of local offsets and gains against its formula in f64, finite differences and the ends of its range.

use candle_core::{DType, Result, Tensor, Var};
use colormamba_ops::{Node, offset_gain};
use colormamba_testkit::{assert_close, assert_gradients, device, gradients, noise_tensor, takes_bf16};

const EPS: f64 = 0.02;

/// A near-infrared image `(2, 1, 5, 7)` from -0.1 to 1.1, not contiguous, and coefficients `(2, 6, 5, 7)`, f64.
fn operands() -> Result<[Tensor; 2]> {
    let make = |name: &str, shape: &[usize]| noise_tensor(name, shape)?.to_dtype(DType::F64)?.transpose(2, 3);
    Ok([make("nir", &[2, 1, 7, 5])?.affine(0.6, 0.5)?, make("coefficients", &[2, 6, 7, 5])?.affine(2.0, 0.0)?])
}

fn expected(nir: &Tensor, coefficients: &Tensor) -> Result<Tensor> {
    let nir = nir.clamp(EPS, 1.0 - EPS)?;
    let logit = (&nir / nir.affine(-1.0, 1.0)?)?.log()?;
    let (offset, gain) = (coefficients.narrow(1, 0, 3)?, coefficients.narrow(1, 3, 3)?);
    (offset + gain.broadcast_mul(&logit)?)?.neg()?.exp()?.affine(1.0, 1.0)?.recip()
}

#[test]
fn equals_its_formula() -> Result<()> {
    let [nir, coefficients] = operands()?;
    let want = expected(&nir, &coefficients)?;
    assert_close("f64", &offset_gain(&nir, &coefficients, EPS)?, &want, 1e-15)?;
    let [nir, coefficients] = [nir, coefficients].map(|t| t.to_dtype(DType::F32).unwrap());
    let got = offset_gain(&nir, &coefficients, EPS)?;
    assert!(got.value().is_contiguous() && got.dtype() == DType::F32);
    assert_close("f32", &got, &want, 2e-7)
}

#[test]
fn offset_0_and_gain_1_give_the_image() -> Result<()> {
    let nir = Tensor::new(&[[[[0f64, 0.02, 0.3, 0.98, 1.0]]]], &device())?;
    let ones = Tensor::ones((1, 3, 1, 5), DType::F64, &device())?;
    let got = offset_gain(&nir, &Tensor::cat(&[&ones.zeros_like()?, &ones], 1)?, EPS)?;
    let want = nir.clamp(EPS, 1.0 - EPS)?.broadcast_as((1, 3, 1, 5))?.contiguous()?;
    assert_close("the image", &got, &want, 1e-15)
}

#[test]
fn gradients_match_finite_differences() -> Result<()> {
    let [nir, coefficients] = operands()?;
    assert_gradients("offset_gain", &[coefficients], 1e-8, |x| offset_gain(&nir, &x[0], EPS))
}

#[test]
fn gradients_in_f32_agree_with_f64() -> Result<()> {
    let grad = |dtype| -> Result<Tensor> {
        let [nir, coefficients] = operands()?;
        let coefficients = Var::from_tensor(&coefficients.to_dtype(dtype)?)?;
        let grads = gradients("out", offset_gain(&nir.to_dtype(dtype)?, &coefficients, EPS)?)?;
        Ok(grads.get(&coefficients).expect("a gradient").clone())
    };
    assert_close("f32", &grad(DType::F32)?, &grad(DType::F64)?, 3e-7)?;
    if takes_bf16()? {
        assert_close("bf16", &grad(DType::BF16)?, &grad(DType::F64)?, 2e-2)?;
    }
    Ok(())
}

#[test]
fn the_image_gets_no_gradient() -> Result<()> {
    let [nir, coefficients] = operands()?;
    let nir = Var::from_tensor(&nir)?;
    assert!(!offset_gain(&nir, &coefficients, EPS)?.is_tracked());
    Ok(())
}

#[test]
fn nan_stays_nan() -> Result<()> {
    let nir = Tensor::full(f32::NAN, (1, 1, 1, 1), &device())?;
    let y = offset_gain(&nir, &Tensor::ones((1, 6, 1, 1), DType::F32, &device())?, EPS)?;
    assert!(y.value().flatten_all()?.to_vec1::<f32>()?.iter().all(|y| y.is_nan()));
    Ok(())
}

fn assert_op_error(result: Result<Node>, part: &str) {
    let text = result.err().expect("an error").to_string();
    assert!(text.starts_with("offset_gain: ") && text.contains(part), "{text}");
}

#[test]
fn wrong_arguments_are_errors() -> Result<()> {
    let [nir, coefficients] = operands()?;
    assert_op_error(offset_gain(&nir.squeeze(1)?, &coefficients, EPS), "[2, 5, 7]");
    assert_op_error(offset_gain(&nir, &coefficients.narrow(1, 0, 5)?, EPS), "(2, 6, 5, 7)");
    assert_op_error(offset_gain(&nir, &coefficients.transpose(2, 3)?, EPS), "[2, 6, 7, 5]");
    for eps in [0.0, 0.5, -0.1, f64::NAN] {
        assert_op_error(offset_gain(&nir, &coefficients, eps), "eps");
    }
    assert_op_error(offset_gain(&nir.to_dtype(DType::F32)?, &coefficients, EPS), "F64");
    Ok(())
}
