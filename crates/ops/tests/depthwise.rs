//! Depthwise convolutions of images against loops in f64, PyTorch's numbers, finite differences and each other.

use candle_core::{DType, Result, Tensor, Var};
use colormamba_ops::{Activation, Node, depthwise_conv2d};
use colormamba_testkit::{
    assert_close, assert_gradients, assert_same_on_threads, device, gradients, noise, noise_tensor, takes_bf16,
};

/// Batch, channels, size, side of the kernel, stride.
type Case = (usize, usize, (usize, usize), usize, usize);

/// Even and odd sizes under both strides, planes smaller than the kernel and the stride, kernels smaller than the
/// stride, more points than a strip has, and rows longer than a strip.
const CASES: [Case; 15] = [
    (1, 1, (1, 1), 3, 1),
    (2, 3, (7, 7), 3, 1),
    (2, 3, (7, 7), 5, 2),
    (2, 5, (8, 6), 3, 2),
    (3, 2, (9, 12), 5, 2),
    (2, 4, (5, 4), 5, 1),
    (2, 2, (2, 1), 5, 2),
    (1, 3, (1, 6), 7, 2),
    (2, 2, (9, 8), 1, 2),
    (2, 2, (11, 13), 5, 3),
    (1, 2, (4, 7), 3, 5),
    (2, 3, (61, 70), 3, 1),
    (1, 2, (112, 112), 5, 2),
    (1, 2, (3, 2300), 3, 2),
    (9, 2, (14, 14), 5, 1),
];

const ACTIVATIONS: [Activation; 4] =
    [Activation::Identity, Activation::Relu, Activation::LeakyRelu(0.2), Activation::Relu6];

/// `x`, `w` and `bias` of a convolution, f64; results go well beyond 6.
fn operands((batch, channels, size, side, _): Case) -> Result<[Tensor; 3]> {
    let make = |name: &str, shape: &[usize]| noise_tensor(name, shape)?.to_dtype(DType::F64);
    let w = (make("w", &[channels, 1, side, side])? * 4.0)?;
    Ok([make("x", &[batch, channels, size.0, size.1])?, w, make("b", &[channels])?])
}

fn output((_, _, size, _, stride): Case) -> (usize, usize) {
    (size.0.div_ceil(stride), size.1.div_ceil(stride))
}

/// The pixels before the image, of those that TensorFlow adds.
fn before(n: usize, side: usize, stride: usize) -> usize {
    ((n.div_ceil(stride) - 1) * stride + side).saturating_sub(n) / 2
}

/// Calls `f(output, input, weight)` with the indices of every product that a convolution sums.
fn each_product(case: Case, mut f: impl FnMut(usize, usize, usize)) {
    let (batch, channels, (h, w), side, stride) = case;
    let ((out_h, out_w), above, left) = (output(case), before(h, side, stride), before(w, side, stride));
    for plane in 0..batch * channels {
        for p in 0..out_h * out_w {
            for t in 0..side * side {
                let (y, x) = (p / out_w * stride + t / side, p % out_w * stride + t % side);
                if y >= above && y < h + above && x >= left && x < w + left {
                    let input = (plane * h + y - above) * w + x - left;
                    f(plane * out_h * out_w + p, input, plane % channels * side * side + t);
                }
            }
        }
    }
}

/// Value and derivative.
fn activated(x: f64, activation: Activation) -> (f64, f64) {
    match activation {
        Activation::Identity => (x, 1.0),
        Activation::Relu => (x.max(0.0), f64::from(x > 0.0)),
        Activation::LeakyRelu(slope) => {
            if x > 0.0 {
                (x, 1.0)
            } else {
                (slope * x, slope)
            }
        }
        Activation::Relu6 => (x.clamp(0.0, 6.0), f64::from(x > 0.0 && x < 6.0)),
    }
}

/// The result and, for a gradient of it by noise, those of input, weight and bias, by loops.
fn by_loops(case: Case, activation: Activation) -> Result<[Tensor; 4]> {
    let [x, w, b] = operands(case)?;
    let [xs, ws, bs] = [&x, &w, &b].map(|t| t.flatten_all().unwrap().to_vec1::<f64>().unwrap());
    let (batch, channels, ..) = case;
    let (h, width) = output(case);
    let n = batch * channels * h * width;
    let channel = |p: usize| p / (h * width) % channels;
    let mut sums: Vec<f64> = (0..n).map(|p| bs[channel(p)]).collect();
    each_product(case, |p, i, k| sums[p] += xs[i] * ws[k]);
    let results: Vec<(f64, f64)> = sums.iter().map(|&sum| activated(sum, activation)).collect();
    let gs: Vec<f64> = noise("grad", n).iter().zip(&results).map(|(g, (_, slope))| g * slope).collect();
    let (mut dx, mut dw, mut db) = (vec![0.0; xs.len()], vec![0.0; ws.len()], vec![0.0; channels]);
    each_product(case, |p, i, k| {
        dx[i] += gs[p] * ws[k];
        dw[k] += gs[p] * xs[i];
    });
    gs.iter().enumerate().for_each(|(p, g)| db[channel(p)] += g);
    let y = Tensor::from_vec(results.into_iter().map(|(y, _)| y).collect(), (batch, channels, h, width), &device())?;
    let like = |v: Vec<f64>, t: &Tensor| Tensor::from_vec(v, t.shape(), &device());
    Ok([y, like(dx, &x)?, like(dw, &w)?, like(db, &b)?])
}

