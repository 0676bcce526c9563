//! Convolutions against loops in f64, candle's own, finite differences and each other.

use candle_core::{DType, Result, Tensor, Var};
use colormamba_ops::{
    Activation, Conv2dConfig, Node, conv_transpose2d, conv_transpose2d_fused, conv2d, conv2d_fused, depthwise_conv3x3,
    leaky_relu,
};
use colormamba_testkit::{
    assert_close, assert_gradients, assert_same_on_threads, device, gradients, noise, noise_tensor,
};

/// Batch, input channels, output channels, size, kernel, stride, padding.
type Case = (usize, usize, usize, (usize, usize), (usize, usize), usize, usize);

/// The shapes cover: whole images in a tile, several tiles an image, tiles within a row, several blocks of channels,
/// rows and columns that no window reaches, kernels smaller than the stride, and outputs shared out among tasks; the last
/// ones are those that go by Winograd's tiles, of two to four taps, with every stride, and ends that no tile fills.
const CASES: [Case; 29] = [
    (1, 1, 1, (1, 1), (1, 1), 1, 0),
    (2, 3, 5, (7, 9), (3, 3), 1, 1),
    (2, 4, 3, (9, 8), (3, 3), 2, 0),
    (2, 4, 6, (10, 6), (4, 4), 2, 1),
    (2, 3, 4, (11, 7), (4, 4), 2, 1),
    (3, 5, 2, (6, 8), (2, 2), 2, 0),
    (1, 2, 3, (8, 11), (2, 3), 3, 2),
    (2, 3, 2, (9, 9), (1, 1), 1, 0),
    (2, 3, 2, (9, 8), (1, 1), 2, 0),
    (2, 3, 2, (5, 5), (1, 1), 1, 2),
    (1, 2, 3, (5, 6), (5, 6), 1, 0),
    (2, 100, 70, (4, 4), (3, 3), 1, 1),
    (1, 3, 4, (40, 50), (3, 3), 1, 1),
    (1, 1, 2, (3, 1500), (3, 3), 1, 1),
    (2, 20, 8, (33, 31), (1, 1), 1, 0),
    (1, 9, 13, (200, 4), (3, 3), 1, 1),
    (2, 30, 7, (30, 34), (4, 4), 2, 1),
    (1, 300, 20, (24, 24), (3, 3), 1, 1),
    (2, 17, 38, (33, 31), (3, 3), 1, 1),
    (1, 150, 40, (37, 64), (3, 3), 1, 0),
    (2, 60, 33, (40, 62), (4, 4), 2, 1),
    (2, 34, 34, (65, 63), (4, 4), 2, 1),
    (1, 16, 32, (67, 66), (6, 6), 2, 2),
    (1, 33, 33, (33, 33), (2, 2), 1, 0),
    (1, 32, 32, (7, 300), (3, 3), 1, 1),
    (2, 35, 34, (32, 33), (4, 4), 1, 1),
    (1, 32, 32, (58, 58), (3, 3), 1, 5),
    (1, 32, 32, (96, 66), (6, 6), 3, 1),
    (1, 32, 32, (70, 68), (8, 8), 2, 3),
];

/// What sums over taps keep to; Winograd's tiles, from the 19th case on, round more: the worst seen is 2.0e-6, of 8x8 kernels.
fn tolerance_in_f32(case: usize) -> f64 {
    if case < 18 { 1e-6 } else { 3e-6 }
}

fn config((.., stride, padding): Case) -> Conv2dConfig {
    Conv2dConfig { stride, padding }
}

/// `x`, `w` and `bias` of a convolution, f64.
fn operands((batch, i, o, size, kernel, ..): Case) -> Result<[Tensor; 3]> {
    let make = |name: &str, shape: &[usize]| noise_tensor(name, shape)?.to_dtype(DType::F64);
    Ok([make("x", &[batch, i, size.0, size.1])?, make("w", &[o, i, kernel.0, kernel.1])?, make("b", &[o])?])
}

fn values(t: &Tensor) -> Result<Vec<f64>> {
    t.flatten_all()?.to_vec1()
}

