//! Parameters and buffers by name.

mod var_builder;

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal, Uniform};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a tensor starts.
#[derive(Clone)]
pub enum Init {
    /// Every element the same.
    Constant(f64),
    /// Uniform in `[-bound, bound]`.
    Uniform {
        /// The largest magnitude.
        bound: f64,
    },
    /// Uniform in `[low, high]`.
    Between {
        /// The smallest value.
        low: f64,
        /// The largest value.
        high: f64,
    },
    /// Normal.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        std: f64,
    },
    /// Normal with mean 0, cut off at two standard deviations.
    TruncatedNormal {
        /// Standard deviation before the cut.
        std: f64,
    },
    /// A random direction of length 1 (start of a power iteration).
    UnitNormal,
    /// A function of the generator and the element count.
    With(fn(&mut ChaCha8Rng, &[usize]) -> Vec<f64>),
}

impl Init {
    /// PyTorch's default for weights and biases of linear and convolution layers: kaiming-uniform with a = √5, which is
    /// uniform in ±1/√fan_in.
    pub fn fan_in(fan_in: usize) -> Self {
        Self::Uniform { bound: 1.0 / (fan_in as f64).sqrt() }
    }

    fn values(&self, rng: &mut ChaCha8Rng, dims: &[usize]) -> Vec<f64> {
        let n = dims.iter().product();
        let normal = |rng: &mut ChaCha8Rng| -> f64 { StandardNormal.sample(rng) };
        match self {
            Self::Constant(value) => vec![*value; n],
            Self::Uniform { bound } => Self::Between { low: -bound, high: *bound }.values(rng, dims),
            Self::Between { low, high } => match Uniform::new_inclusive(low, high) {
                Ok(uniform) => (0..n).map(|_| uniform.sample(rng)).collect(),
                Err(_) => vec![0.0; n],
            },
            Self::Normal { mean, std } => (0..n).map(|_| mean + std * normal(rng)).collect(),
            Self::TruncatedNormal { std } => {
                let mut draw = || loop {
                    let z = normal(rng);
                    if z.abs() <= 2.0 {
                        return z * std;
                    }
                };
                (0..n).map(|_| draw()).collect()
            }
            Self::UnitNormal => {
                let z: Vec<f64> = (0..n).map(|_| normal(rng)).collect();
                let norm = z.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-12);
                z.iter().map(|v| v / norm).collect()
            }
            Self::With(f) => f(rng, dims),
        }
    }
}

/// What can be wrong with a set of tensors that is loaded into [`Params`].
#[derive(Debug, thiserror::Error)]
pub enum ParamsError {
    /// Names of the model that the given set lacks.
    #[error("{} of the model's tensors are missing, the first is `{}`", .0.len(), .0[0])]
    Missing(Vec<String>),
    /// Names of the given set that the model lacks.
    #[error("{} tensors do not belong to the model, the first is `{}`", .0.len(), .0[0])]
    Unknown(Vec<String>),
    /// A tensor of another shape.
    #[error("`{name}` has shape {got:?}, the model's has {want:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// The model's shape.
        want: Shape,
        /// The given shape.
        got: Shape,
    },
    /// Moving or copying a tensor failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

struct Entry {
    var: Var,
    trainable: bool,
}

struct Inner {
    entries: Mutex<BTreeMap<String, Entry>>,
    seed: u64,
    dtype: DType,
    device: Device,
}

/// All parameters and buffers of one network, ordered by name.
///
/// A tensor's start value depends on the seed and its name alone, so neither the order of construction nor new layers
/// elsewhere change it. Cloning is cheap and shares the tensors.
#[derive(Clone)]
pub struct Params(Arc<Inner>);

impl Params {
    /// An empty set; layers fill it as they are built from [`Params::root`].
    pub fn new(seed: u64, dtype: DType, device: &Device) -> Self {
        Self(Arc::new(Inner { entries: Mutex::new(BTreeMap::new()), seed, dtype, device: device.clone() }))
    }

    /// The scope without a prefix.
    pub fn root(&self) -> Scope {
        let freeze = Arc::from([]);
        Scope { params: self.clone(), path: String::new(), seed_path: String::new(), frozen: false, freeze }
    }

