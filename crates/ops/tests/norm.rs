//! Normalisations against compositions in f64, finite differences and degenerate inputs.

use candle_core::{DType, Result, Tensor, Var};
use colormamba_ops::{Activation, Node, batch_norm_eval, batch_norm_train, instance_norm, layer_norm, spade_norm};
use colormamba_testkit::{assert_close, assert_gradients, device, gradients, noise_tensor};

const EPS: f64 = 1e-5;
const ACTIVATIONS: [Activation; 5] = [
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu(0.2),
    Activation::LeakyRelu(-0.1),
    Activation::Relu6,
];

fn wide(x: &Tensor) -> Result<Tensor> {
    x.to_dtype(DType::F64)
}

/// Normalised over `dims`, in f64.
fn normalised(x: &Tensor, dims: &[usize]) -> Result<Tensor> {
    let x = wide(x)?;
    let centred = x.broadcast_sub(&x.mean_keepdim(dims)?)?;
    let var = centred.sqr()?.mean_keepdim(dims)?;
    centred.broadcast_div(&(var + EPS)?.sqrt()?)
}

fn activated(x: &Tensor, act: Activation) -> Result<Tensor> {
    match act {
        Activation::Identity => Ok(x.clone()),
        Activation::Relu => x.relu(),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::LeakyRelu(slope) => x.relu()? - ((x.neg()?).relu()? * slope)?,
    }
}

fn per_channel(x: &Tensor) -> Result<Tensor> {
    x.reshape((1, x.elem_count(), 1, 1))
}

#[test]
fn instance_norm_matches_its_definition() -> Result<()> {
    for (h, w) in [(1, 1), (1, 2), (2, 2), (13, 9), (256, 256)] {
        for act in ACTIVATIONS {
            let x = noise_tensor("x", (2, 3, w, h))?.affine(2.0, 0.7)?.transpose(2, 3)?;
            let want = activated(&normalised(&x, &[2, 3])?, act)?;
            let got = instance_norm(&x, EPS, act)?;
            assert!(got.value().is_contiguous());
            assert_close(&format!("{h}x{w} {act:?} f32"), &got, &want, 5e-7)?;
            assert_close(&format!("{h}x{w} {act:?} f64"), &instance_norm(&wide(&x)?, EPS, act)?, &want, 1e-14)?;
        }
    }
    Ok(())
}

#[test]
fn instance_norm_gradients_match_finite_differences() -> Result<()> {
    for act in ACTIVATIONS {
        for shape in [(2, 3, 2, 1), (2, 3, 5, 7)] {
            let x = noise_tensor("x", shape)?;
            assert_gradients(&format!("{act:?}"), &[x], 1e-6, |x| instance_norm(&x[0].transpose(2, 3)?, EPS, act))?;
        }
    }
    Ok(())
}

/// The gradient of Σ y · noise with respect to x, for f32 and f64.
fn both_gradients(x: &Tensor, f: impl Fn(&Tensor) -> Result<Node>) -> Result<(Tensor, Tensor)> {
    let grad = |dtype| -> Result<Tensor> {
        let x = Var::from_tensor(&x.to_dtype(dtype)?)?;
        let y = f(&x)?;
        let probe = noise_tensor("probe", y.shape())?.to_dtype(dtype)?;
        let grads = y.backward(&probe)?;
        Ok(grads.get(&x).expect("a gradient").clone())
    };
    Ok((grad(DType::F32)?, grad(DType::F64)?))
}

#[test]
fn gradients_in_f32_agree_with_f64_on_large_planes() -> Result<()> {
    let x = noise_tensor("x", (2, 3, 211, 256))?.affine(2.0, 0.7)?;
    let (narrow, exact) = both_gradients(&x, |x| instance_norm(x, EPS, Activation::LeakyRelu(0.2)))?;
    assert_close("instance_norm", &narrow, &exact, 1e-6)?;
    let ones = |x: &Tensor| Tensor::ones(3, x.dtype(), &device());
    let (narrow, exact) = both_gradients(&x, |x| Ok(batch_norm_train(x, &ones(x)?, &ones(x)?, EPS)?.0))?;
    assert_close("batch_norm", &narrow, &exact, 1e-6)
}

#[test]
fn a_large_mean_costs_no_accuracy() -> Result<()> {
    // Multiples of 2^-10 around 1000 are exact in f32.
    let x = noise_tensor("x", (1, 2, 64, 64))?.affine(512.0, 0.0)?.round()?.affine(1.0 / 1024.0, 1000.0)?;
    let got = instance_norm(&x, EPS, Activation::Identity)?;
    assert_close("instance_norm at 1000", &got, &normalised(&x, &[2, 3])?, 1e-4)?;
    let shifted = instance_norm(&wide(&x)?, EPS, Activation::Identity)?;
    assert_close("instance_norm at 1000, f64", &shifted, &normalised(&x, &[2, 3])?, 1e-12)
}