/// Calls `f(output, input, weight)` with the indices of every product that a convolution sums.
fn each_product(case: Case, out: (usize, usize), mut f: impl FnMut(usize, usize, usize)) {
    let (batch, channels, outputs, (h, w), (kh, kw), stride, padding) = case;
    for b in 0..batch {
        for o in 0..outputs {
            for c in 0..channels {
                for p in 0..out.0 * out.1 {
                    for t in 0..kh * kw {
                        let (y, x) = (p / out.1 * stride + t / kw, p % out.1 * stride + t % kw);
                        if y >= padding && y < h + padding && x >= padding && x < w + padding {
                            let input = ((b * channels + c) * h + y - padding) * w + x - padding;
                            f((b * outputs + o) * out.0 * out.1 + p, input, (o * channels + c) * kh * kw + t);
                        }
                    }
                }
            }
        }
    }
}

/// The convolution and, given the gradient of its result, those of input and weight, by loops.
struct Naive {
    out: Tensor,
    dx: Tensor,
    dw: Tensor,
}

impl Naive {
    fn new(case: Case, x: &Tensor, w: &Tensor, grad_name: &str) -> Result<Self> {
        let (batch, _, o, (h, width), (kh, kw), stride, padding) = case;
        let size = ((h + 2 * padding - kh) / stride + 1, (width + 2 * padding - kw) / stride + 1);
        let shape = (batch, o, size.0, size.1);
        let n = batch * o * size.0 * size.1;
        let (xs, ws, gs) = (values(x)?, values(w)?, noise(grad_name, n));
        let (mut out, mut dx, mut dw) = (vec![0.0; n], vec![0.0; xs.len()], vec![0.0; ws.len()]);
        each_product(case, size, |p, i, k| {
            out[p] += xs[i] * ws[k];
            dx[i] += gs[p] * ws[k];
            dw[k] += gs[p] * xs[i];
        });
        let tensor = |v: Vec<f64>, shape: &candle_core::Shape| Tensor::from_vec(v, shape, &device());
        Ok(Self { out: tensor(out, &shape.into())?, dx: tensor(dx, x.shape())?, dw: tensor(dw, w.shape())? })
    }
}

fn channel_bias(b: &Tensor) -> Result<Tensor> {
    b.reshape((1, (), 1, 1))
}

/// `Σ out · noise(name)` and its gradients.
fn weigh(out: &Node, name: &str) -> Result<candle_core::backprop::GradStore> {
    let cotangent = noise_tensor(name, out.shape())?.to_dtype(out.dtype())?;
    out.clone().backward(&cotangent)
}

#[test]
fn conv2d_equals_loops() -> Result<()> {
    for (index, case) in CASES.into_iter().enumerate() {
        let [x, w, b] = operands(case)?;
        let naive = Naive::new(case, &x, &w, "grad")?;
        let want = naive.out.broadcast_add(&channel_bias(&b)?)?;
        for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, tolerance_in_f32(index))] {
            let [x, w, b] = [&x, &w, &b].map(|t| Var::from_tensor(&t.to_dtype(dtype).unwrap()).unwrap());
            let out = conv2d(&x, &w, Some(&b), config(case))?;
            assert_eq!(out.dtype(), dtype);
            assert_close(&format!("{case:?} output"), &out, &want, tolerance)?;
            let grads = weigh(&out, "grad")?;
            let cotangent = noise_tensor("grad", out.shape())?.to_dtype(DType::F64)?;
            assert_close(&format!("{case:?} dx"), grads.get(&x).unwrap(), &naive.dx, tolerance)?;
            assert_close(&format!("{case:?} dw"), grads.get(&w).unwrap(), &naive.dw, tolerance)?;
            assert_close(&format!("{case:?} db"), grads.get(&b).unwrap(), &cotangent.sum((0, 2, 3))?, tolerance)?;
            let plain = conv2d(&x, &w, None, config(case))?;
            assert_close(&format!("{case:?} without bias"), &plain, &naive.out, tolerance)?;
        }
    }
    Ok(())
}