    /// A set of its own with the same tensors, names and seed: what moves here does not move there.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn duplicate(&self) -> Result<Self> {
        let Inner { seed, dtype, device, .. } = &*self.0;
        let copy = Self::new(*seed, *dtype, device);
        for (name, entry) in self.entries().iter() {
            let var = Var::from_tensor(&entry.var.as_tensor().copy()?)?;
            copy.entries().insert(name.clone(), Entry { var, trainable: entry.trainable });
        }
        Ok(copy)
    }

    /// Where the tensors live.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// Trainable parameters by name.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        let entries = self.entries();
        entries.iter().filter(|(_, e)| e.trainable).map(|(k, e)| (k.clone(), e.var.clone())).collect()
    }

    /// Number of trainable scalars.
    pub fn count(&self) -> usize {
        self.trainable().iter().map(|(_, v)| v.elem_count()).sum()
    }

    /// Parameters and buffers by name, detached; they share the storage of the live ones.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.entries().iter().map(|(k, e)| (k.clone(), e.var.as_tensor().detach())).collect()
    }

    /// Replaces every tensor; on an error nothing is changed.
    ///
    /// # Errors
    /// [`ParamsError`] names what is missing, unknown or of another shape.
    pub fn load(&self, tensors: &BTreeMap<String, Tensor>) -> std::result::Result<(), ParamsError> {
        let entries = self.entries();
        let names: BTreeSet<&String> = entries.keys().collect();
        let given: BTreeSet<&String> = tensors.keys().collect();
        let missing: Vec<String> = names.difference(&given).map(|s| s.to_string()).collect();
        if !missing.is_empty() {
            return Err(ParamsError::Missing(missing));
        }
        let unknown: Vec<String> = given.difference(&names).map(|s| s.to_string()).collect();
        if !unknown.is_empty() {
            return Err(ParamsError::Unknown(unknown));
        }
        for (name, entry) in entries.iter() {
            let (want, got) = (entry.var.shape(), tensors[name].shape());
            if want != got {
                return Err(ParamsError::Shape { name: name.clone(), want: want.clone(), got: got.clone() });
            }
        }
        for (name, entry) in entries.iter() {
            let value = tensors[name].to_dtype(entry.var.dtype())?.to_device(&self.0.device)?;
            entry.var.set(&value.force_contiguous()?)?;
        }
        Ok(())
    }

    /// Sets every tensor to `f(name, shape)` (fixtures).
    ///
    /// # Errors
    /// Those of `f`, and a result of another shape.
    pub fn fill(&self, mut f: impl FnMut(&str, &Shape) -> Result<Tensor>) -> Result<()> {
        for (name, entry) in self.entries().iter() {
            let value = f(name, entry.var.shape())?.to_dtype(entry.var.dtype())?.to_device(&self.0.device)?;
            entry.var.set(&value.force_contiguous()?)?;
        }
        Ok(())
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // Entries are only ever added whole, so a panic elsewhere leaves nothing half-done.
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get_or_init(&self, name: &str, seed_name: &str, shape: Shape, init: &Init, kind: Kind) -> Result<Var> {
        let mut entries = self.entries();
        if let Some(entry) = entries.get(name) {
            if entry.var.shape() != &shape {
                let message = format!("parameter `{name}` exists with shape {:?}, not {shape:?}", entry.var.shape());
                return Err(candle_core::Error::Msg(message));
            }
            return Ok(entry.var.clone());
        }
        let mut rng = ChaCha8Rng::seed_from_u64(self.0.seed ^ fnv1a64(seed_name));
        let values = init.values(&mut rng, shape.dims());
        let dtype = if kind == Kind::Counter { DType::I64 } else { self.0.dtype };
        let tensor = Tensor::from_vec(values, &shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(&self.0.device)?;
        let var = Var::from_tensor(&tensor)?;
        entries.insert(name.to_string(), Entry { var: var.clone(), trainable: kind == Kind::Weight });
        Ok(var)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Weight,
    Buffer,
    Counter,
}

/// FNV-1a: spreads names over seeds, the same on every platform and in every version.
fn fnv1a64(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3))
}

/// A place in the tree of names, from which layers take their parameters.
#[derive(Clone)]
pub struct Scope {
    params: Params,
    path: String,
    seed_path: String,
    frozen: bool,
    /// Prefixes of full names.
    freeze: Arc<[String]>,
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}

impl Scope {
    /// The scope `name` inside this one.
    pub fn pp(&self, name: impl std::fmt::Display) -> Self {
        let name = name.to_string();
        self.pp_as(&name, &name)
    }

    /// The scope `name`, whose tensors start as those of the scope `like` do.
    pub fn pp_as(&self, name: &str, like: &str) -> Self {
        Self { path: join(&self.path, name), seed_path: join(&self.seed_path, like), ..self.clone() }
    }

    /// The same scope with weights that take no gradients (evaluation, fixed feature extractors).
    pub fn frozen(&self) -> Self {
        Self { frozen: true, ..self.clone() }
    }

    /// The same scope in which weights take no gradients if their full names begin with one of `prefixes`: the rest of the
    /// network is trained. They still count as [trainable](Params::trainable), as the set does not know how layers were
    /// built: give the optimizer the same prefixes. Buffers of frozen layers move on in training.
    pub fn freezing(&self, prefixes: &[String]) -> Self {
        Self { freeze: prefixes.into(), ..self.clone() }
    }

