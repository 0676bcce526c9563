//! Attention against a softmax by differentiable tensor operations in f64, and against finite differences.

use candle_core::{DType, Result, Tensor, Var};
use colormamba_ops::{Node, attention};
use colormamba_testkit::{assert_close, assert_gradients, assert_same_on_threads, device, gradients, noise_tensor};

const BATCH: usize = 2;
const HEADS: usize = 3;

/// Channels of keys, channels of values, queries, keys.
type Case = (usize, usize, usize, usize);

/// Either side the longer, both the same, one place, several blocks of lanes and the last one not full.
const CASES: [Case; 9] = [
    (1, 1, 1, 1),
    (2, 3, 1, 7),
    (3, 1, 7, 1),
    (1, 2, 5, 5),
    (1, 1, 49, 300),
    (1, 1, 300, 49),
    (5, 4, 300, 49),
    (4, 5, 9, 1300),
    (2, 2, 1300, 9),
];

/// `(BATCH, HEADS, rows, n)` in `(-scale, scale)`, stored the other way round: not contiguous.
fn planes(name: &str, rows: usize, n: usize, scale: f64) -> Result<Tensor> {
    (noise_tensor(name, (BATCH, HEADS, n, rows))?.to_dtype(DType::F64)? * scale)?.transpose(2, 3)
}

/// Queries, keys, values, bias.
fn arguments((d, e, nq, nk): Case, scale: f64) -> Result<Vec<Tensor>> {
    let bias = noise_tensor("bias", (HEADS, BATCH, nk))?.to_dtype(DType::F64)?.transpose(0, 1)?;
    Ok(vec![planes("q", d, nq, scale)?, planes("k", d, nk, scale)?, planes("v", e, nk, 1.0)?, bias])
}

fn call(args: &[Tensor]) -> Result<Node> {
    attention(&args[0], &args[1], &args[2], args.get(3))
}

fn naive(args: &[Tensor]) -> Result<Tensor> {
    let [q, k, v] = [0, 1, 2].map(|i| args[i].contiguous());
    let mut energies = q?.transpose(2, 3)?.contiguous()?.matmul(&k?)?;
    if let Some(bias) = args.get(3) {
        energies = energies.broadcast_add(&bias.unsqueeze(2)?)?;
    }
    let exponentials = energies.broadcast_sub(&energies.max_keepdim(3)?.detach())?.exp()?;
    let weights = exponentials.broadcast_div(&exponentials.sum_keepdim(3)?)?;
    v?.matmul(&weights.transpose(2, 3)?.contiguous()?)
}

/// Output and the gradients of all arguments.
fn results(args: &[Tensor], dtype: DType, f: impl Fn(&[Tensor]) -> Result<Node>) -> Result<Vec<Tensor>> {
    let vars = args.iter().map(|x| Var::from_tensor(&x.to_dtype(dtype)?)).collect::<Result<Vec<_>>>()?;
    let y = f(&vars.iter().map(|v| v.as_tensor().clone()).collect::<Vec<_>>())?;
    let grads = gradients("attention", &y)?;
    let grads = vars.iter().map(|v| grads.get(v).expect("every argument gets a gradient").clone());
    Ok(std::iter::once(y.value().clone()).chain(grads).collect())
}