/// The same loops read the other way: the transposed convolution is the gradient of the convolution's input.
#[test]
fn conv_transpose2d_equals_loops() -> Result<()> {
    for (index, case) in CASES.into_iter().enumerate() {
        let (batch, i, o, size, (kh, kw), stride, padding) = case;
        if (size.0 - 1) * stride + kh <= 2 * padding || (size.1 - 1) * stride + kw <= 2 * padding {
            continue;
        }
        let out_size = ((size.0 - 1) * stride + kh - 2 * padding, (size.1 - 1) * stride + kw - 2 * padding);
        // As a convolution: from the transposed one's output (o channels) to its input (i channels).
        let back = (batch, o, i, out_size, (kh, kw), stride, padding);
        let [grad, w, b] = operands(back)?;
        let x_name = "transposed.x";
        let naive = Naive::new(back, &grad, &w, x_name)?;
        let x = noise_tensor(x_name, (batch, i, size.0, size.1))?;
        let b = b.narrow(0, 0, 1)?.repeat(o)?;
        let want = naive.dx.broadcast_add(&channel_bias(&b)?)?;
        for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, tolerance_in_f32(index))] {
            let [x, w, b] = [&x, &w, &b].map(|t| Var::from_tensor(&t.to_dtype(dtype).unwrap()).unwrap());
            let out = conv_transpose2d(&x, &w, Some(&b), config(case))?;
            assert_close(&format!("{case:?} output"), &out, &want, tolerance)?;
            let grads = weigh(&out, "x")?;
            assert_close(&format!("{case:?} dx"), grads.get(&x).unwrap(), &naive.out, tolerance)?;
            assert_close(&format!("{case:?} dw"), grads.get(&w).unwrap(), &naive.dw, tolerance)?;
            assert_close(&format!("{case:?} db"), grads.get(&b).unwrap(), &grad.sum((0, 2, 3))?, tolerance)?;
            let plain = conv_transpose2d(&x, &w, None, config(case))?;
            assert_close(&format!("{case:?} without bias"), &plain, &naive.dx, tolerance)?;
        }
    }
    Ok(())
}

/// Winograd's transforms round more than sums over taps do, whose error is about 2e-7.
#[test]
fn tiles_are_as_exact_as_their_rounding() -> Result<()> {
    for (kernel, stride) in [(2, 1), (3, 1), (4, 1), (4, 2)] {
        let cfg = Conv2dConfig { stride, padding: 1 };
        let x = noise_tensor("x", (1, 32, 64, 64))?;
        let w = Var::from_tensor(&noise_tensor("w", (32, 32, kernel, kernel))?)?;
        let wide = Var::from_tensor(&w.to_dtype(DType::F64)?)?;
        let (got, want) = (conv2d(&x, &w, None, cfg)?, conv2d(&x.to_dtype(DType::F64)?, &wide, None, cfg)?);
        assert_close(&format!("{kernel} {stride}"), &got, &want.value().to_dtype(DType::F32)?, 2e-6)?;
        let grad = |out: Node, w: &Var| gradients("out", out)?.get(w).unwrap().to_dtype(DType::F32);
        assert_close(&format!("weight {kernel} {stride}"), &Node::from(&grad(got, &w)?), &grad(want, &wide)?, 2e-6)?;
    }
    Ok(())
}

#[test]
fn gradients_equal_finite_differences() -> Result<()> {
    for case in &CASES[1..7] {
        let cfg = config(*case);
        let [x, w, b] = operands(*case)?;
        assert_gradients("conv2d", &[x.clone(), w.clone(), b.clone()], 1e-7, |t| {
            conv2d(&t[0], &t[1], Some(&t[2]), cfg)
        })?;
        assert_gradients("conv2d.plain", &[x.clone(), w], 1e-7, |t| conv2d(&t[0], &t[1], None, cfg))?;
        let (_, i, o, _, (kh, kw), ..) = *case;
        let w = noise_tensor("transposed.w", (i, o, kh, kw))?;
        assert_gradients("conv_transpose2d", &[x.clone(), w.clone(), b], 1e-7, |t| {
            conv_transpose2d(&t[0], &t[1], Some(&t[2]), cfg)
        })?;
        assert_gradients("conv_transpose2d.plain", &[x, w], 1e-7, |t| conv_transpose2d(&t[0], &t[1], None, cfg))?;
    }
    Ok(())
}

#[test]
fn transposed_is_the_adjoint() -> Result<()> {
    // Sizes that the windows cover exactly, so that the adjoint has the input's size.
    for (side, kernel, stride, padding) in [(12, 3, 1, 1), (12, 4, 2, 1), (12, 2, 2, 0), (13, 3, 2, 0), (13, 4, 3, 0)] {
        let cfg = Conv2dConfig { stride, padding };
        let x = noise_tensor("x", (2, 5, side, side))?.to_dtype(DType::F64)?;
        let w = noise_tensor("w", (7, 5, kernel, kernel))?.to_dtype(DType::F64)?;
        let forward = conv2d(&x, &w, None, cfg)?;
        let y = noise_tensor("y", forward.shape())?.to_dtype(DType::F64)?;
        let left = (forward.value() * &y)?.sum_all()?.to_scalar::<f64>()?;
        let right = x.mul(conv_transpose2d(&y, &w, None, cfg)?.value())?.sum_all()?.to_scalar::<f64>()?;
        assert!((left - right).abs() <= 1e-11 * left.abs().max(1.0), "{left} {right}");
    }
    Ok(())
}

