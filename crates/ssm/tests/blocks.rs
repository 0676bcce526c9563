//! Blocks against golden files.

use candle_core::{DType, Result, Var};
use colormamba_layers::{Params, Scope};
use colormamba_ops::{Node, tanh};
use colormamba_ssm::{AgentBlock, MambaStage, Ss2d, Vssb};
use colormamba_testkit::{
    Fixture, Tolerance, activations, assert_close, assert_gradients, cotangent, device, gradients, noise_tensor,
};

/// Errors seen are up to 1.3e-6.
const TOLERANCE: f64 = 3e-6;
/// Of activations in bf16, whose numbers have 8 bits. Errors seen are up to 9e-3 and 2.5e-2.
const BF16: Tolerance = Tolerance { outputs: 1.5e-2, gradients: 4e-2 };

type Forward = Box<dyn Fn(&Node) -> Result<Node>>;

/// Output, gradient of the input and gradients of all parameters of a block with the golden file's weights.
fn check(name: &str, build: impl Fn(&Scope) -> Result<Forward>) -> Result<()> {
    for (dtype, tolerance) in activations(TOLERANCE, BF16)? {
        let fixture = Fixture { activations: dtype, ..Fixture::load(name)? };
        let params = Params::new(0, DType::F32, &device());
        let forward = build(&params.root())?;
        params.fill(|key, shape| fixture.weight(key, shape))?;
        fixture.check_block(&params.trainable(), tolerance, |inputs| Ok(vec![forward(&inputs["x"])?]))?;
    }
    Ok(())
}

/// Runs a block over maps on the tokens `(B, L, C)` of a map of 12 x 9.
fn tokens(forward: impl Fn(&Node) -> Result<Node> + 'static) -> Forward {
    Box::new(move |x| {
        let &[batch, length, channels] = x.dims() else { panic!("tokens") };
        forward(&x.reshape((batch, 12, 9, channels))?)?.reshape((batch, length, channels))
    })
}

#[test]
fn ss2d() -> Result<()> {
    check("ss2d", |scope| {
        let block = Ss2d::new(scope, 8)?;
        Ok(Box::new(move |x| block.forward(x)))
    })
}

#[test]
fn agent_block() -> Result<()> {
    check("agent_block", |scope| {
        let block = AgentBlock::new(scope, 16)?;
        Ok(tokens(move |x| block.forward(x)))
    })
}

#[test]
fn vssb() -> Result<()> {
    check("vssb", |scope| {
        let block = Vssb::new(scope, 8)?;
        Ok(tokens(move |x| block.forward(x)))
    })
}

#[test]
fn mamba_stage() -> Result<()> {
    check("mamba_stage", |scope| {
        let block = MambaStage::new(scope, 16)?;
        Ok(Box::new(move |x| block.forward(x)))
    })
}

#[test]
fn a_stage_takes_any_size_layout_and_batch() -> Result<()> {
    let params = Params::new(3, DType::F64, &device());
    let stage = MambaStage::new(&params.root(), 8)?;
    for (height, width) in [(1, 1), (1, 11), (9, 2), (7, 13)] {
        let x = noise_tensor("stage", (3, 8, width, height))?.to_dtype(DType::F64)?.transpose(2, 3)?;
        let all = stage.forward(&Node::from(&x))?;
        let single = stage.forward(&Node::from(&x.narrow(0, 1, 1)?.contiguous()?))?;
        assert_close(&format!("{height}x{width}"), &single, &all.value().narrow(0, 1, 1)?.contiguous()?, 1e-14)?;
    }
    Ok(())
}

#[test]
fn a_stage_has_the_gradient_of_its_output() -> Result<()> {
    let params = Params::new(4, DType::F64, &device());
    let stage = MambaStage::new(&params.root(), 8)?;
    assert_gradients("stage", &[noise_tensor("x", (2, 8, 5, 3))?], 1e-7, |x| stage.forward(&Node::from(&x[0])))
}

#[test]
fn channels_that_do_not_split_into_heads_are_an_error() {
    let params = Params::new(0, DType::F32, &device());
    let message = AgentBlock::new(&params.root(), 12).err().unwrap().to_string();
    assert!(message.contains("12 channels cannot be split into 8 heads"), "{message}");
}

#[test]
fn names_and_shapes_are_the_published_ones() -> Result<()> {
    let text = std::fs::read_to_string(colormamba_testkit::fixtures_dir().join("state_dict_w64.json")).unwrap();
    let published: std::collections::BTreeMap<String, Vec<usize>> = serde_json::from_str(&text).unwrap();
    let under = |(k, v): (&String, &Vec<usize>)| Some((k.strip_prefix("netG_A.coder_2.2.")?.to_string(), v.clone()));
    let want: Vec<_> = published.iter().filter_map(under).collect();
    let params = Params::new(0, DType::F32, &device());
    MambaStage::new(&params.root(), 128)?;
    let got: Vec<_> = params.tensors().iter().map(|(k, v)| (k.clone(), v.dims().to_vec())).collect();
    assert_eq!(got, want);
    Ok(())
}

/// A stage between operations of candle's: the same gradients as in our graph, by the input and by every parameter.
#[test]
fn a_stage_trains_inside_candles_graph() -> Result<()> {
    let params = Params::new(1, DType::F64, &device());
    let stage = MambaStage::new(&params.root(), 8)?;
    let x = Var::from_tensor(&noise_tensor("x", (2, 8, 5, 6))?.to_dtype(DType::F64)?)?;
    let want = stage.forward(&tanh(&x)?)?;
    let got = x.tanh()?.apply(&stage)?;
    assert_close("output", &got, want.value(), 1e-12)?;
    let grads = (&got * cotangent("stage", &got)?)?.sum_all()?.backward()?;
    let wants = gradients("stage", want)?;
    for (name, var) in params.trainable().into_iter().chain([("x".to_string(), x)]) {
        let (got, want) = (grads.get(&var).expect(&name), wants.get(&var).expect(&name));
        assert_close(&name, got, want, 1e-12)?;
    }
    Ok(())
}
