//! Parameters for models that are written with candle-nn.

use super::{Init, Kind, Params, Scope, join};
use candle_core::{DType, Device, Error, Result, Shape, Tensor, Var, bail};
use candle_nn::VarBuilder;
use candle_nn::init::NormalOrUniform;
use candle_nn::var_builder::SimpleBackend;

/// What candle-nn and PyTorch call the state of a batch norm, which is no weight.
const RUNNING: [&str; 2] = ["running_mean", "running_var"];

impl Params {
    /// A builder that makes a candle-nn model's tensors here, on first use; see [`Scope::var_builder`].
    pub fn var_builder(&self) -> VarBuilder<'static> {
        self.root().var_builder()
    }
}

impl Scope {
    /// A builder that makes a candle-nn model's tensors in this scope, on first use.
    ///
    /// They start as the model's hints say, by the seed and the tensor's name as all do. Running statistics of a batch norm
    /// become buffers. A builder of another type or device hands out converted tensors, through which the gradient comes
    /// back; but a batch norm's statistics then no longer move here.
    pub fn var_builder(&self) -> VarBuilder<'static> {
        let params = &self.params.0;
        VarBuilder::from_backend(Box::new(self.clone()), params.dtype, params.device.clone())
    }

    /// As candle's variable, if it is a buffer: a batch norm moves the tensor that it gets only if it is one.
    fn handed_out(&self, var: &Var, kind: Kind, dtype: DType, device: &Device) -> Result<Tensor> {
        let tensor = if self.frozen && kind == Kind::Weight { var.detach() } else { var.as_tensor().clone() };
        tensor.to_device(device)?.to_dtype(dtype)
    }
}

impl SimpleBackend for Scope {
    fn get(&self, shape: Shape, name: &str, hint: candle_nn::Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let (init, kind) = (start(hint, name, &shape)?, kind(name));
        self.handed_out(&self.get(name, shape, &init, kind)?, kind, dtype, device)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let path = join(&self.path, name);
        let found = self.params.entries().get(&path).map(|entry| entry.var.clone());
        let var = found.ok_or(Error::CannotFindTensor { path })?;
        self.handed_out(&var, kind(name), dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.params.entries().contains_key(&join(&self.path, name))
    }
}

fn kind(name: &str) -> Kind {
    let last = name.rsplit('.').next().unwrap_or(name);
    if RUNNING.contains(&last) { Kind::Buffer } else { Kind::Weight }
}

/// The start value that a hint asks for.
fn start(hint: candle_nn::Init, name: &str, shape: &Shape) -> Result<Init> {
    Ok(match hint {
        candle_nn::Init::Const(value) => Init::Constant(value),
        candle_nn::Init::Uniform { lo: low, up: high } if low <= high => Init::Between { low, high },
        candle_nn::Init::Uniform { lo, up } => bail!("parameter `{name}` cannot start uniform between {lo} and {up}"),
        candle_nn::Init::Randn { mean, stdev } => Init::Normal { mean, std: stdev },
        // He et al., arXiv 1502.01852.
        candle_nn::Init::Kaiming { dist, fan, non_linearity } => {
            let std = non_linearity.gain() / (fan.for_shape(shape) as f64).sqrt();
            match dist {
                NormalOrUniform::Normal => Init::Normal { mean: 0.0, std },
                NormalOrUniform::Uniform => Init::Uniform { bound: 3f64.sqrt() * std },
            }
        }
    })
}