#[test]
fn agrees_with_candle() -> Result<()> {
    let x = noise_tensor("x", (2, 16, 24, 20))?;
    let w = noise_tensor("w", (12, 16, 3, 3))?;
    for (stride, padding) in [(1, 1), (2, 0)] {
        let want = x.conv2d(&w, padding, stride, 1, 1)?;
        assert_close("conv2d", &conv2d(&x, &w, None, Conv2dConfig { stride, padding })?, &want, 1e-6)?;
    }
    let w = noise_tensor("w", (16, 12, 4, 4))?;
    let want = x.conv_transpose2d(&w, 1, 0, 2, 1)?;
    let got = conv_transpose2d(&x, &w, None, Conv2dConfig { stride: 2, padding: 1 })?;
    assert_close("conv_transpose2d", &got, &want, 1e-6)
}

#[test]
fn any_layout_gives_the_same() -> Result<()> {
    let cfg = Conv2dConfig { stride: 2, padding: 1 };
    let big = noise_tensor("x", (2, 9, 11, 8))?.to_dtype(DType::F64)?;
    let x = big.transpose(1, 3)?.narrow(2, 1, 9)?.narrow(1, 2, 5)?;
    let w = noise_tensor("w", (4, 4, 5, 6))?.to_dtype(DType::F64)?.permute((3, 2, 0, 1))?;
    let b = noise_tensor("b", (6, 2))?.to_dtype(DType::F64)?.narrow(1, 1, 1)?.squeeze(1)?;
    let copies = [&x, &w, &b].map(|t| t.force_contiguous().unwrap());
    let got = conv2d(&x, &w, Some(&b), cfg)?;
    assert!(got.value().is_contiguous());
    assert_close("conv2d", &got, &conv2d(&copies[0], &copies[1], Some(&copies[2]), cfg)?, 0.0)?;
    assert_gradients("transposed views", &[x.clone(), w.clone(), b.clone()], 1e-7, |t| {
        conv2d(&t[0].transpose(2, 3)?, &t[1].transpose(2, 3)?, Some(&t[2]), cfg)
    })?;
    let w = w.transpose(0, 1)?;
    let (got, copy) = (conv_transpose2d(&x, &w, Some(&b), cfg)?, w.force_contiguous()?);
    assert_close("conv_transpose2d", &got, &conv_transpose2d(&copies[0], &copy, Some(&copies[2]), cfg)?, 0.0)?;
    assert_gradients("transposed views", &[x, w, b], 1e-7, |t| {
        conv_transpose2d(&t[0].transpose(2, 3)?, &t[1].transpose(2, 3)?, Some(&t[2]), cfg)
    })
}

/// With every choice of trained arguments, exactly these get a gradient.
#[test]
fn frozen_arguments_get_no_gradient() -> Result<()> {
    let cfg = Conv2dConfig { stride: 1, padding: 1 };
    type Op = fn(&Tensor, &Tensor, &Tensor, Conv2dConfig) -> Result<Node>;
    let ops: [(Op, [&[usize]; 3]); 3] = [
        (|x, w, b, cfg| conv2d(x, w, Some(b), cfg), [&[1, 3, 5, 5], &[3, 3, 3, 3], &[3]]),
        (|x, w, b, cfg| conv_transpose2d(x, w, Some(b), cfg), [&[1, 3, 5, 5], &[3, 3, 3, 3], &[3]]),
        (|x, w, b, _| depthwise_conv3x3(x, w, Some(b)), [&[1, 5, 5, 3], &[3, 1, 3, 3], &[3]]),
    ];
    for (op, shapes) in ops {
        for trained in 1..8 {
            let vars = ["x", "w", "b"].iter().zip(shapes).map(|(name, s)| Var::from_tensor(&noise_tensor(name, s)?));
            let vars = vars.collect::<Result<Vec<_>>>()?;
            let is_trained = |i: usize| trained & (1 << i) != 0;
            let argument = |i: usize| if is_trained(i) { vars[i].as_tensor().clone() } else { vars[i].detach() };
            let arguments = [argument(0), argument(1), argument(2)];
            let grads = gradients("out", op(&arguments[0], &arguments[1], &arguments[2], cfg)?)?;
            for (i, argument) in arguments.iter().enumerate() {
                assert_eq!(grads.get(argument).is_some(), is_trained(i), "trained {trained:03b}, argument {i}");
            }
        }
    }
    Ok(())
}

