//! Criss-cross attention against a softmax over concatenated energies, and against finite differences.

use candle_core::{DType, Result, Tensor, Var};
use colormamba_ops::{Node, criss_cross};
use colormamba_testkit::{assert_close, assert_gradients, device, gradients, noise_tensor};

/// `(2, c, h, w)` in `(-scale, scale)`, stored with height and width swapped: not contiguous.
fn map(name: &str, c: usize, (h, w): (usize, usize), scale: f64) -> Result<Tensor> {
    (noise_tensor(name, (2, c, w, h))?.to_dtype(DType::F64)? * scale)?.transpose(2, 3)
}

fn arguments(k: usize, c: usize, size: (usize, usize), scale: f64) -> Result<[Tensor; 3]> {
    Ok([map("q", k, size, scale)?, map("k", k, size, scale)?, map("v", c, size, 1.0)?])
}

/// One pixel after the other, from differentiable tensor operations.
fn naive([q, k, v]: &[Tensor; 3]) -> Result<Tensor> {
    let (batch, c, h, w) = v.dims4()?;
    let mut pixels = Vec::new();
    for (b, i, j) in (0..batch).flat_map(|b| (0..h).flat_map(move |i| (0..w).map(move |j| (b, i, j)))) {
        // The places a pixel attends to: its row, and its column without itself.
        let cross = |x: &Tensor| -> Result<Tensor> {
            let x = x.get(b)?;
            let (row, column) = (x.narrow(1, i, 1)?.squeeze(1)?, x.narrow(2, j, 1)?.squeeze(2)?);
            Tensor::cat(&[row, column.narrow(1, 0, i)?, column.narrow(1, i + 1, h - i - 1)?], 1)
        };
        let query = q.get(b)?.narrow(1, i, 1)?.narrow(2, j, 1)?.flatten_all()?.unsqueeze(0)?;
        let energies = query.matmul(&cross(k)?)?;
        let exponentials = energies.broadcast_sub(&energies.max_keepdim(1)?.detach())?.exp()?;
        let weights = exponentials.broadcast_div(&exponentials.sum_keepdim(1)?)?;
        pixels.push(cross(v)?.matmul(&weights.t()?)?.squeeze(1)?);
    }
    Tensor::stack(&pixels, 0)?.reshape((batch, h, w, c))?.permute((0, 3, 1, 2))
}

/// Output and the three gradients.
fn results(args: &[Tensor; 3], dtype: DType, f: impl Fn(&[Tensor; 3]) -> Result<Node>) -> Result<Vec<Tensor>> {
    let vars = [0, 1, 2].map(|i| args[i].to_dtype(dtype).and_then(|x| Var::from_tensor(&x)));
    let [q, k, v] = vars;
    let vars = [q?, k?, v?];
    let y = f(&[0, 1, 2].map(|i| vars[i].as_tensor().clone()))?;
    let grads = gradients("criss_cross", &y)?;
    let mut all = vec![y.value().clone()];
    all.extend(vars.iter().map(|v| grads.get(v).expect("every argument gets a gradient").clone()));
    Ok(all)
}

/// The last is wider than a tile of queries.
const SHAPES: [(usize, usize, (usize, usize)); 6] =
    [(1, 3, (10, 7)), (8, 5, (6, 9)), (2, 3, (1, 5)), (2, 3, (5, 1)), (1, 1, (1, 1)), (2, 2, (3, 70))];

#[test]
fn each_pixel_attends_to_its_row_and_column_in_one_softmax() -> Result<()> {
    for (k, c, size) in SHAPES {
        let args = arguments(k, c, size, 1.5)?;
        let want = results(&args, DType::F64, |x| Ok(Node::from(&naive(x)?)))?;
        for (dtype, tolerance) in [(DType::F64, 1e-14), (DType::F32, 2e-6)] {
            let got = results(&args, dtype, |[q, k, v]| criss_cross(q, k, v))?;
            for (name, (got, want)) in ["y", "dq", "dk", "dv"].into_iter().zip(got.iter().zip(&want)) {
                // Alone, a pixel has the weight 1 whatever its energy.
                if size == (1, 1) && name.len() == 2 && name != "dv" {
                    assert!(got.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()? < 1e-6);
                } else {
                    assert_close(&format!("{name} {k} {c} {size:?} {dtype:?}"), got, want, tolerance)?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_agree_with_finite_differences() -> Result<()> {
    for (k, c, size) in SHAPES.into_iter().filter(|&(.., size)| size != (1, 1)) {
        assert_gradients("criss_cross", &arguments(k, c, size, 1.5)?, 1e-7, |x| criss_cross(&x[0], &x[1], &x[2]))?;
    }
    Ok(())
}

#[test]
fn only_what_is_tracked_gets_a_gradient() -> Result<()> {
    let args = arguments(2, 3, (4, 5), 1.0)?;
    let all = results(&args, DType::F64, |[q, k, v]| criss_cross(q, k, v))?;
    for tracked in 0..3 {
        let var = Var::from_tensor(&args[tracked])?;
        let mut mixed = args.clone();
        mixed[tracked] = var.as_tensor().clone();
        let grads = gradients("criss_cross", &criss_cross(&mixed[0], &mixed[1], &mixed[2])?)?;
        assert_close("alone", grads.get(&var).expect("tracked"), &all[tracked + 1], 1e-15)?;
    }
    Ok(())
}

#[test]
fn large_energies_stay_finite() -> Result<()> {
    for result in results(&arguments(1, 3, (9, 8), 32.0)?, DType::F32, |[q, k, v]| criss_cross(q, k, v))? {
        let sum = result.abs()?.sum_all()?.to_scalar::<f32>()?;
        assert!(sum.is_finite() && sum > 0.0);
    }
    Ok(())
}

fn is_op_error(result: Result<Node>) -> bool {
    // Candle boxes an `OpError` so that only its message can be seen; it begins with the operation.
    result.is_err_and(|e| e.to_string().starts_with("criss_cross: "))
}

#[test]
fn wrong_arguments_are_op_errors() -> Result<()> {
    let zeros = |b: usize, c: usize, h: usize, w: usize| Tensor::zeros((b, c, h, w), DType::F32, &device());
    let (q, v) = (zeros(1, 2, 4, 5)?, zeros(1, 3, 4, 5)?);
    assert!(criss_cross(&q, &q, &v).is_ok());
    assert!(is_op_error(criss_cross(&q, &zeros(1, 1, 4, 5)?, &v)));
    assert!(is_op_error(criss_cross(&q, &q, &zeros(1, 3, 5, 4)?)));
    assert!(is_op_error(criss_cross(&q, &q, &zeros(2, 3, 4, 5)?)));
    assert!(is_op_error(criss_cross(&q, &q, &v.flatten(0, 1)?)));
    assert!(is_op_error(criss_cross(&zeros(1, 2, 0, 5)?, &zeros(1, 2, 0, 5)?, &zeros(1, 3, 0, 5)?)));
    let bytes = |x: &Tensor| x.to_dtype(DType::U8);
    assert!(is_op_error(criss_cross(&bytes(&q)?, &bytes(&q)?, &bytes(&v)?)));
    Ok(())
}
