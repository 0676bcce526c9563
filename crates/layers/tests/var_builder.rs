//! Models written with candle-nn on our parameters, and our layers in candle's graph.

use candle_core::{DType, ModuleT, Result, Tensor, Var};
use candle_nn::init::{DEFAULT_KAIMING_NORMAL, DEFAULT_KAIMING_UNIFORM};
use candle_nn::{Init, VarBuilder};
use colormamba_layers::{
    Adam, AdamConfig, BatchNorm2d, Conv2d, ConvTranspose2d, LayerNorm, Linear, Params, SpectralConv2d,
};
use colormamba_ops::{Node, in_nodes, tanh};
use colormamba_testkit::{assert_close, cotangent, device, gradients, noise_tensor};

fn params(seed: u64) -> Params {
    Params::new(seed, DType::F64, &device())
}

fn values(params: &Params, name: &str) -> Vec<f64> {
    params.tensors()[name].flatten_all().unwrap().to_vec1().unwrap()
}

fn message<T>(result: Result<T>) -> String {
    result.err().expect("an error").to_string()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

#[test]
fn start_values_depend_on_seed_and_full_name_alone() -> Result<()> {
    let build = |seed: u64, names: &[&str]| -> Result<Params> {
        let params = params(seed);
        for name in names {
            candle_nn::linear(4, 3, params.root().pp("net").var_builder().pp(name))?;
        }
        Ok(params)
    };
    let (a, b) = (build(1, &["x", "y"])?, build(1, &["y", "z", "x"])?);
    for name in ["net.x.weight", "net.x.bias"] {
        assert_eq!(values(&a, name), values(&b, name));
        assert_ne!(values(&a, name), values(&build(2, &["x"])?, name));
    }
    assert_ne!(values(&a, "net.x.weight"), values(&a, "net.y.weight"));
    // The bias of a linear layer starts as that of ours does.
    let own = params(1);
    Linear::new(&own.root().pp("net.x"), 4, 3, true)?;
    assert_eq!(values(&a, "net.x.bias"), values(&own, "net.x.bias"));
    Ok(())
}

#[test]
fn tensors_start_as_the_hints_say() -> Result<()> {
    let params = params(1);
    let vb = params.var_builder();
    let get = |name: &str, hint| -> Result<Vec<f64>> {
        vb.get_with_hints((200, 10, 5), name, hint)?;
        Ok(values(&params, name))
    };
    assert_eq!(get("constant", Init::Const(0.25))?, vec![0.25; 10_000]);
    assert_eq!(get("default", Init::default())?, vec![0.0; 10_000]);
    let uniform = get("uniform", Init::Uniform { lo: -1.0, up: 3.0 })?;
    assert!(uniform.iter().all(|v| (-1.0..=3.0).contains(v)));
    assert!((mean(&uniform) - 1.0).abs() < 0.05 && (deviation(&uniform) - 4.0 / 12f64.sqrt()).abs() < 0.05);
    let normal = get("normal", Init::Randn { mean: 2.0, stdev: 0.5 })?;
    assert!((mean(&normal) - 2.0).abs() < 0.02 && (deviation(&normal) - 0.5).abs() < 0.02);
    // √2 / √fan_in, with a fan-in of 10 · 5.
    for hint in [DEFAULT_KAIMING_NORMAL, DEFAULT_KAIMING_UNIFORM] {
        let kaiming = get(&format!("{hint:?}"), hint)?;
        assert!(mean(&kaiming).abs() < 0.01 && (deviation(&kaiming) - 0.2).abs() < 0.005, "{hint:?}");
    }
    let upside_down = Init::Uniform { lo: 1.0, up: 0.0 };
    assert!(message(vb.get_with_hints(3, "u", upside_down)).contains("parameter `u`"));
    Ok(())
}

#[test]
fn tensors_are_made_once_and_found_again() -> Result<()> {
    let params = params(1);
    let vb = params.var_builder().pp("a");
    assert!(!vb.contains_tensor("w"));
    assert!(message(vb.get_unchecked("w")).contains("a.w"));
    let made = vb.get((2, 3), "w")?;
    assert!(vb.contains_tensor("w") && !params.var_builder().contains_tensor("w"));
    assert_eq!(vb.get_unchecked("w")?.id(), made.id());
    assert_eq!(params.root().pp("a").weight("w", (2, 3), colormamba_layers::Init::Constant(1.0))?.id(), made.id());
    assert!(message(vb.get((3, 2), "w")).contains("a.w"));
    Ok(())
}

#[test]
fn a_frozen_scope_hands_out_constants() -> Result<()> {
    let params = params(1);
    let trained = candle_nn::linear(4, 3, params.var_builder())?;
    let frozen = candle_nn::linear(4, 3, params.root().frozen().var_builder())?;
    assert!(trained.weight().track_op() && !frozen.weight().track_op());
    // It shares its memory.
    params.fill(|_, shape| Tensor::ones(shape, DType::F64, &device()))?;
    assert_close("weight", frozen.weight(), &Tensor::ones((3, 4), DType::F64, &device())?, 0.0)
}

#[test]
fn a_builder_of_another_type_hands_out_casts_with_a_gradient() -> Result<()> {
    let params = params(1);
    let weight = params.var_builder().to_dtype(DType::F32).get_with_hints(3, "w", Init::Const(1.0))?;
    assert_eq!((weight.dtype(), params.trainable()[0].1.dtype()), (DType::F32, DType::F64));
    let grads = (weight * 2.0)?.sum_all()?.backward()?;
    assert_eq!(grads.get(&params.trainable()[0].1).unwrap().to_vec1::<f64>()?, [2.0; 3]);
    Ok(())
}

#[test]
fn running_statistics_are_buffers_that_move() -> Result<()> {
    let params = params(1);
    let norm = candle_nn::batch_norm(3, 1e-5, params.var_builder().pp("norm"))?;
    let names: Vec<_> = params.trainable().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["norm.bias", "norm.weight"]);
    let x = noise_tensor("x", (4, 3, 5, 5))?.to_dtype(DType::F64)?;
    norm.forward_t(&x, true)?;
    let want = (x.transpose(0, 1)?.flatten_from(1)?.mean(1)? * norm.momentum())?;
    assert_close("mean", &params.tensors()["norm.running_mean"], &want, 1e-12)
}