#[test]
fn depthwise_equals_a_convolution_per_channel() -> Result<()> {
    for shape in [(2, 5, 7, 19), (1, 1, 1, 3), (2, 1, 6, 32), (1, 9, 2, 1), (3, 40, 3, 8)] {
        let (_, _, _, channels) = shape;
        let x = noise_tensor("x", shape)?.to_dtype(DType::F64)?;
        let w = noise_tensor("w", (channels, 1, 3, 3))?.to_dtype(DType::F64)?;
        let b = noise_tensor("b", channels)?.to_dtype(DType::F64)?;
        let channel = |x: &Tensor, w: &Tensor, b: &Tensor, c: usize| {
            let x = x.narrow(3, c, 1)?.permute((0, 3, 1, 2))?.contiguous()?;
            let y = x.conv2d(&w.narrow(0, c, 1)?.contiguous()?, 1, 1, 1, 1)?;
            y.broadcast_add(&channel_bias(&b.narrow(0, c, 1)?)?)?.permute((0, 2, 3, 1))
        };
        let reference = |x: &Tensor, w: &Tensor, b: &Tensor| {
            Tensor::cat(&(0..channels).map(|c| channel(x, w, b, c)).collect::<Result<Vec<_>>>()?, 3)
        };
        let vars = [&x, &w, &b].map(|t| Var::from_tensor(t).unwrap());
        let want = reference(&vars[0], &vars[1], &vars[2])?;
        let cotangent = noise_tensor("grad", want.shape())?.to_dtype(DType::F64)?;
        let want_grads = want.mul(&cotangent)?.sum_all()?.backward()?;
        for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 1e-6)] {
            let typed = [&x, &w, &b].map(|t| Var::from_tensor(&t.to_dtype(dtype).unwrap()).unwrap());
            let got = depthwise_conv3x3(&typed[0], &typed[1], Some(&typed[2]))?;
            assert_close(&format!("{shape:?}"), &got, &want, tolerance)?;
            let grads = weigh(&got, "grad")?;
            for (typed, var) in typed.iter().zip(&vars) {
                assert_close("gradient", grads.get(typed).unwrap(), want_grads.get(var).unwrap(), tolerance)?;
            }
        }
        let zero = b.zeros_like()?;
        assert_close("without bias", &depthwise_conv3x3(&x, &w, None)?, &reference(&x, &w, &zero)?, 1e-13)?;
        assert_gradients("depthwise", &[x.transpose(1, 2)?, w.clone(), b], 1e-7, |t| {
            depthwise_conv3x3(&t[0].transpose(1, 2)?, &t[1], Some(&t[2]))
        })?;
        assert_gradients("depthwise.plain", &[x, w], 1e-7, |t| depthwise_conv3x3(&t[0], &t[1], None))?;
    }
    Ok(())
}

