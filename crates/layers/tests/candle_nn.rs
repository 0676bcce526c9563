//! Which of candle-nn's layers have a gradient, and the right one, as of version 0.11: what a model that is trained here may
//! be built of. A test that fails after an update of candle says what has changed.

use candle_core::{D, DType, Module, ModuleT, Result, Tensor, Var};
use candle_nn::{Activation, BatchNorm, Conv1dConfig, Conv2dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig, RNN};
use candle_nn::{loss, ops, rotary_emb};
use colormamba_layers::Params;
use colormamba_ops::Node;
use colormamba_testkit::{assert_gradients, device, noise_tensor};

/// Compares gradients by `inputs`, by name and shape, with finite differences in f64.
fn check(what: &str, inputs: &[(&str, &[usize])], f: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<()> {
    let inputs = inputs.iter().map(|(name, shape)| noise_tensor(name, *shape)).collect::<Result<Vec<_>>>()?;
    println!("{what}");
    assert_gradients(what, &inputs, 1e-6, |a: &[Tensor]| Ok(Node::from(&f(a)?)))
}

#[test]
fn convolutions_have_their_gradients() -> Result<()> {
    for (stride, padding, dilation, groups) in [(1, 1, 1, 1), (2, 1, 1, 1), (2, 0, 1, 2), (1, 2, 2, 1), (3, 1, 1, 4)] {
        let what = format!("stride {stride}, padding {padding}, dilation {dilation}, groups {groups}");
        let config = Conv2dConfig { stride, padding, dilation, groups, cudnn_fwd_algo: None };
        let inputs: [(&str, &[usize]); 3] = [("x", &[2, 4, 9, 9]), ("w", &[4, 4 / groups, 3, 3]), ("b", &[4])];
        check(&format!("conv2d, {what}"), &inputs, |a| {
            candle_nn::Conv2d::new(a[1].clone(), Some(a[2].clone()), config).forward(&a[0])
        })?;
    }
    Ok(())
}

/// Backward takes what is left over at the right edge for what is left over below.
#[test]
fn a_strided_convolution_needs_sides_that_leave_the_same_rest() -> Result<()> {
    let config = Conv2dConfig { stride: 2, padding: 1, ..Default::default() };
    let w = noise_tensor("w", (4, 4, 3, 3))?;
    let backward = |height: usize, width: usize| {
        let x = Var::from_tensor(&noise_tensor("x", (1, 4, height, width))?)?;
        candle_nn::Conv2d::new(w.clone(), None, config).forward(&x)?.sum_all()?.backward()
    };
    assert!(backward(9, 7).is_ok());
    assert!(backward(9, 8).is_err(), "sides of any length have a gradient now: check it");
    Ok(())
}

#[test]
fn transposed_convolutions_have_their_gradients() -> Result<()> {
    for (stride, padding, output_padding, dilation) in [(1, 1, 0, 1), (2, 1, 0, 1), (2, 1, 1, 1), (1, 0, 0, 2)] {
        let what = format!("stride {stride}, padding {padding}, {output_padding}, dilation {dilation}");
        let config = ConvTranspose2dConfig { stride, padding, output_padding, dilation };
        let inputs: [(&str, &[usize]); 3] = [("x", &[2, 3, 5, 4]), ("w", &[3, 4, 3, 3]), ("b", &[4])];
        check(&format!("conv_transpose2d, {what}"), &inputs, |a| {
            candle_nn::ConvTranspose2d::new(a[1].clone(), Some(a[2].clone()), config).forward(&a[0])
        })?;
    }
    Ok(())
}

/// A convolution of one dimension as one of images that are a pixel high, whose gradients are right.
fn as_image(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let config = Conv2dConfig { padding: 1, ..Default::default() };
    // The kernel's middle row meets the pixels, the others the padding.
    let w = w.unsqueeze(2)?.pad_with_zeros(2, 1, 1)?;
    candle_nn::Conv2d::new(w, None, config).forward(&x.unsqueeze(2)?)?.squeeze(2)
}

/// `Conv1d` learns in a wrong direction, and its transpose not at all.
#[test]
fn convolutions_of_one_dimension_have_no_right_gradient() -> Result<()> {
    let inputs: [(&str, &[usize]); 2] = [("x", &[2, 4, 9]), ("w", &[4, 4, 3])];
    check("conv1d as conv2d", &inputs, |a| as_image(&a[0], &a[1]))?;
    let x = noise_tensor("x", (2, 4, 9))?.to_dtype(DType::F64)?;
    let w = Var::from_tensor(&noise_tensor("w", (4, 4, 3))?.to_dtype(DType::F64)?)?;
    let config = Conv1dConfig { padding: 1, ..Default::default() };
    let one = candle_nn::Conv1d::new(w.as_tensor().clone(), None, config).forward(&x)?;
    let image = as_image(&x, &w)?;
    let gradient = |y: &Tensor| -> Result<Tensor> {
        let grads = (y * noise_tensor("cotangent", y.shape())?.to_dtype(DType::F64)?)?.sum_all()?.backward()?;
        grads.get(&w).cloned().ok_or_else(|| candle_core::Error::Msg("no gradient".into()))
    };
    let largest = |t: Tensor| t.abs()?.max_all()?.to_scalar::<f64>();
    assert!(largest((&one - &image)?)? < 1e-12, "the results are the same");
    let (ours, theirs) = (gradient(&image)?, gradient(&one)?);
    assert!(largest((&ours - theirs)?)? > 0.1 * largest(ours)?, "Conv1d's gradient is right now: let models use it");

    let w = Var::from_tensor(&noise_tensor("w", (4, 4, 3))?.to_dtype(DType::F64)?)?;
    let config = ConvTranspose1dConfig::default();
    let y = candle_nn::ConvTranspose1d::new(w.as_tensor().clone(), None, config).forward(&x)?;
    assert!(y.sum_all()?.backward().is_err(), "a transposed Conv1d has a gradient now: check it");
    Ok(())
}

#[test]
fn linear_and_embedding_have_their_gradients() -> Result<()> {
    for x in [&[3, 5][..], &[2, 3, 5], &[2, 2, 3, 5]] {
        check("linear", &[("x", x), ("w", &[4, 5]), ("b", &[4])], |a| {
            candle_nn::Linear::new(a[1].clone(), Some(a[2].clone())).forward(&a[0])
        })?;
    }
    let tokens = Tensor::new(&[[0u32, 3, 1], [3, 3, 2]], &device())?;
    check("embedding", &[("e", &[4, 5])], |a| candle_nn::Embedding::new(a[0].clone(), 5).forward(&tokens))
}

#[test]
fn norms_that_have_their_gradients() -> Result<()> {
    let image: [(&str, &[usize]); 3] = [("x", &[2, 4, 3, 5]), ("w", &[4]), ("b", &[4])];
    let zeros = || Tensor::zeros(4, DType::F64, &device());
    for train in [true, false] {
        check("batch norm", &image, |a| {
            let (mean, var) = (zeros()?, (zeros()? + 2.0)?);
            BatchNorm::new(4, mean, var, a[1].clone(), a[2].clone(), 1e-5)?.forward_t(&a[0], train)
        })?;
    }
    check("group norm", &image, |a| candle_nn::GroupNorm::new(a[1].clone(), a[2].clone(), 4, 2, 1e-5)?.forward(&a[0]))?;
    let tokens: [(&str, &[usize]); 3] = [("x", &[2, 3, 6]), ("w", &[6]), ("b", &[6])];
    check("layer norm without a bias", &tokens[..2], |a| {
        candle_nn::LayerNorm::new_no_bias(a[1].clone(), 1e-5).forward(&a[0])
    })?;
    check("layer norm in steps", &tokens, |a| ops::layer_norm_slow(&a[0], &a[1], &a[2], 1e-5))?;
    check("RMS norm in steps", &tokens[..2], |a| ops::rms_norm_slow(&a[0], &a[1], 1e-5))?;
    check("RMS norm, differentiable", &tokens[..2], |a| candle_nn::RmsNorm::new(a[1].clone(), 1e-5).forward_diff(&a[0]))
}

#[test]
fn activations_have_their_gradients() -> Result<()> {
    use Activation::*;
    for activation in [
        Gelu,
        NewGelu,
        GeluPytorchTanh,
        Relu,
        Relu2,
        Relu6,
        Silu,
        Sigmoid,
        HardSigmoid,
        Swiglu,
        Swish,
        Mish,
        HardSwish,
        Elu(0.7),
        LeakyRelu(0.2),
    ] {
        check(&format!("{activation:?}"), &[("x", &[3, 6])], |a| a[0].affine(5.0, 0.1)?.apply(&activation))?;
    }
    check("PReLU", &[("x", &[3, 4, 2]), ("w", &[4])], |a| candle_nn::PReLU::new(a[1].clone(), false).forward(&a[0]))?;
    check("softmax", &[("x", &[3, 6])], |a| ops::softmax(&a[0], D::Minus1))?;
    check("log softmax", &[("x", &[3, 6])], |a| ops::log_softmax(&a[0], 0))
}

#[test]
fn recurrent_networks_have_their_gradients() -> Result<()> {
    let x: [(&str, &[usize]); 1] = [("x", &[2, 3, 4])];
    let params = || Params::new(1, DType::F64, &device());
    let lstm = candle_nn::lstm(4, 3, Default::default(), params().var_builder())?;
    check("LSTM", &x, |a| lstm.states_to_tensor(&lstm.seq(&a[0])?))?;
    let gru = candle_nn::gru(4, 3, Default::default(), params().var_builder())?;
    check("GRU", &x, |a| gru.states_to_tensor(&gru.seq(&a[0])?))
}

#[test]
fn rearrangements_have_their_gradients() -> Result<()> {
    let image: [(&str, &[usize]); 1] = [("x", &[2, 4, 6, 4])];
    check("pixel shuffle", &image, |a| ops::pixel_shuffle(&a[0], 2))?;
    check("pixel unshuffle", &image, |a| ops::pixel_unshuffle(&a[0], 2))?;
    check("replication pad", &image, |a| ops::replication_pad2d(&a[0], 1))?;
    let angles = noise_tensor("angles", (6, 2))?.to_dtype(DType::F64)?;
    let (cos, sin) = (angles.cos()?, angles.sin()?);
    check("rotary embedding in steps", &image, |a| rotary_emb::rope_slow(&a[0], &cos, &sin))?;
    check("interleaved, in steps", &image, |a| rotary_emb::rope_i_slow(&a[0], &cos, &sin))
}

#[test]
fn losses_have_their_gradients() -> Result<()> {
    let x: [(&str, &[usize]); 1] = [("x", &[3, 5])];
    let target = noise_tensor("t", (3, 5))?.to_dtype(DType::F64)?;
    let classes = Tensor::new(&[1u32, 4, 0], &device())?;
    check("mean squared error", &x, |a| loss::mse(&a[0], &target))?;
    check("Huber", &x, |a| loss::huber(&a[0], &target, 0.5))?;
    check("cross-entropy", &x, |a| loss::cross_entropy(&a[0], &classes))?;
    check("binary cross-entropy", &x, |a| loss::binary_cross_entropy_with_logit(&a[0], &target.sqr()?))
}

/// Whether candle's graph goes on behind `f` of variables of these shapes.
fn is_tracked(shapes: &[&[usize]], f: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<bool> {
    let variable = |shape: &&[usize]| Var::from_tensor(&noise_tensor("x", *shape)?).map(Var::into_inner);
    Ok(f(&shapes.iter().map(variable).collect::<Result<Vec<_>>>()?)?.track_op())
}

/// They cut the graph, and say nothing: whatever is before them in a model does not learn. `softmax`, `LayerNorm` and `Linear`
/// of this workspace have gradients.
#[test]
fn operations_without_a_gradient() -> Result<()> {
    let angles = noise_tensor("angles", (6, 2))?;
    let (cos, sin) = (angles.cos()?, angles.sin()?);
    let heads: &[&[usize]] = &[&[2, 4, 6, 4]];
    let norm: &[&[usize]] = &[&[2, 3, 6], &[6], &[6]];
    for (what, tracked) in [
        ("softmax_last_dim", is_tracked(&[&[3, 6]], |a| ops::softmax_last_dim(&a[0]))?),
        ("layer_norm", is_tracked(norm, |a| ops::layer_norm(&a[0], &a[1], &a[2], 1e-5))?),
        (
            "LayerNorm with a bias",
            is_tracked(norm, |a| candle_nn::LayerNorm::new(a[1].clone(), a[2].clone(), 1e-5).forward(&a[0]))?,
        ),
        ("rms_norm", is_tracked(norm, |a| ops::rms_norm(&a[0], &a[1], 1e-5))?),
        ("RmsNorm", is_tracked(norm, |a| candle_nn::RmsNorm::new(a[1].clone(), 1e-5).forward(&a[0]))?),
        ("rope", is_tracked(heads, |a| rotary_emb::rope(&a[0], &cos, &sin))?),
        ("rope_i", is_tracked(heads, |a| rotary_emb::rope_i(&a[0], &cos, &sin))?),
        ("rope_thd", is_tracked(&[&[2, 6, 4, 4]], |a| rotary_emb::rope_thd(&a[0], &cos, &sin))?),
    ] {
        assert!(!tracked, "{what} has a gradient now: check it, and let models use it");
    }
    Ok(())
}

/// With its input in another layout a layer norm takes the way in steps, which has its gradient: the same layer learns or does
/// not, by how its input lies in memory.
#[test]
fn a_layer_norm_of_a_transposed_input_has_a_gradient() -> Result<()> {
    check("layer norm, transposed", &[("x", &[2, 6, 3]), ("w", &[6]), ("b", &[6])], |a| {
        candle_nn::LayerNorm::new(a[1].clone(), a[2].clone(), 1e-5).forward(&a[0].transpose(1, 2)?)
    })
}