#[test]
fn it_is_a_softmax_over_the_keys() -> Result<()> {
    for case in CASES {
        let args = arguments(case, 1.5)?;
        let shared_bias = [&args[..3], &[args[3].narrow(0, 0, 1)?]].concat();
        for args in [&args[..], &args[..3], &shared_bias] {
            let want = results(args, DType::F64, |x| Ok(Node::from(&naive(x)?)))?;
            assert_close(&format!("{case:?} not contiguous"), &call(args)?, &want[0], 4e-15)?;
            for (dtype, tolerance) in [(DType::F64, 4e-15), (DType::F32, 6e-7)] {
                let got = results(args, dtype, call)?;
                for (name, (got, want)) in ["y", "dq", "dk", "dv", "dbias"].into_iter().zip(got.iter().zip(&want)) {
                    // One key has the weight 1 whatever its energy.
                    if case.3 == 1 && ["dq", "dk", "dbias"].contains(&name) {
                        let largest = got.abs()?.flatten_all()?.max(0)?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
                        assert!(largest < 1e-6, "{name} {case:?}: {largest}");
                    } else {
                        assert_close(&format!("{name} {case:?} {dtype:?}"), got, want, tolerance)?;
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_agree_with_finite_differences() -> Result<()> {
    for case in [(2, 3, 1, 7), (1, 2, 5, 5), (2, 1, 9, 6), (1, 1, 49, 30)] {
        let args = arguments(case, 1.5)?;
        assert_gradients("attention", &args, 1e-7, call)?;
        assert_gradients("attention.plain", &args[..3], 1e-7, call)?;
    }
    Ok(())
}

#[test]
fn only_what_is_tracked_gets_a_gradient() -> Result<()> {
    let args = arguments((2, 3, 8, 5), 1.0)?;
    let all = results(&args, DType::F64, call)?;
    for tracked in 0..4 {
        let var = Var::from_tensor(&args[tracked])?;
        let mut mixed = args.clone();
        mixed[tracked] = var.as_tensor().clone();
        let grads = gradients("attention", &call(&mixed)?)?;
        assert_close("alone", grads.get(&var).expect("tracked"), &all[tracked + 1], 1e-15)?;
        for frozen in (0..4).filter(|&i| i != tracked) {
            assert!(grads.get(&mixed[frozen]).is_none());
        }
    }
    Ok(())
}

/// Energies of up to a thousand either way.
#[test]
fn large_energies_stay_finite() -> Result<()> {
    for case in [(1, 1, 49, 700), (1, 1, 700, 49)] {
        for result in results(&arguments(case, 32.0)?, DType::F32, call)? {
            let sum = result.abs()?.sum_all()?.to_scalar::<f32>()?;
            assert!(sum.is_finite() && sum > 0.0);
        }
    }
    Ok(())
}

/// Blocks are cut and merged the same way whatever the number of threads.
#[test]
fn nothing_depends_on_threads() -> Result<()> {
    for case in [(2, 2, 1300, 9), (2, 2, 9, 1300)] {
        let run = || -> Result<Vec<Vec<f32>>> {
            let all = results(&arguments(case, 1.0)?, DType::F32, call)?;
            all.iter().map(|x| x.flatten_all()?.to_vec1()).collect()
        };
        assert_same_on_threads(run)?;
    }
    Ok(())
}

fn is_op_error(result: Result<Node>) -> bool {
    // Candle boxes an `OpError` so that only its message can be seen; it begins with the operation.
    result.is_err_and(|e| e.to_string().starts_with("attention: "))
}

#[test]
fn wrong_arguments_are_op_errors() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &device());
    let (q, k, v, bias) = (zeros(&[2, 3, 4, 5])?, zeros(&[2, 3, 4, 6])?, zeros(&[2, 3, 1, 6])?, zeros(&[1, 3, 6])?);
    assert!(attention(&q, &k, &v, Some(&bias)).is_ok());
    assert!(is_op_error(attention(&q.flatten(0, 1)?, &k, &v, None)));
    for wrong in [&[1, 3, 4, 6][..], &[2, 2, 4, 6], &[2, 3, 5, 6], &[2, 3, 4, 0], &[2, 3, 6], &[]] {
        assert!(is_op_error(attention(&q, &zeros(wrong)?, &v, None)), "keys {wrong:?}");
    }
    for wrong in [&[1, 3, 1, 6][..], &[2, 2, 1, 6], &[2, 3, 0, 6], &[2, 3, 1, 5], &[2, 3, 6]] {
        assert!(is_op_error(attention(&q, &k, &zeros(wrong)?, None)), "values {wrong:?}");
    }
    for wrong in [&[3, 3, 6][..], &[2, 1, 6], &[2, 3, 5], &[3, 6]] {
        assert!(is_op_error(attention(&q, &k, &v, Some(&zeros(wrong)?))), "bias {wrong:?}");
    }
    assert!(is_op_error(attention(&zeros(&[2, 3, 4, 0])?, &k, &v, None)));
    assert!(is_op_error(attention(&q, &k.to_dtype(DType::F64)?, &v, None)));
    let bytes = |x: &Tensor| x.to_dtype(DType::U8);
    assert!(is_op_error(attention(&bytes(&q)?, &bytes(&k)?, &bytes(&v)?, None)));
    Ok(())
}