/// Several inputs and an activation are the concatenation, the convolution and the activation one after the other.
#[test]
fn fused_equals_one_after_the_other() -> Result<()> {
    let make = |name: &str, shape: &[usize]| noise_tensor(name, shape)?.to_dtype(DType::F64);
    let (a, b, bias) = (make("a", &[2, 3, 10, 7])?, make("b", &[2, 5, 10, 7])?, make("bias", &[6])?);
    // Of these, many enough channels and points for tiles.
    let (many, more, long_bias) = (make("a", &[2, 14, 32, 31])?, make("b", &[2, 20, 32, 31])?, make("bias", &[35])?);
    let cfg = Conv2dConfig { stride: 2, padding: 1 };
    let act = Activation::LeakyRelu(0.2);
    type Fused = fn(&[Node], &Tensor, Option<&Tensor>, Conv2dConfig, Activation) -> Result<Node>;
    type Plain = fn(Node, &Tensor, Option<&Tensor>, Conv2dConfig) -> Result<Node>;
    type Direction<'a> = (Fused, Plain, [usize; 4], [&'a Tensor; 3], usize);
    let directions: [Direction; 4] = [
        (conv2d_fused, conv2d, [6, 8, 3, 3], [&a, &b, &bias], 2),
        (conv_transpose2d_fused, conv_transpose2d, [8, 6, 4, 4], [&a, &b, &bias], 2),
        (conv2d_fused, conv2d, [35, 34, 3, 3], [&many, &more, &long_bias], 1),
        (conv_transpose2d_fused, conv_transpose2d, [34, 35, 4, 4], [&many, &more, &long_bias], 2),
    ];
    for (fused, plain, shape, [a, b, bias], stride) in directions {
        let cfg = Conv2dConfig { stride, ..cfg };
        let args = [a.clone(), b.clone(), make("w", &shape)?, bias.clone()];
        let vars = args.each_ref().map(|t| Var::from_tensor(t).unwrap());
        let inputs = [Node::from(&vars[0]), Node::from(&vars[1])];
        let got = fused(&inputs, &vars[2], Some(&vars[3]), cfg, act)?;
        let want = leaky_relu(
            plain(Node::from(&Tensor::cat(&[vars[0].as_tensor(), &vars[1]], 1)?), &vars[2], Some(&vars[3]), cfg)?,
            0.2,
        )?;
        assert_close("fused", &got, &want, 1e-15)?;
        let (got, want) = (gradients("fused", got)?, gradients("fused", want)?);
        for var in &vars {
            assert_close("fused gradient", got.get(var).unwrap(), want.get(var).unwrap(), 1e-14)?;
        }
        if a.dims()[1] > 3 {
            continue;
        }
        assert_gradients("fused", &args, 1e-7, |t| {
            fused(&[Node::from(&t[0]), Node::from(&t[1])], &t[2], Some(&t[3]), cfg, act)
        })?;
    }
    let other = [Node::from(&a), Node::from(&make("c", &[2, 5, 10, 8])?)];
    let w = make("w", &[6, 8, 3, 3])?;
    assert_op_error(conv2d_fused(&other, &w, None, cfg, act), &["conv2d", "[2, 3, 10, 7]", "[2, 5, 10, 8]"]);
    assert_op_error(conv2d_fused(&[], &w, None, cfg, act), &["conv2d", "no input"]);
    Ok(())
}

/// A cap: the result is what it leaves of a convolution, and gradients pass where it is neither 0 nor 6.
#[test]
fn relu6_caps_the_result() -> Result<()> {
    let case = (2, 34, 35, (32, 31), (3, 3), 1, 1);
    for dtype in [DType::F32, DType::F64] {
        let vars = operands(case)?.map(|t| Var::from_tensor(&t.to_dtype(dtype).unwrap()).unwrap());
        let [x, w, b] = &vars;
        let plain = conv2d(x, w, Some(b), config(case))?;
        let fused = conv2d_fused(&[Node::from(x)], w, Some(b), config(case), Activation::Relu6)?;
        let want = plain.value().clamp(0.0, 6.0)?;
        assert_close("relu6", &fused, &want, 0.0)?;
        let inside = want.gt(0.0)?.mul(&want.lt(6.0)?)?.to_dtype(dtype)?;
        let share = inside.to_dtype(DType::F64)?.mean_all()?.to_scalar::<f64>()?;
        let at_6 = want.ge(6.0)?.to_dtype(DType::F64)?.mean_all()?.to_scalar::<f64>()?;
        assert!(share > 0.1 && at_6 > 0.01, "{share} {at_6}");
        let cotangent = noise_tensor("grad", want.shape())?.to_dtype(dtype)?;
        let got = fused.backward(&cotangent)?;
        let want = plain.backward(&(cotangent * inside)?)?;
        for var in &vars {
            assert_close("relu6 gradient", got.get(var).unwrap(), want.get(var).unwrap(), 0.0)?;
        }
    }
    Ok(())
}

/// Sums are cut the same way whatever the number of threads.
#[test]
fn weight_gradients_do_not_depend_on_threads() -> Result<()> {
    let cfg = Conv2dConfig { stride: 1, padding: 1 };
    for (inputs, outputs) in [(6, 8), (40, 70)] {
        weight_gradients_with(cfg, inputs, outputs)?;
    }
    Ok(())
}

