//! Golden files and relative errors.

use crate::device;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use colormamba_ops::Node;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Tensors by name, in order.
pub type Map = BTreeMap<String, Tensor>;

/// A reference gradient this small beside the largest of its fixture is the rounding of a zero.
const ROUNDING: f64 = 1e-5;

/// `tests/fixtures`, or the folder in `COLORMAMBA_FIXTURES`, for test programs that run on another machine.
pub fn fixtures_dir() -> PathBuf {
    let folder = std::env::var_os("COLORMAMBA_FIXTURES").map(PathBuf::from);
    folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures"))
}

/// One golden file.
pub struct Fixture {
    /// The file's stem, which names its cotangents.
    pub name: String,
    /// What stands before a parameter's name in [`crate::formula`].
    pub prefix: String,
    /// Every tensor of the file.
    pub tensors: Map,
    /// What [`Fixture::check_block`] gives a block its inputs in.
    pub activations: DType,
}

/// Whether activations may be bf16 here: where there are kernels. Says so if not.
pub fn takes_bf16() -> Result<bool> {
    let takes = colormamba_cuda::applies(&Tensor::zeros(1, DType::BF16, &device())?);
    if !takes {
        println!("bf16: skipped, as there are no kernels here");
    }
    Ok(takes)
}

/// How far outputs and gradients may be off.
#[derive(Clone, Copy)]
pub struct Tolerance {
    /// Of outputs.
    pub outputs: f64,
    /// Of gradients.
    pub gradients: f64,
}

impl Tolerance {
    /// The same for both.
    pub const fn of_both(tolerance: f64) -> Self {
        Self { outputs: tolerance, gradients: tolerance }
    }
}

/// What activations blocks are tested with, and to which tolerance: f32, and bf16 where that is taken.
pub fn activations(f32: f64, bf16: Tolerance) -> Result<Vec<(DType, Tolerance)>> {
    let f32 = (DType::F32, Tolerance::of_both(f32));
    Ok([Some(f32), takes_bf16()?.then_some((DType::BF16, bf16))].into_iter().flatten().collect())
}

impl Fixture {
    /// Reads `tests/fixtures/NAME.safetensors`.
    pub fn load(name: &str) -> Result<Self> {
        let path = fixtures_dir().join(format!("{name}.safetensors"));
        let bytes = std::fs::read(&path).map_err(|e| candle_core::Error::from(e).with_path(&path))?;
        let tensors = candle_core::safetensors::load_buffer(&bytes, &device())?.into_iter().collect();
        Ok(Self { name: name.to_string(), prefix: header_prefix(&bytes), tensors, activations: DType::F32 })
    }

    /// The tensor of that name; a missing one is an error that names it.
    pub fn get(&self, key: &str) -> Result<&Tensor> {
        self.tensors.get(key).ok_or_else(|| candle_core::Error::Msg(format!("{}: no tensor {key}", self.name)))
    }

    /// All tensors under `prefix`, by the rest of their names.
    pub fn under(&self, prefix: &str) -> Map {
        let strip = |(k, v): (&String, &Tensor)| Some((k.strip_prefix(prefix)?.to_string(), v.clone()));
        self.tensors.iter().filter_map(strip).collect()
    }

    /// The gradients of `mean(out · noise("NAME.cotangent.N"))`, summed over the outputs: those that the file holds.
    pub fn gradients(&self, outputs: &[Node]) -> Result<GradStore> {
        let with_gradient = |(i, out): (usize, &Node)| {
            let grad = crate::cotangent(&format!("{}.cotangent.{i}", self.name), out.value())?;
            Ok((out.clone(), grad))
        };
        colormamba_ops::backward(outputs.iter().enumerate().map(with_gradient).collect::<Result<_>>()?)
    }
}

impl Fixture {
    /// The value that the weight or buffer `name` had: stored under `state.`, or made by formula.
    pub fn weight(&self, name: &str, shape: &Shape) -> Result<Tensor> {
        match self.tensors.get(&format!("state.{name}")) {
            Some(stored) => Ok(stored.clone()),
            None => crate::formula(&format!("{}{name}", self.prefix), shape),
        }
    }