#[test]
fn constant_planes_are_zero_with_a_finite_gradient() -> Result<()> {
    for act in ACTIVATIONS {
        let x = Var::from_tensor(&Tensor::full(0.3f32, (2, 3, 17, 19), &device())?)?;
        let y = instance_norm(x.as_tensor(), EPS, act)?;
        assert_eq!(y.value().abs()?.max_all()?.to_scalar::<f32>()?, 0.0);
        let largest = gradients("probe", y)?.get(&x).expect("a gradient").abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(
            largest.is_finite() && (largest > 0.0) != matches!(act, Activation::Relu | Activation::Relu6),
            "{act:?}: {largest}"
        );
    }
    Ok(())
}

/// Equation 1 of the SPADE paper in f64, from candle's operations, which have gradients of their own.
fn modulated(x: &Tensor, scale_shift: &Tensor, act: Activation) -> Result<Tensor> {
    let c = x.dims()[1];
    let (gamma, beta) = (wide(scale_shift)?.narrow(1, 0, c)?, wide(scale_shift)?.narrow(1, c, c)?);
    activated(&((normalised(x, &[2, 3])? * (gamma + 1.0)?)? + beta)?, act)
}

#[test]
fn spade_norm_matches_its_definition() -> Result<()> {
    for (b, c, h, w) in [(1, 1, 1, 1), (2, 3, 1, 2), (3, 2, 13, 9), (2, 5, 4, 4), (1, 2, 131, 257)] {
        for act in ACTIVATIONS {
            let x = noise_tensor("x", (b, c, w, h))?.affine(2.0, 0.7)?.transpose(2, 3)?;
            // So large that some results are beyond 6.
            let scale_shift = noise_tensor("scale_shift", (b, w, h, 2 * c))?.affine(4.0, 0.0)?.transpose(1, 3)?;
            let want = modulated(&x, &scale_shift, act)?;
            let got = spade_norm(&x, &scale_shift, EPS, act)?;
            assert!(got.value().is_contiguous());
            assert_close(&format!("{b}x{c}x{h}x{w} {act:?} f32"), &got, &want, 5e-7)?;
            let got = spade_norm(&wide(&x)?, &wide(&scale_shift)?, EPS, act)?;
            assert_close(&format!("{b}x{c}x{h}x{w} {act:?} f64"), &got, &want, 1e-14)?;
        }
    }
    Ok(())
}

#[test]
fn spade_norm_gradients_match_finite_differences() -> Result<()> {
    for act in ACTIVATIONS {
        for (h, w) in [(2, 1), (5, 7)] {
            let scale_shift = noise_tensor("scale_shift", (2, w, h, 6))?.affine(4.0, 0.0)?;
            let inputs = [noise_tensor("x", (2, 3, w, h))?, scale_shift];
            assert_gradients(&format!("{act:?}"), &inputs, 1e-6, |a| {
                spade_norm(&a[0].transpose(2, 3)?, &a[1].transpose(1, 3)?, EPS, act)
            })?;
        }
    }
    Ok(())
}

#[test]
fn spade_norm_gradients_match_those_of_its_definition_on_large_planes() -> Result<()> {
    let act = Activation::LeakyRelu(0.2);
    let leaves = |dtype| -> Result<(Var, Var)> {
        let x = noise_tensor("x", (2, 3, 131, 257))?.affine(2.0, 0.7)?;
        let scale_shift = noise_tensor("scale_shift", (2, 6, 131, 257))?;
        Ok((Var::from_tensor(&x.to_dtype(dtype)?)?, Var::from_tensor(&scale_shift.to_dtype(dtype)?)?))
    };
    let (x, scale_shift) = leaves(DType::F64)?;
    let want = gradients("probe", &modulated(&x, &scale_shift, act)?)?;
    for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F64, 1e-12)] {
        let (a, b) = leaves(dtype)?;
        let got = gradients("probe", spade_norm(a.as_tensor(), b.as_tensor(), EPS, act)?)?;
        for (what, got, want) in [("x", got.get(&a), want.get(&x)), ("scale", got.get(&b), want.get(&scale_shift))] {
            assert_close(what, got.expect("a gradient"), want.expect("a gradient"), tolerance)?;
        }
    }
    Ok(())
}