    /// The trainable tensor `name`, made on first use.
    ///
    /// # Errors
    /// If it exists with another shape.
    pub fn weight(&self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Tensor> {
        let var = self.get(name, shape.into(), &init, Kind::Weight)?;
        let is_frozen = || self.freeze.iter().any(|prefix| join(&self.path, name).starts_with(prefix));
        Ok(if self.frozen || is_frozen() { var.as_tensor().detach() } else { var.as_tensor().clone() })
    }

    /// The buffer `name`: saved and loaded, but not trained.
    ///
    /// # Errors
    /// As [`Scope::weight`].
    pub fn buffer(&self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Buffer> {
        Ok(Buffer(self.get(name, shape.into(), &init, Kind::Buffer)?))
    }

    /// An i64 scalar buffer that starts at zero.
    ///
    /// # Errors
    /// As [`Scope::weight`].
    pub fn counter(&self, name: &str) -> Result<Buffer> {
        Ok(Buffer(self.get(name, Shape::from(()), &Init::Constant(0.0), Kind::Counter)?))
    }

    fn get(&self, name: &str, shape: Shape, init: &Init, kind: Kind) -> Result<Var> {
        self.params.get_or_init(&join(&self.path, name), &join(&self.seed_path, name), shape, init, kind)
    }
}

/// State of a layer that is saved but not trained.
#[derive(Clone)]
pub struct Buffer(Var);

impl Buffer {
    /// The value, without gradient.
    pub fn get(&self) -> Tensor {
        self.0.as_tensor().detach()
    }

    /// Replaces the value in place.
    ///
    /// # Errors
    /// If the shape differs.
    pub fn set(&self, value: &Tensor) -> Result<()> {
        self.0.set(&value.detach().force_contiguous()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(params: &Params, name: &str) -> Vec<f32> {
        params.tensors()[name].flatten_all().unwrap().to_vec1().unwrap()
    }

    fn build(seed: u64, names: &[&str]) -> Params {
        let params = Params::new(seed, DType::F32, &Device::Cpu);
        for name in names {
            params.root().pp(name).weight("weight", (3, 4), Init::fan_in(4)).unwrap();
        }
        params
    }

    #[test]
    fn start_values_depend_on_seed_and_name_alone() {
        let (a, b) = (build(1, &["x", "y"]), build(1, &["y", "z", "x"]));
        assert_eq!(values(&a, "x.weight"), values(&b, "x.weight"));
        assert_ne!(values(&a, "x.weight"), values(&a, "y.weight"));
        assert_ne!(values(&a, "x.weight"), values(&build(2, &["x"]), "x.weight"));
    }

    #[test]
    fn an_alias_starts_like_its_model() {
        let params = build(1, &["x"]);
        params.root().pp_as("copy", "x").weight("weight", (3, 4), Init::fan_in(4)).unwrap();
        assert_eq!(values(&params, "x.weight"), values(&params, "copy.weight"));
    }

    #[test]
    fn frozen_weights_take_no_gradient() {
        let params = build(1, &["x"]);
        let frozen = params.root().frozen().pp("x").weight("weight", (3, 4), Init::fan_in(4)).unwrap();
        assert!(!frozen.track_op());
        assert!(params.root().pp("x").weight("weight", (3, 4), Init::fan_in(4)).unwrap().track_op());
    }

    #[test]
    fn loading_is_strict_and_changes_nothing_on_an_error() {
        let params = build(1, &["x", "y"]);
        let before = values(&params, "x.weight");
        let ones = Tensor::ones((3, 4), DType::F32, &Device::Cpu).unwrap();
        let set = |names: &[&str]| names.iter().map(|n| (n.to_string(), ones.clone())).collect::<BTreeMap<_, _>>();
        assert!(matches!(params.load(&set(&["x.weight"])), Err(ParamsError::Missing(_))));
        assert!(matches!(params.load(&set(&["x.weight", "y.weight", "z"])), Err(ParamsError::Unknown(_))));
        let mut wrong = set(&["x.weight", "y.weight"]);
        wrong.insert("y.weight".into(), ones.t().unwrap());
        assert!(matches!(params.load(&wrong), Err(ParamsError::Shape { .. })));
        assert_eq!(values(&params, "x.weight"), before);
        params.load(&set(&["x.weight", "y.weight"])).unwrap();
        assert_eq!(values(&params, "x.weight"), vec![1.0; 12]);
    }

    #[test]
    fn buffers_are_saved_but_not_trained() {
        let params = build(1, &["x"]);
        let buffer = params.root().buffer("running_mean", 4, Init::Constant(0.0)).unwrap();
        buffer.set(&Tensor::ones(4, DType::F32, &Device::Cpu).unwrap()).unwrap();
        assert_eq!(values(&params, "running_mean"), vec![1.0; 4]);
        assert_eq!(params.trainable().len(), 1);
        assert_eq!(params.count(), 12);
    }
}