#[test]
fn equals_loops() -> Result<()> {
    for case in CASES {
        for activation in ACTIVATIONS {
            let want = by_loops(case, activation)?;
            for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 1e-6)] {
                let vars = operands(case)?.map(|t| Var::from_tensor(&t.to_dtype(dtype).unwrap()).unwrap());
                let y = depthwise_conv2d(&vars[0], &vars[1], Some(&vars[2]), case.4, activation)?;
                assert_eq!(y.dtype(), dtype);
                assert_close(&format!("{case:?} {activation:?} {dtype:?}"), &y, &want[0], tolerance)?;
                let cotangent = noise_tensor("grad", y.shape())?.to_dtype(dtype)?;
                let grads = y.backward(&cotangent)?;
                for ((name, var), want) in ["dx", "dw", "db"].iter().zip(&vars).zip(&want[1..]) {
                    let what = format!("{case:?} {activation:?} {dtype:?} {name}");
                    assert_close(&what, grads.get(var).unwrap(), want, tolerance)?;
                }
            }
        }
    }
    Ok(())
}

/// `F.conv2d(F.pad(x, pads), w, stride=stride, groups=2)` with `x = torch.arange(40.).reshape(1, 2, 5, 4)`,
/// `w = torch.arange(2. * k * k).reshape(2, 1, k, k)` and `pads` from
/// `max((-(-n // stride) - 1) * stride + k - n, 0)` for each axis, the smaller half of it before.
#[test]
fn agrees_with_pytorch() -> Result<()> {
    let cases: [(usize, usize, &[f64]); 4] = [
        (
            3,
            1,
            &[
                73., 121., 154., 103., 171., 258., 294., 186., 279., 402., 438., 270., 387., 546., 582., 354., 187.,
                247., 262., 145., 1363., 2023., 2110., 1385., 2034., 3003., 3120., 2037., 2358., 3471., 3588., 2337.,
                2682., 3939., 4056., 2637., 1669., 2437., 2506., 1619.,
            ],
        ),
        (3, 2, &[121., 103., 402., 270., 247., 145., 2023., 1385., 3471., 2337., 2437., 1619.]),
        (
            5,
            1,
            &[
                936., 1330., 1264., 990., 1610., 2220., 2100., 1604., 2365., 3200., 3010., 2260., 1694., 2260., 2076.,
                1532., 1062., 1390., 1228., 882., 9801., 13180., 12874., 9720., 13430., 18020., 17580., 13244., 17140.,
                22950., 22360., 16810., 13514., 18060., 17556., 13172., 9927., 13240., 12838., 9612.,
            ],
        ),
        (5, 2, &[1330., 990., 3200., 2260., 1390., 882., 13180., 9720., 22950., 16810., 13240., 9612.]),
    ];
    let x = Tensor::arange(0f32, 40.0, &device())?.reshape((1, 2, 5, 4))?;
    for (side, stride, want) in cases {
        let w = Tensor::arange(0f32, (2 * side * side) as f32, &device())?.reshape((2, 1, side, side))?;
        let got = depthwise_conv2d(&x, &w, None, stride, Activation::Identity)?;
        assert_eq!(got.value().flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?, want, "{side} {stride}");
    }
    Ok(())
}

#[test]
fn gradients_match_finite_differences() -> Result<()> {
    for case in [(2, 3, (5, 6), 3, 1), (2, 2, (7, 6), 5, 2), (1, 3, (6, 6), 3, 2)] {
        for activation in ACTIVATIONS {
            let [x, w, b] = operands(case)?;
            let x = x.transpose(2, 3)?;
            assert_gradients("depthwise", &[x.clone(), w.clone(), b], 1e-7, |t| {
                depthwise_conv2d(&t[0].transpose(2, 3)?, &t[1].transpose(2, 3)?, Some(&t[2]), case.4, activation)
            })?;
            assert_gradients("plain", &[x, w], 1e-7, |t| depthwise_conv2d(&t[0], &t[1], None, case.4, activation))?;
        }
    }
    Ok(())
}

/// With every choice of trained arguments, exactly these get a gradient, and the same.
#[test]
fn frozen_arguments_get_no_gradient() -> Result<()> {
    let vars = operands((2, 3, (6, 5), 3, 2))?.map(|t| Var::from_tensor(&t).unwrap());
    let run = |trained: usize| {
        let is_trained = |i: usize| trained & (1 << i) != 0;
        let args = [0, 1, 2].map(|i| if is_trained(i) { vars[i].as_tensor().clone() } else { vars[i].detach() });
        gradients("out", depthwise_conv2d(&args[0], &args[1], Some(&args[2]), 2, Activation::Relu6)?)
    };
    let all = run(7)?;
    for trained in 1..7 {
        let grads = run(trained)?;
        for (i, var) in vars.iter().enumerate() {
            assert_eq!(grads.get(var).is_some(), trained & (1 << i) != 0, "trained {trained:03b}, argument {i}");
            if let Some(grad) = grads.get(var) {
                assert_close("alone", grad, all.get(var).unwrap(), 0.0)?;
            }
        }
    }
    Ok(())
}

