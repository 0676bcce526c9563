//! Activations, softmax and the SiLU gate against scalar references in f64, finite differences and extreme inputs.

use candle_core::{DType, Result, Tensor, Var};
use colormamba_ops::{Node, gelu, leaky_relu, relu, sigmoid, silu, silu_gate, softmax, tanh};
use colormamba_testkit::{assert_close, assert_gradients, device, gradients, noise_tensor};

type Op = fn(&Tensor) -> Result<Node>;
type Scalar = fn(f64) -> f64;

const OPS: [(&str, Op, Scalar); 6] = [
    ("relu", |x| relu(x), |x| x.max(0.0)),
    ("leaky_relu", |x| leaky_relu(x, 0.2), |x| if x > 0.0 { x } else { 0.2 * x }),
    ("gelu", |x| gelu(x), |x| 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt()))),
    ("silu", |x| silu(x), |x| x / (1.0 + (-x).exp())),
    ("sigmoid", |x| sigmoid(x), |x| 1.0 / (1.0 + (-x).exp())),
    ("tanh", |x| tanh(x), f64::tanh),
];

/// Noise in `[-scale, scale)`, not contiguous.
fn input(name: &str, scale: f64) -> Result<Tensor> {
    (noise_tensor(name, (2, 37, 5, 113))? * scale)?.transpose(1, 3)
}

fn map(x: &Tensor, f: Scalar) -> Result<Tensor> {
    let x = x.to_dtype(DType::F64)?;
    let values = x.flatten_all()?.to_vec1::<f64>()?.into_iter().map(f).collect::<Vec<_>>();
    Tensor::from_vec(values, x.shape(), &device())
}

#[test]
fn values_match_the_scalar_functions() -> Result<()> {
    for (name, op, f) in OPS {
        for scale in [0.3, 6.0] {
            let x = input(name, scale)?;
            let got = op(&x)?;
            assert!(got.value().is_contiguous() && got.dtype() == DType::F32, "{name}");
            assert_close(&format!("{name} f32 ±{scale}"), &got, &map(&x, f)?, 2e-7)?;
            let x = x.to_dtype(DType::F64)?;
            assert_close(&format!("{name} f64 ±{scale}"), &op(&x)?, &map(&x, f)?, 1e-15)?;
        }
    }
    Ok(())
}

#[test]
fn gelu_in_f32_is_within_3e7_of_the_normal_distribution() -> Result<()> {
    let x = Tensor::arange(-60_000f32, 60_000., &device())?.affine(1e-4, 5e-5)?;
    let cdf = (gelu(&x)?.value() / &x)?.to_vec1::<f32>()?;
    let errors = cdf.iter().zip(x.to_vec1::<f32>()?).map(|(&cdf, x)| {
        let want = 0.5 * libm::erfc(-f64::from(x) / 2f64.sqrt());
        (f64::from(cdf) - want).abs()
    });
    let worst = errors.fold(0.0, f64::max);
    assert!(worst < 3e-7, "{worst:e}");
    Ok(())
}

#[test]
fn gradients_match_finite_differences() -> Result<()> {
    for (name, op, _) in OPS {
        let x = (noise_tensor(name, (2, 3, 4, 7))? * 3.0)?;
        assert_gradients(name, &[x], 1e-8, |a| op(&a[0].transpose(1, 3)?))?;
    }
    Ok(())
}

#[test]
fn gradients_in_f32_agree_with_f64() -> Result<()> {
    for (name, op, _) in OPS {
        let grad = |dtype| -> Result<Tensor> {
            let x = Var::from_tensor(&input(name, 6.0)?.to_dtype(dtype)?.contiguous()?)?;
            let probe = noise_tensor("probe", x.shape())?.to_dtype(dtype)?;
            let grads = op(&x)?.backward(&probe)?;
            Ok(grads.get(&x).expect("a gradient").clone())
        };
        assert_close(name, &grad(DType::F32)?, &grad(DType::F64)?, 3e-7)?;
    }
    Ok(())
}

/// The gradient of Σ y by x.
fn sum_gradient(y: Node, x: &Var) -> Result<Tensor> {
    let ones = y.value().ones_like()?;
    Ok(y.backward(&ones)?.get(x).expect("a gradient").clone())
}

#[test]
fn the_kinks_have_torchs_gradients() -> Result<()> {
    let x = Var::from_tensor(&Tensor::new(&[-1f32, 0.0, 2.0], &device())?)?;
    let grad = |y: Node| sum_gradient(y, &x)?.to_vec1::<f32>();
    assert_eq!(grad(relu(x.as_tensor())?)?, [0.0, 0.0, 1.0]);
    assert_eq!(grad(leaky_relu(x.as_tensor(), 0.25)?)?, [0.25, 0.25, 1.0]);
    Ok(())
}

