//! Affine maps against candle's matmul, finite differences and each other.

use candle_core::{DType, Result, Tensor, Var};
use colormamba_ops::{Node, linear};
use colormamba_testkit::{assert_close, assert_gradients, assert_same_on_threads, device, gradients, noise_tensor};

fn operands(rows: &[usize], inputs: usize, outputs: usize) -> Result<[Tensor; 3]> {
    let make = |name: &str, shape: &[usize]| noise_tensor(name, shape)?.to_dtype(DType::F64);
    Ok([make("x", &[rows, &[inputs]].concat())?, make("w", &[outputs, inputs])?, make("b", &[outputs])?])
}

/// From candle's own differentiable operations.
fn reference(x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (inputs, mut dims) = (w.dim(1)?, x.dims().to_vec());
    *dims.last_mut().unwrap() = w.dim(0)?;
    x.reshape(((), inputs))?.matmul(&w.t()?)?.broadcast_add(b)?.reshape(dims)
}

#[test]
fn equals_matmul() -> Result<()> {
    let shapes: [(&[usize], usize, usize); 6] =
        [(&[], 5, 3), (&[1], 1, 1), (&[2, 3], 7, 130), (&[2, 9, 13], 33, 17), (&[3, 400], 20, 70), (&[700], 3, 1)];
    for (rows, inputs, outputs) in shapes {
        let [x, w, b] = operands(rows, inputs, outputs)?;
        let vars = [&x, &w, &b].map(|t| Var::from_tensor(t).unwrap());
        let want = reference(&vars[0], &vars[1], &vars[2])?;
        let want_grads = gradients("out", &want)?;
        for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 1e-6)] {
            let typed = [&x, &w, &b].map(|t| Var::from_tensor(&t.to_dtype(dtype).unwrap()).unwrap());
            let got = linear(&typed[0], &typed[1], Some(&typed[2]))?;
            assert_close(&format!("{rows:?} {inputs} {outputs}"), &got, &want, tolerance)?;
            let grads = gradients("out", &got)?;
            for (typed, var) in typed.iter().zip(&vars) {
                assert_close("gradient", grads.get(typed).unwrap(), want_grads.get(var).unwrap(), tolerance)?;
            }
            let plain = linear(&typed[0], &typed[1], None)?;
            assert_close("without bias", &plain, &reference(&x, &w, &b.zeros_like()?)?, tolerance)?;
        }
    }
    Ok(())
}

#[test]
fn gradients_equal_finite_differences() -> Result<()> {
    let [x, w, b] = operands(&[2, 7], 5, 6)?;
    assert_gradients("linear", &[x.clone(), w.clone(), b], 1e-8, |t| linear(&t[0], &t[1], Some(&t[2])))?;
    assert_gradients("plain", &[x, w], 1e-8, |t| linear(&t[0], &t[1], None))
}

#[test]
fn any_layout_gives_the_same() -> Result<()> {
    let x = noise_tensor("x", (5, 2, 9))?.to_dtype(DType::F64)?.transpose(0, 2)?.narrow(0, 1, 7)?;
    let w = noise_tensor("w", (5, 4))?.to_dtype(DType::F64)?.t()?;
    let b = noise_tensor("b", (4, 2))?.to_dtype(DType::F64)?.narrow(1, 1, 1)?.squeeze(1)?;
    let got = linear(&x, &w, Some(&b))?;
    assert!(got.value().is_contiguous());
    assert_close("views", &got, &reference(&x.force_contiguous()?, &w.force_contiguous()?, &b)?, 1e-13)?;
    assert_gradients("views", &[x.transpose(0, 2)?, w.t()?, b], 1e-8, |t| {
        linear(&t[0].transpose(0, 2)?, &t[1].t()?, Some(&t[2]))
    })
}

#[test]
fn frozen_arguments_get_no_gradient() -> Result<()> {
    let vars = operands(&[6], 4, 3)?.map(|t| Var::from_tensor(&t).unwrap());
    for trained in 1..8 {
        let is_trained = |i: usize| trained & (1 << i) != 0;
        let argument = |i: usize| if is_trained(i) { vars[i].as_tensor().clone() } else { vars[i].detach() };
        let arguments = [argument(0), argument(1), argument(2)];
        let grads = gradients("out", &linear(&arguments[0], &arguments[1], Some(&arguments[2]))?)?;
        for (i, argument) in arguments.iter().enumerate() {
            assert_eq!(grads.get(argument).is_some(), is_trained(i), "trained {trained:03b}, argument {i}");
        }
    }
    Ok(())
}

/// Sums are cut the same way whatever the number of threads.
#[test]
fn weight_gradients_do_not_depend_on_threads() -> Result<()> {
    let [x, w, b] = operands(&[3000], 24, 100)?.map(|t| t.to_dtype(DType::F32).unwrap());
    let run = || -> Result<Vec<Vec<f32>>> {
        let (w, b) = (Var::from_tensor(&w)?, Var::from_tensor(&b)?);
        let grads = gradients("out", &linear(&x, &w, Some(&b))?)?;
        [w, b].iter().map(|v| grads.get(v).unwrap().flatten_all()?.to_vec1()).collect()
    };
    assert_same_on_threads(run)
}

#[test]
fn wrong_arguments_are_errors() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &device());
    let (x, w) = (zeros(&[2, 4])?, zeros(&[3, 4])?);
    let check = |result: Result<Node>, part: &str| {
        let text = result.err().expect("an error").to_string();
        assert!(text.contains("linear") && text.contains(part), "{text} lacks {part}");
    };
    check(linear(&zeros(&[2, 5])?, &w, None), "[2, 5]");
    check(linear(&zeros(&[])?, &w, None), "[]");
    check(linear(&x, &zeros(&[3, 4, 1])?, None), "[3, 4, 1]");
    check(linear(&x, &zeros(&[0, 4])?, None), "[0, 4]");
    check(linear(&x, &w, Some(&zeros(&[4])?)), "bias of 3");
    check(linear(&x, &w.to_dtype(DType::F64)?, None), "F64");
    check(linear(&x.to_dtype(DType::U32)?, &w.to_dtype(DType::U32)?, None), "U32");
    assert_eq!(linear(&zeros(&[0, 4])?, &w, None)?.dims(), [0, 3]);
    Ok(())
}