fn weight_gradients_with(cfg: Conv2dConfig, inputs: usize, outputs: usize) -> Result<()> {
    let x = noise_tensor("x", (2, inputs, 64, 64))?;
    let gradients = || -> Result<Vec<Vec<f32>>> {
        let w = Var::from_tensor(&noise_tensor("w", (outputs, inputs, 3, 3))?)?;
        let b = Var::from_tensor(&noise_tensor("b", outputs)?)?;
        let depthwise = Var::from_tensor(&noise_tensor("dw", (64, 1, 3, 3))?)?;
        let mut grads = gradients("a", conv2d(&x, &w, Some(&b), cfg)?)?;
        grads.extend(gradients("b", depthwise_conv3x3(&x, &depthwise, None)?)?)?;
        [w, b, depthwise].iter().map(|v| grads.get(v).unwrap().flatten_all()?.to_vec1()).collect()
    };
    assert_same_on_threads(gradients)
}

fn assert_op_error(result: Result<Node>, parts: &[&str]) {
    let text = result.err().expect("an error").to_string();
    parts.iter().for_each(|part| assert!(text.contains(part), "{text} lacks {part}"));
}

#[test]
fn wrong_arguments_are_errors() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &device());
    let cfg = Conv2dConfig::default();
    let (x, w) = (zeros(&[1, 3, 4, 4])?, zeros(&[2, 3, 3, 3])?);
    assert_op_error(conv2d(&zeros(&[3, 4, 4])?, &w, None, cfg), &["conv2d", "[3, 4, 4]"]);
    assert_op_error(conv2d(&x, &zeros(&[2, 3, 3])?, None, cfg), &["conv2d", "[2, 3, 3]"]);
    assert_op_error(conv2d(&x, &zeros(&[2, 3, 0, 3])?, None, cfg), &["conv2d", "[2, 3, 0, 3]"]);
    assert_op_error(conv2d(&x, &zeros(&[2, 4, 3, 3])?, None, cfg), &["conv2d", "4 channels", "[1, 3, 4, 4]"]);
    assert_op_error(conv2d(&x, &zeros(&[2, 3, 5, 3])?, None, cfg), &["conv2d", "5 x 3", "[1, 3, 4, 4]"]);
    assert_op_error(conv2d(&x, &w, Some(&zeros(&[3])?), cfg), &["conv2d", "bias of 2", "[3]"]);
    assert_op_error(conv2d(&x, &w, None, Conv2dConfig { stride: 0, padding: 0 }), &["conv2d", "stride"]);
    assert_op_error(conv2d(&x, &w.to_dtype(DType::F64)?, None, cfg), &["conv2d", "F64", "F32"]);
    let (u8_x, u8_w) = (x.to_dtype(DType::U8)?, w.to_dtype(DType::U8)?);
    assert_op_error(conv2d(&u8_x, &u8_w, None, cfg), &["conv2d", "U8"]);

    let w = zeros(&[3, 2, 3, 3])?;
    let op = "conv_transpose2d";
    assert_op_error(conv_transpose2d(&zeros(&[4, 4])?, &w, None, cfg), &[op, "[4, 4]"]);
    assert_op_error(conv_transpose2d(&x, &zeros(&[2, 3, 3, 3])?, None, cfg), &[op, "2 channels"]);
    let wide = Conv2dConfig { stride: 1, padding: 3 };
    assert_op_error(conv_transpose2d(&x, &w, None, wide), &[op, "padding of 3"]);
    assert_op_error(conv_transpose2d(&zeros(&[1, 3, 0, 4])?, &w, None, cfg), &[op, "[1, 3, 0, 4]"]);
    assert_op_error(conv_transpose2d(&x, &w, None, Conv2dConfig { stride: 0, padding: 0 }), &[op, "stride"]);

    let op = "depthwise_conv3x3";
    assert_op_error(depthwise_conv3x3(&zeros(&[4, 4, 3])?, &zeros(&[3, 1, 3, 3])?, None), &[op, "[4, 4, 3]"]);
    assert_op_error(depthwise_conv3x3(&x, &zeros(&[3, 1, 3, 3])?, None), &[op, "(4, 1, 3, 3)"]);
    assert_op_error(depthwise_conv3x3(&x, &zeros(&[4, 1, 3, 3])?, Some(&zeros(&[3])?)), &[op, "bias of 4"]);
    Ok(())
}