#[test]
fn spade_norm_gives_a_frozen_argument_no_gradient() -> Result<()> {
    let (x, scale_shift) = (noise_tensor("x", (2, 3, 5, 4))?, noise_tensor("scale_shift", (2, 6, 5, 4))?);
    let (xv, sv) = (Var::from_tensor(&x)?, Var::from_tensor(&scale_shift)?);
    let both = gradients("probe", spade_norm(xv.as_tensor(), sv.as_tensor(), EPS, Activation::Relu)?)?;
    let one = gradients("probe", spade_norm(&x, sv.as_tensor(), EPS, Activation::Relu)?)?;
    assert!(one.get(&x).is_none());
    assert_close("scale", one.get(&sv).expect("a gradient"), both.get(&sv).expect("a gradient"), 0.0)?;
    let other = gradients("probe", spade_norm(xv.as_tensor(), &scale_shift, EPS, Activation::Relu)?)?;
    assert!(other.get(&scale_shift).is_none());
    assert_close("x", other.get(&xv).expect("a gradient"), both.get(&xv).expect("a gradient"), 0.0)
}

#[test]
fn sums_within_a_plane_do_not_depend_on_threads() -> Result<()> {
    let run = |threads| -> Result<Vec<f32>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| {
            let x = Var::from_tensor(&noise_tensor("x", (1, 2, 307, 211))?)?;
            let scale_shift = noise_tensor("scale_shift", (1, 4, 307, 211))?;
            let y = instance_norm(x.as_tensor(), EPS, Activation::LeakyRelu(0.2))?;
            let y = spade_norm(&y, &scale_shift, EPS, Activation::LeakyRelu(0.2))?;
            gradients("probe", y)?.get(&x).expect("a gradient").flatten_all()?.to_vec1()
        })
    };
    assert_eq!(run(1)?, run(3)?);
    Ok(())
}

#[test]
fn layer_norm_matches_its_definition() -> Result<()> {
    for c in [1, 3, 8, 16, 67, 512] {
        let x = noise_tensor("x", (2, c, 41, 7))?.affine(2.0, 0.7)?.permute((0, 2, 3, 1))?;
        let (w, b) = (noise_tensor("w", c)?, noise_tensor("b", c)?);
        let want = normalised(&x, &[3])?.broadcast_mul(&wide(&w)?)?.broadcast_add(&wide(&b)?)?;
        let got = layer_norm(&x, &w, &b, EPS)?;
        assert!(got.value().is_contiguous());
        assert_close(&format!("{c} f32"), &got, &want, 5e-7)?;
        assert_close(&format!("{c} f64"), &layer_norm(&wide(&x)?, &wide(&w)?, &wide(&b)?, EPS)?, &want, 1e-13)?;
    }
    Ok(())
}

#[test]
fn layer_norm_gradients_match_finite_differences() -> Result<()> {
    for c in [2, 8, 19] {
        let inputs = [noise_tensor("x", (2, c, 5))?, noise_tensor("w", c)?, noise_tensor("b", c)?];
        assert_gradients("layer_norm", &inputs, 1e-6, |a| layer_norm(&a[0].transpose(1, 2)?, &a[1], &a[2], EPS))?;
    }
    Ok(())
}

#[test]
fn layer_norm_parameter_gradients_sum_over_many_chunks() -> Result<()> {
    let x = noise_tensor("x", (3, 9001, 7))?;
    let (w, b) = (Var::from_tensor(&noise_tensor("w", 7)?)?, Var::from_tensor(&noise_tensor("b", 7)?)?);
    let probe = noise_tensor("probe", x.shape())?;
    let grads = layer_norm(&x, &w, &b, EPS)?.backward(&probe)?;
    assert!(grads.get(&x).is_none());
    let want = (normalised(&x, &[2])? * wide(&probe)?)?.sum((0, 1))?;
    assert_close("weight", grads.get(&w).expect("a gradient"), &want, 1e-6)?;
    assert_close("bias", grads.get(&b).expect("a gradient"), &wide(&probe)?.sum((0, 1))?, 1e-6)
}