#[test]
fn extreme_inputs_give_the_limits() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let x = Var::from_tensor(&Tensor::new(&[-1e4, -100.0, 100.0, 1e4], &device())?.to_dtype(dtype)?)?;
        let limits: [(Op, [f64; 4], [f64; 4]); 4] = [
            (|x| gelu(x), [0.0, 0.0, 100.0, 1e4], [0.0, 0.0, 1.0, 1.0]),
            (|x| silu(x), [0.0, 0.0, 100.0, 1e4], [0.0, 0.0, 1.0, 1.0]),
            (|x| sigmoid(x), [0.0, 0.0, 1.0, 1.0], [0.0; 4]),
            (|x| tanh(x), [-1.0, -1.0, 1.0, 1.0], [0.0; 4]),
        ];
        for (op, values, slopes) in limits {
            let y = op(&x)?;
            let value = y.value().clone();
            for (got, want) in [(value, values), (sum_gradient(y, &x)?, slopes)] {
                for (got, want) in got.to_dtype(DType::F64)?.to_vec1::<f64>()?.iter().zip(want) {
                    assert!((got - want).abs() < 1e-30, "{got} {want}");
                }
            }
        }
        assert!(relu(&Tensor::new(&[f32::NAN], &device())?)?.value().to_vec1::<f32>()?[0].is_nan());
    }
    Ok(())
}

fn naive_softmax(x: &Tensor) -> Result<Tensor> {
    let x = x.to_dtype(DType::F64)?;
    let e = x.broadcast_sub(&x.max_keepdim(candle_core::D::Minus1)?)?.exp()?;
    e.broadcast_div(&e.sum_keepdim(candle_core::D::Minus1)?)
}

#[test]
fn softmax_matches_its_definition_at_any_length() -> Result<()> {
    for n in [1, 2, 15, 16, 49, 257, 20_001] {
        let x = (noise_tensor("softmax", (2, n, 3))? * 8.0)?.transpose(1, 2)?;
        let got = softmax(&x)?;
        assert!(got.value().is_contiguous());
        assert_close(&format!("softmax of {n}, f32"), &got, &naive_softmax(&x)?, 3e-7)?;
        let x = x.to_dtype(DType::F64)?;
        assert_close(&format!("softmax of {n}, f64"), &softmax(&x)?, &naive_softmax(&x)?, 1e-14)?;
        let sums = got.value().sum(candle_core::D::Minus1)?.flatten_all()?.to_vec1::<f32>()?;
        assert!(sums.iter().all(|s| (s - 1.0).abs() < 1e-5));
    }
    Ok(())
}

#[test]
fn softmax_gradients_match_finite_differences() -> Result<()> {
    for n in [2, 19, 49] {
        let x = (noise_tensor("softmax", (2, n, 3))? * 2.0)?;
        assert_gradients("softmax", &[x], 1e-7, |a| softmax(&a[0].transpose(1, 2)?))?;
    }
    Ok(())
}

#[test]
fn softmax_of_extremes_is_finite() -> Result<()> {
    let x = Var::from_tensor(&Tensor::new(&[[1e4f32, -1e4, 0.0], [-1e4, -1e4, -1e4]], &device())?)?;
    let y = softmax(x.as_tensor())?;
    assert_eq!(y.value().to_vec2::<f32>()?[0], [1.0, 0.0, 0.0]);
    assert!(y.value().to_vec2::<f32>()?[1].iter().all(|p| (p - 1.0 / 3.0).abs() < 1e-7));
    let twice = (y.value() * 2.0)?;
    let grad = y.backward(&twice)?.get(&x).expect("a gradient").flatten_all()?.to_vec1::<f32>()?;
    assert!(grad.iter().all(|g| g.is_finite()));
    Ok(())
}

#[test]
fn silu_gate_multiplies_by_silu() -> Result<()> {
    let (x, z) = (input("gate.x", 2.0)?, input("gate.z", 4.0)?);
    let want = (x.to_dtype(DType::F64)? * map(&z, |z| z / (1.0 + (-z).exp()))?)?;
    let got = silu_gate(&x, &z)?;
    assert!(got.value().is_contiguous());
    assert_close("silu_gate", &got, &want, 3e-7)?;
    let small = |name| noise_tensor(name, (2, 5, 3));
    assert_gradients("silu_gate", &[small("x")?, small("z")?], 1e-8, |a| {
        silu_gate(&a[0].transpose(1, 2)?, &a[1].transpose(1, 2)?)
    })
}

#[test]
fn silu_gate_gives_a_frozen_argument_no_gradient() -> Result<()> {
    let x = noise_tensor("x", (2, 5))?;
    let z = Var::from_tensor(&noise_tensor("z", (2, 5))?)?;
    let grads = gradients("gate", silu_gate(&x, z.as_tensor())?)?;
    assert!(grads.get(&z).is_some() && grads.get(&x).is_none());
    Ok(())
}

#[test]
fn wrong_arguments_are_errors() -> Result<()> {
    let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &device());
    let errors = [
        ("silu_gate: ", silu_gate(&zeros(&[2, 3], DType::F32)?, &zeros(&[3, 2], DType::F32)?)),
        ("leaky_relu: ", leaky_relu(&zeros(&[2], DType::F32)?, -0.25)),
        ("softmax: ", softmax(&zeros(&[], DType::F32)?)),
        ("softmax: ", softmax(&zeros(&[2, 0], DType::F32)?)),
        ("gelu: U8", gelu(&zeros(&[2], DType::U8)?)),
    ];
    for (i, (start, error)) in errors.into_iter().enumerate() {
        let error = error.err().expect("must fail").to_string();
        assert!(error.starts_with(start), "{i}: {error}");
    }
    assert_eq!(relu(&zeros(&[2, 0, 3], DType::F32)?)?.dims(), [2, 0, 3]);
    Ok(())
}
