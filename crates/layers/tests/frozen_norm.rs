//! Convolutions with a frozen batch norm against the layers one after the other.

use candle_core::{DType, Result, Tensor, Var};
use colormamba_layers::{Conv2d, ConvFrozenNorm, Params};
use colormamba_ops::{Activation, Conv2dConfig, Node, batch_norm_eval, conv2d, depthwise_conv2d};
use colormamba_testkit::{assert_close, device, formula, gradients, noise_tensor};

const EPS: f64 = 1e-3;
const CONFIG: Conv2dConfig = Conv2dConfig { stride: 2, padding: 1 };
const NAMES: [&str; 5] = ["bn.bias", "bn.running_mean", "bn.running_var", "bn.weight", "conv.weight"];

/// The layer with five channels and weights by formula, scaled so that a ReLU6 reaches 6.
fn layer(is_depthwise: bool, activation: Activation, dtype: DType) -> Result<(Params, ConvFrozenNorm)> {
    let params = Params::new(0, dtype, &device());
    let layer = match is_depthwise {
        true => ConvFrozenNorm::depthwise(&params.root(), "conv", "bn", 5, 3, 2, activation)?,
        false => ConvFrozenNorm::dense(&params.root(), "conv", "bn", 5, 5, 3, CONFIG, activation)?,
    };
    params.fill(|name, shape| match name {
        "conv.weight" => formula(name, shape)? * 8.0,
        _ => formula(name, shape),
    })?;
    Ok((params, layer))
}

/// What the layer is short for, without its activation.
fn one_by_one(params: &Params, is_depthwise: bool, x: &Tensor) -> Result<(Node, Vec<(String, Var)>)> {
    let vars = params.trainable();
    let [shift, scale, weight] = [0, 1, 2].map(|i| vars[i].1.as_tensor());
    let tensors = params.tensors();
    let y = match is_depthwise {
        true => depthwise_conv2d(x, weight, None, 2, Activation::Identity)?,
        false => conv2d(x, weight, None, CONFIG)?,
    };
    Ok((batch_norm_eval(y, &tensors["bn.running_mean"], &tensors["bn.running_var"], scale, shift, EPS)?, vars))
}

#[test]
fn equals_convolution_norm_and_activation() -> Result<()> {
    for is_depthwise in [false, true] {
        for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 2e-6)] {
            let (params, layer) = layer(is_depthwise, Activation::Relu6, dtype)?;
            assert!(params.tensors().keys().eq(NAMES));
            let x = Var::from_tensor(&noise_tensor("x", (2, 5, 8, 7))?.to_dtype(dtype)?)?;
            let got = layer.forward(&x)?;
            let (plain, vars) = one_by_one(&params, is_depthwise, &x)?;
            let want = plain.value().clamp(0.0, 6.0)?;
            assert_close("value", &got, &want, tolerance)?;
            let inside = want.gt(0.0)?.mul(&want.lt(6.0)?)?.to_dtype(dtype)?;
            assert!(want.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()? == 6.0);
            let cotangent = noise_tensor("grad", want.shape())?.to_dtype(dtype)?;
            let (got, want) = (got.backward(&cotangent)?, plain.backward(&(cotangent * inside)?)?);
            for (name, var) in vars.into_iter().chain([("x".to_string(), x)]) {
                assert_close(&name, got.get(&var).expect(&name), want.get(&var).unwrap(), tolerance)?;
            }
        }
    }
    Ok(())
}

#[test]
fn statistics_are_saved_and_never_move() -> Result<()> {
    let (params, layer) = layer(true, Activation::Relu6, DType::F32)?;
    let before = params.tensors()["bn.running_mean"].to_vec1::<f32>()?;
    gradients("out", layer.forward(&noise_tensor("x", (2, 5, 8, 7))?)?)?;
    assert_eq!(params.tensors()["bn.running_mean"].to_vec1::<f32>()?, before);
    let names: Vec<String> = params.trainable().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["bn.bias", "bn.weight", "conv.weight"]);
    Ok(())
}

#[test]
fn frozen_weights_take_no_gradient() -> Result<()> {
    let params = Params::new(0, DType::F32, &device());
    let layer = ConvFrozenNorm::depthwise(&params.root().frozen(), "conv", "bn", 3, 5, 1, Activation::Identity)?;
    let x = noise_tensor("x", (1, 3, 4, 4))?;
    assert!(!layer.forward(&x)?.is_tracked());
    let x = Var::from_tensor(&x)?;
    let grads = gradients("out", layer.forward(&x)?)?;
    assert!(grads.get(&x).is_some() && grads.get_ids().count() == 1);
    Ok(())
}

/// Before a norm with a shift of its own.
#[test]
fn a_convolution_may_have_no_bias() -> Result<()> {
    let params = Params::new(0, DType::F32, &device());
    let layer = Conv2d::without_bias(&params.root(), 3, 4, 3, CONFIG)?;
    assert!(params.tensors().keys().eq(["weight"]));
    let x = noise_tensor("x", (1, 3, 6, 6))?;
    let want = conv2d(&x, &params.tensors()["weight"], None, CONFIG)?;
    assert_close("without bias", &layer.forward(&x)?, want.value(), 0.0)?;
    assert_close("detached", &layer.detached().forward(&x)?, want.value(), 0.0)
}