#[test]
fn batch_norm_matches_its_definition() -> Result<()> {
    let x = noise_tensor("x", (3, 5, 31, 17))?.affine(2.0, 0.7)?.transpose(2, 3)?;
    let (w, b) = (noise_tensor("w", 5)?, noise_tensor("b", 5)?);
    let affine = |y: &Tensor| y.broadcast_mul(&per_channel(&wide(&w)?)?)?.broadcast_add(&per_channel(&wide(&b)?)?);
    let (y, stats) = batch_norm_train(&x, &w, &b, EPS)?;
    assert!(y.value().is_contiguous());
    assert_close("train", &y, &affine(&normalised(&x, &[0, 2, 3])?)?, 5e-7)?;
    let mean = wide(&x)?.mean((0, 2, 3))?;
    let var = wide(&x)?.broadcast_sub(&per_channel(&mean)?)?.sqr()?.mean((0, 2, 3))?;
    assert_close("mean", &stats.mean, &mean, 1e-7)?;
    assert_close("variance", &stats.var, &var, 1e-7)?;
    assert!(stats.mean.dtype() == DType::F32 && !stats.mean.track_op() && !stats.var.track_op());
    let (mean, var) = (noise_tensor("mean", 5)?, noise_tensor("var", 5)?.abs()?);
    let rstd = (wide(&var)? + EPS)?.sqrt()?.recip()?;
    let centred = wide(&x)?.broadcast_sub(&per_channel(&wide(&mean)?)?)?;
    let want = affine(&centred.broadcast_mul(&per_channel(&rstd)?)?)?;
    let got = batch_norm_eval(&x, &mean, &var, &w, &b, EPS)?;
    assert!(got.value().is_contiguous());
    assert_close("eval", &got, &want, 5e-7)
}

#[test]
fn batch_norm_gradients_match_finite_differences() -> Result<()> {
    let inputs = [noise_tensor("x", (2, 3, 4, 5))?, noise_tensor("w", 3)?, noise_tensor("b", 3)?];
    assert_gradients("train", &inputs, 1e-7, |a| Ok(batch_norm_train(&a[0].transpose(2, 3)?, &a[1], &a[2], EPS)?.0))?;
    let (mean, var) = (wide(&noise_tensor("mean", 3)?)?, wide(&noise_tensor("var", 3)?.abs()?)?);
    assert_gradients("eval", &inputs, 1e-7, |a| batch_norm_eval(&a[0].transpose(2, 3)?, &mean, &var, &a[1], &a[2], EPS))
}

#[test]
fn results_repeat_to_the_bit() -> Result<()> {
    let x = Var::from_tensor(&noise_tensor("x", (2, 4, 63, 65))?)?;
    let (w, b) = (Var::from_tensor(&noise_tensor("w", 65)?)?, Var::from_tensor(&noise_tensor("b", 65)?)?);
    let run = || -> Result<Vec<f32>> {
        let y = layer_norm(&instance_norm(x.as_tensor(), EPS, Activation::Relu)?, &w, &b, EPS)?;
        gradients("probe", y)?.get(&w).expect("a gradient").to_vec1()
    };
    assert_eq!(run()?, run()?);
    Ok(())
}

#[test]
fn wrong_arguments_are_errors() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &device());
    let (x, three, four) = (zeros(&[2, 3, 4, 4])?, zeros(&[3])?, zeros(&[4])?);
    let errors = [
        ("instance_norm", instance_norm(&three, EPS, Activation::Relu)),
        ("spade_norm", spade_norm(&three, &three, EPS, Activation::Relu)),
        ("spade_norm", spade_norm(&x, &x, EPS, Activation::Relu)),
        ("spade_norm", spade_norm(&x, &zeros(&[1, 6, 4, 4])?, EPS, Activation::Relu)),
        ("spade_norm", spade_norm(&x, &zeros(&[2, 6, 2, 8])?, EPS, Activation::Relu)),
        ("layer_norm", layer_norm(&x, &three, &four, EPS)),
        ("layer_norm", layer_norm(&x, &four, &three, EPS)),
        ("layer_norm", layer_norm(&zeros(&[])?, &four, &four, EPS)),
        ("batch_norm_train", batch_norm_train(&x, &four, &three, EPS).map(|y| y.0)),
        ("batch_norm_train", batch_norm_train(&three, &three, &three, EPS).map(|y| y.0)),
        ("batch_norm_eval", batch_norm_eval(&x, &three, &three, &three, &four, EPS)),
        ("batch_norm_eval", batch_norm_eval(&x, &four, &three, &three, &three, EPS)),
        ("instance_norm", instance_norm(&x.to_dtype(DType::U8)?, EPS, Activation::Relu)),
    ];
    for (i, (op, error)) in errors.into_iter().enumerate() {
        let error = error.err().expect("must fail").to_string();
        assert!(error.starts_with(&format!("{op}: ")), "{i}: {error}");
    }
    let empty = spade_norm(&zeros(&[0, 3, 4, 4])?, &zeros(&[0, 6, 4, 4])?, EPS, Activation::Relu)?;
    assert_eq!(empty.dims(), [0, 3, 4, 4]);
    assert_eq!(instance_norm(&zeros(&[2, 3, 0, 4])?, EPS, Activation::Relu)?.dims(), [2, 3, 0, 4]);
    assert_eq!(layer_norm(&zeros(&[0, 4])?, &four, &four, EPS)?.dims(), [0, 4]);
    Ok(())
}
