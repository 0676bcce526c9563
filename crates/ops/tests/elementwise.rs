//! Fused elementwise operations, transposes and concatenation against candle's own compositions and finite differences.

use candle_core::{DType, Result, Tensor, Var};
use colormamba_ops::{add, image_from_tokens, scale_add, scale_maps, tokens_from_image};
use colormamba_testkit::{assert_close, assert_gradients, device, noise_tensor};

/// Not contiguous.
fn image(name: &str) -> Result<Tensor> {
    noise_tensor(name, (2, 67, 53, 11))?.transpose(1, 3)
}

fn wide(x: &Tensor) -> Result<Tensor> {
    x.to_dtype(DType::F64)
}

#[test]
fn add_is_a_sum() -> Result<()> {
    let (a, b) = (image("a")?, image("b")?);
    let got = add(&a, &b)?;
    assert!(got.value().is_contiguous());
    assert_close("add", &got, &(wide(&a)? + wide(&b)?)?, 1e-7)?;
    let inputs = [noise_tensor("a", (2, 3, 5))?, noise_tensor("b", (2, 5, 3))?];
    assert_gradients("add", &inputs, 1e-9, |x| add(&x[0], &x[1].transpose(1, 2)?))
}

#[test]
fn a_tensor_added_to_itself_gets_both_gradients() -> Result<()> {
    assert_gradients("add to itself", &[noise_tensor("a", (2, 3))?], 1e-9, |x| add(&x[0], &x[0]))
}

#[test]
fn scale_add_scales_the_last_dimension() -> Result<()> {
    let (x, y, s) = (image("x")?, image("y")?, noise_tensor("s", 67)?);
    let got = scale_add(&x, &s, &y)?;
    assert!(got.value().is_contiguous());
    assert_close("scale_add", &got, &(wide(&x)?.broadcast_mul(&wide(&s)?)? + wide(&y)?)?, 1e-7)?;
    let inputs = [noise_tensor("x", (2, 5, 3))?, noise_tensor("s", 3)?, noise_tensor("y", (2, 3, 5))?];
    assert_gradients("scale_add", &inputs, 1e-9, |x| scale_add(&x[0], &x[1], &x[2].transpose(1, 2)?))
}

#[test]
fn scale_maps_scales_maps_or_images() -> Result<()> {
    let x = image("x")?;
    let (batch, channels, ..) = x.dims4()?;
    for factors in [noise_tensor("factors", (batch, channels))?, noise_tensor("factors", (batch, 1))?] {
        let (rows, columns) = factors.dims2()?;
        let want = wide(&x)?.broadcast_mul(&wide(&factors)?.reshape((rows, columns, 1, 1))?)?;
        let got = scale_maps(&x, &factors)?;
        assert!(got.value().is_contiguous());
        assert_close("scale_maps", &got, &want, 1e-7)?;
    }
    let factors = wide(&noise_tensor("factors", (2, 3))?)?;
    let turned = noise_tensor("x", (2, 3, 5, 4))?;
    assert_gradients("scale_maps", &[turned], 1e-9, |x| scale_maps(&x[0].transpose(2, 3)?, &factors))
}

#[test]
fn the_gradient_of_a_scale_sums_over_many_chunks() -> Result<()> {
    let (x, y) = (noise_tensor("x", (3, 9001, 7))?, noise_tensor("y", (3, 9001, 7))?);
    let s = Var::from_tensor(&noise_tensor("s", 7)?)?;
    let probe = noise_tensor("probe", x.shape())?;
    let grads = scale_add(&x, s.as_tensor(), &y)?.backward(&probe)?;
    let want = (wide(&x)? * wide(&probe)?)?.sum((0, 1))?;
    assert!(grads.get(&x).is_none());
    assert_close("gradient of the scale", grads.get(&s).expect("a gradient"), &want, 2e-6)
}

#[test]
fn transposes_move_channels_and_back() -> Result<()> {
    for (b, c, h, w) in [(2, 3, 5, 7), (1, 1, 4, 4), (2, 67, 53, 11), (1, 300, 130, 1), (3, 16, 16, 16)] {
        for dtype in [DType::F32, DType::F64] {
            let x = noise_tensor("image", (b, c, w, h))?.to_dtype(dtype)?.transpose(2, 3)?;
            let tokens = tokens_from_image(&x)?;
            assert!(tokens.value().is_contiguous());
            assert_close("tokens", &tokens, &x.permute((0, 2, 3, 1))?, 0.0)?;
            assert_close("image", &image_from_tokens(&tokens)?, &x, 0.0)?;
            assert_close("image of a view", &image_from_tokens(&x)?, &x.permute((0, 3, 1, 2))?, 0.0)?;
        }
    }
    let x = noise_tensor("x", (2, 3, 4, 5))?;
    assert_gradients("tokens_from_image", std::slice::from_ref(&x), 1e-9, |x| tokens_from_image(&x[0]))?;
    assert_gradients("image_from_tokens", &[x], 1e-9, |x| image_from_tokens(&x[0].transpose(1, 2)?))
}

#[test]
fn wrong_arguments_are_errors() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &device());
    let (a, b) = (zeros(&[2, 3, 4, 5])?, zeros(&[2, 3, 5, 4])?);
    let errors = [
        ("add", add(&a, &b)),
        ("scale_add", scale_add(&a, &zeros(&[4])?, &a)),
        ("scale_add", scale_add(&a, &zeros(&[5])?, &b)),
        ("scale_add", scale_add(&zeros(&[])?, &zeros(&[1])?, &zeros(&[])?)),
        ("scale_maps", scale_maps(&a, &zeros(&[3])?)),
        ("scale_maps", scale_maps(&a, &zeros(&[3, 2])?)),
        ("tokens_from_image", tokens_from_image(&zeros(&[2, 3])?)),
        ("image_from_tokens", image_from_tokens(&zeros(&[2, 3])?)),
    ];
    for (i, (op, error)) in errors.into_iter().enumerate() {
        let error = error.err().expect("must fail").to_string();
        assert!(error.starts_with(&format!("{op}: ")), "{i}: {error}");
    }
    let integers = a.to_dtype(DType::U32)?;
    assert!(add(&integers, &integers).err().expect("must fail").to_string().starts_with("add: U32"));
    Ok(())
}