    /// Runs a block on the inputs `in.*` and compares its outputs and all gradients with the golden ones; `params` are the
    /// block's trainable parameters, already filled.
    pub fn check_block(
        &self,
        params: &[(String, Var)],
        tolerance: Tolerance,
        forward: impl FnOnce(&BTreeMap<String, Node>) -> Result<Vec<Node>>,
    ) -> Result<()> {
        let inputs = self.under("in.").into_iter().map(|(k, v)| Ok((k, Var::from_tensor(&v)?)));
        let inputs = inputs.collect::<Result<BTreeMap<String, Var>>>()?;
        let nodes = inputs.iter().map(|(k, v)| Ok((k.clone(), Node::from(v).to_dtype(self.activations)?)));
        let outputs = forward(&nodes.collect::<Result<_>>()?)?;
        let outputs = outputs.iter().map(|out| out.to_dtype(DType::F32)).collect::<Result<Vec<_>>>()?;
        for (i, out) in outputs.iter().enumerate() {
            assert_close(&format!("{} out.{i}", self.name), out, self.get(&format!("out.{i}"))?, tolerance.outputs)?;
        }
        let grads = self.gradients(&outputs)?;
        let collect = |vars: &mut dyn Iterator<Item = (&String, &Var)>| -> Map {
            let grad = |(name, var): (&String, &Var)| {
                let grad = grads.get(var).unwrap_or_else(|| panic!("{}: {name} gets no gradient", self.name));
                (name.clone(), grad.clone())
            };
            vars.map(grad).collect()
        };
        let of_params = collect(&mut params.iter().map(|(k, v)| (k, v)));
        for (what, got) in [("grad.in.", collect(&mut inputs.iter())), ("grad.param.", of_params)] {
            let want = self.under(what);
            if !want.is_empty() {
                assert_maps_close(&format!("{} {what}", self.name), &got, &want, tolerance.gradients)?;
            }
        }
        Ok(())
    }

    /// Compares buffers with the golden ones after the forward, `after.*`.
    pub fn check_after(&self, tensors: &Map, tolerance: f64) -> Result<()> {
        assert_maps_close(&format!("{} after", self.name), tensors, &self.under("after."), tolerance)
    }
}

/// The `prefix` entry of a safetensors header. The files are ours and well-formed, so a text search serves.
fn header_prefix(bytes: &[u8]) -> String {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8_lossy(&bytes[8..8 + length]);
    let value = header.split_once("\"prefix\":").and_then(|(_, rest)| rest.split('"').nth(1));
    value.unwrap_or_default().to_string()
}

/// In f64 on the processor, wherever the tensors are.
fn wide(x: &Tensor) -> Result<Tensor> {
    x.to_device(&Device::Cpu)?.to_dtype(DType::F64)
}

fn norm(x: &Tensor) -> Result<f64> {
    wide(x)?.sqr()?.sum_all()?.to_scalar::<f64>().map(f64::sqrt)
}

fn distance(a: &Tensor, b: &Tensor) -> Result<f64> {
    norm(&(wide(a)? - wide(b)?)?)
}

/// A tensor, or a node for its value.
pub trait Value {
    /// The tensor.
    fn tensor(&self) -> &Tensor;
}

impl Value for Tensor {
    fn tensor(&self) -> &Tensor {
        self
    }
}

impl Value for Node {
    fn tensor(&self) -> &Tensor {
        self.value()
    }
}

/// `‖got − want‖ / ‖want‖` in f64.
pub fn relative_l2(got: &impl Value, want: &impl Value) -> Result<f64> {
    Ok(distance(got.tensor(), want.tensor())? / norm(want.tensor())?.max(1e-300))
}

/// Panics unless `got` has `want`'s shape and is within `tolerance` in relative L2 (a NaN is not).
pub fn assert_close(what: &str, got: &impl Value, want: &impl Value, tolerance: f64) -> Result<()> {
    assert_eq!(got.tensor().dims(), want.tensor().dims(), "{what}: shape");
    let error = relative_l2(got, want)?;
    println!("{what}: relative error {error:.2e}");
    assert!(error <= tolerance, "{what}: relative error {error:.2e} > {tolerance:.0e}");
    Ok(())
}

/// The relative error of each entry of `want`; entries that are the rounding of a zero are compared with the largest entry.
pub fn relative_l2_map(got: &Map, want: &Map) -> Result<BTreeMap<String, f64>> {
    let norms = want.iter().map(|(k, v)| Ok((k, norm(v)?))).collect::<Result<BTreeMap<_, _>>>()?;
    let largest = norms.values().copied().fold(0.0, f64::max);
    let error = |(name, want): (&String, &Tensor)| {
        let got = got.get(name).ok_or_else(|| candle_core::Error::Msg(format!("nothing to compare with {name}")))?;
        assert_eq!(got.dims(), want.dims(), "{name}: shape");
        let scale = if norms[name] > ROUNDING * largest { norms[name] } else { largest };
        Ok((name.clone(), distance(got, want)? / scale))
    };
    want.iter().map(error).collect()
}

/// [`relative_l2_map`], each within `tolerance`; panics with the worst.
pub fn assert_maps_close(what: &str, got: &Map, want: &Map, tolerance: f64) -> Result<()> {
    assert!(!want.is_empty(), "{what}: nothing to compare");
    let errors = relative_l2_map(got, want)?;
    let (worst, error) = errors.iter().max_by(|a, b| a.1.total_cmp(b.1)).expect("not empty");
    println!("{what}: {} tensors, worst {worst}: relative error {error:.2e}", errors.len());
    assert!(*error <= tolerance, "{what}: {worst}: relative error {error:.2e} > {tolerance:.0e}");
    Ok(())
}