/// Convolution, batch norm, ReLU, convolution.
fn model(vb: VarBuilder) -> Result<candle_nn::FuncT<'static>> {
    let config = candle_nn::Conv2dConfig { padding: 1, ..Default::default() };
    let first = candle_nn::conv2d(2, 4, 3, config, vb.pp("first"))?;
    let norm = candle_nn::batch_norm(4, 1e-5, vb.pp("norm"))?;
    let last = candle_nn::conv2d(4, 1, 3, config, vb.pp("last"))?;
    Ok(candle_nn::func_t(move |x, train| x.apply(&first)?.apply_t(&norm, train)?.relu()?.apply(&last)))
}

#[test]
fn adam_trains_a_model_of_candle_nn_between_our_operations() -> Result<()> {
    let params = params(1);
    let model = model(params.var_builder())?;
    let mut adam = Adam::new(&params, AdamConfig::default())?;
    let x = noise_tensor("x", (2, 2, 8, 8))?.to_dtype(DType::F64)?;
    let target = x.narrow(1, 0, 1)?.contiguous()?;
    let mut step = || -> Result<f64> {
        let y = in_nodes(&[&Node::from(&x)], |x| model.forward_t(&x[0], true))?;
        let difference = (y.value() - &target)?;
        let grad = (&difference * (2.0 / difference.elem_count() as f64))?;
        adam.step(&y.backward(&grad)?, 1e-2)?;
        difference.sqr()?.mean_all()?.to_scalar()
    };
    let losses = (0..60).map(|_| step()).collect::<Result<Vec<_>>>()?;
    assert!(losses[59] < 0.3 * losses[0], "{losses:?}");
    Ok(())
}

/// Output and gradients, by the input and by all parameters, of a layer in candle's graph as in ours.
fn assert_same_in_candle(
    what: &str,
    params: &Params,
    x: Tensor,
    ours: impl Fn(&Node) -> Result<Node>,
    candles: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<()> {
    let x = Var::from_tensor(&x.to_dtype(DType::F64)?)?;
    let want = ours(&tanh(&x)?)?;
    let got = candles(&x.tanh()?)?;
    assert_close(what, &got, want.value(), 1e-12)?;
    let wants = gradients(what, want)?;
    let gots = (&got * cotangent(what, &got)?)?.sum_all()?.backward()?;
    let mut variables = params.trainable();
    variables.push(("x".into(), x));
    for (name, var) in &variables {
        let (got, want) = (gots.get(var).expect(name), wants.get(var).expect(name));
        assert_close(&format!("{what}: {name}"), got, want, 1e-12)?;
    }
    Ok(())
}

#[test]
fn layers_in_candles_graph_have_the_gradients_that_they_have_in_ours() -> Result<()> {
    let (image, tokens) = (noise_tensor("image", (2, 3, 6, 5))?, noise_tensor("tokens", (2, 4, 3))?);
    let p = params(1);
    let layer = Linear::new(&p.root(), 3, 5, true)?;
    assert_same_in_candle("linear", &p, tokens.clone(), |x| layer.forward(x), |x| x.apply(&layer))?;
    let p = params(1);
    let layer = LayerNorm::new(&p.root(), 3)?;
    assert_same_in_candle("layer norm", &p, tokens, |x| layer.forward(x), |x| x.apply(&layer))?;
    let p = params(1);
    let layer = Conv2d::same3x3(&p.root(), 3, 4)?;
    assert_same_in_candle("conv2d", &p, image.clone(), |x| layer.forward(x), |x| x.apply(&layer))?;
    let p = params(1);
    let layer = ConvTranspose2d::doubling(&p.root(), 3, 4)?;
    assert_same_in_candle("conv_transpose2d", &p, image.clone(), |x| layer.forward(x), |x| x.apply(&layer))?;
    let p = params(1);
    let layer = SpectralConv2d::new(&p.root(), 3, 4, 3, colormamba_ops::Conv2dConfig { stride: 1, padding: 1 })?;
    let (ours, candles) = (|x: &Node| layer.forward(x, false), |x: &Tensor| x.apply_t(&layer, false));
    assert_same_in_candle("spectral norm", &p, image.clone(), ours, candles)?;
    let p = params(1);
    let layer = BatchNorm2d::new(&p.root(), 3)?;
    for train in [true, false] {
        let (ours, candles) = (|x: &Node| layer.forward(x, train), |x: &Tensor| x.apply_t(&layer, train));
        assert_same_in_candle("batch norm", &p, image.clone(), ours, candles)?;
    }
    Ok(())
}