#[test]
fn results_do_not_depend_on_threads() -> Result<()> {
    let run = || -> Result<Vec<Vec<f32>>> {
        let vars =
            operands((3, 5, (40, 57), 5, 2))?.map(|t| Var::from_tensor(&t.to_dtype(DType::F32).unwrap()).unwrap());
        let y = depthwise_conv2d(&vars[0], &vars[1], Some(&vars[2]), 2, Activation::Relu6)?;
        let grads = gradients("out", y)?;
        vars.iter().map(|var| grads.get(var).unwrap().flatten_all()?.to_vec1()).collect()
    };
    assert_same_on_threads(run)
}

#[test]
fn no_images_are_no_results() -> Result<()> {
    for shape in [[0, 3, 6, 5], [2, 3, 0, 5]] {
        let x = Var::from_tensor(&Tensor::zeros(&shape[..], DType::F32, &device())?)?;
        let w = Var::from_tensor(&noise_tensor("w", (3, 1, 3, 3))?)?;
        let y = depthwise_conv2d(&x, &w, None, 2, Activation::Identity)?;
        assert_eq!(y.dims(), [shape[0], 3, shape[2].div_ceil(2), 3]);
        let cotangent = y.value().zeros_like()?;
        let grads = y.backward(&cotangent)?;
        assert_eq!(grads.get(&x).unwrap().dims(), shape);
        assert_close("dw", grads.get(&w).unwrap(), &w.zeros_like()?, 0.0)?;
    }
    Ok(())
}

#[test]
fn activations_in_bf16() -> Result<()> {
    if !takes_bf16()? {
        return Ok(());
    }
    for case in CASES {
        let want = by_loops(case, Activation::Relu6)?;
        let [x, w, b] = operands(case)?;
        let x = Var::from_tensor(&x.to_dtype(DType::BF16)?)?;
        let [w, b] = [w, b].map(|t| Var::from_tensor(&t.to_dtype(DType::F32).unwrap()).unwrap());
        let y = depthwise_conv2d(&x, &w, Some(&b), case.4, Activation::Relu6)?;
        assert_eq!(y.dtype(), DType::BF16);
        assert_close(&format!("{case:?}"), &y, &want[0], 1e-2)?;
        let cotangent = noise_tensor("grad", y.shape())?.to_dtype(DType::BF16)?;
        let grads = y.backward(&cotangent)?;
        // Rounding moves some results across 0 and 6, where the slope jumps.
        for (var, want) in [&x, &w, &b].into_iter().zip(&want[1..]) {
            assert_close(&format!("{case:?}"), grads.get(var).unwrap(), want, 1e-1)?;
        }
    }
    Ok(())
}

fn assert_op_error(result: Result<Node>, parts: &[&str]) {
    let text = result.err().expect("an error").to_string();
    assert!(text.starts_with("depthwise_conv2d: "), "{text}");
    parts.iter().for_each(|part| assert!(text.contains(part), "{text} lacks {part}"));
}

#[test]
fn wrong_arguments_are_errors() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &device());
    let plain =
        |x: &Tensor, w: &Tensor, b: Option<&Tensor>, stride| depthwise_conv2d(x, w, b, stride, Activation::Identity);
    let (x, w) = (zeros(&[1, 3, 4, 4])?, zeros(&[3, 1, 3, 3])?);
    assert_op_error(plain(&zeros(&[3, 4, 4])?, &w, None, 1), &["[3, 4, 4]"]);
    assert_op_error(plain(&x, &zeros(&[4, 1, 3, 3])?, None, 1), &["(3, 1, k, k)", "[4, 1, 3, 3]"]);
    assert_op_error(plain(&x, &zeros(&[3, 3, 3, 3])?, None, 1), &["(3, 1, k, k)"]);
    assert_op_error(plain(&x, &zeros(&[3, 1, 3, 5])?, None, 1), &["[3, 1, 3, 5]"]);
    assert_op_error(plain(&x, &zeros(&[3, 1, 4, 4])?, None, 1), &["k odd"]);
    assert_op_error(plain(&x, &w, Some(&zeros(&[4])?), 1), &["bias of 3", "[4]"]);
    assert_op_error(plain(&x, &w, None, 0), &["stride"]);
    assert_op_error(plain(&x, &w.to_dtype(DType::F64)?, None, 1), &["F64", "F32"]);
    assert_op_error(plain(&x.to_dtype(DType::U8)?, &w.to_dtype(DType::U8)?, None, 1), &["U8"]);
    assert_op_error(depthwise_conv2d(&x, &w, None, 1, Activation::LeakyRelu(-1.0)), &["slope"]);
    Ok(())
}
