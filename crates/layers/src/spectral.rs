//! Convolutions whose weight is divided by an estimate of its largest singular value (Miyato et al., arXiv 1802.05957).

use crate::{Buffer, Conv2d, Init, Scope};
use candle_core::{DType, ModuleT, Result, Tensor};
use colormamba_ops::{self as ops, Conv2dConfig, Node, in_candle};

const EPS: f64 = 1e-12;

/// A weight `(o, i, k, k)` with the vectors of its power iteration. These are buffers: no gradient passes through them.
struct SpectralWeight {
    weight: Tensor,
    u: Buffer,
    v: Buffer,
}

impl SpectralWeight {
    fn new(scope: &Scope, name: &str, i: usize, o: usize, kernel: usize) -> Result<Self> {
        let columns = i * kernel * kernel;
        Ok(Self {
            weight: scope.weight(name, (o, i, kernel, kernel), Init::fan_in(columns))?,
            u: scope.buffer("weight_u", o, Init::UnitNormal)?,
            v: scope.buffer("weight_v", columns, Init::UnitNormal)?,
        })
    }

    /// `weight / (uᵀ W v)`, after one power iteration (v, then u) with `normalize` if one is given.
    ///
    /// The graph holds the iteration's own results, never the buffers, which the next forward overwrites.
    fn normalized(&self, normalize: Option<fn(&Tensor) -> Result<Tensor>>) -> Result<Tensor> {
        let matrix = self.weight.flatten_from(1)?;
        let (mut u, mut v) = (self.u.get().unsqueeze(1)?, self.v.get().unsqueeze(1)?);
        if let Some(normalize) = normalize {
            let fixed = matrix.detach();
            v = normalize(&fixed.t()?.matmul(&u)?)?;
            u = normalize(&fixed.matmul(&v)?)?;
            self.v.set(&v.squeeze(1)?)?;
            self.u.set(&u.squeeze(1)?)?;
        }
        let sigma = u.t()?.matmul(&matrix.matmul(&v)?)?;
        let weight = self.weight.broadcast_div(&sigma.reshape((1, 1, 1, 1))?)?;
        ops::profile::mark("spectral norm");
        Ok(weight)
    }
}

/// Stays where `x` is: on a GPU, a number for the processor would make it wait.
fn norm(x: &Tensor) -> Result<Tensor> {
    x.to_dtype(DType::F64)?.sqr()?.sum_all()?.sqrt()
}

fn divided(x: &Tensor, by: &Tensor) -> Result<Tensor> {
    x.broadcast_div(&by.to_dtype(x.dtype())?)
}

fn divided_by_larger(x: &Tensor) -> Result<Tensor> {
    divided(x, &norm(x)?.maximum(EPS)?)
}

fn divided_by_sum(x: &Tensor) -> Result<Tensor> {
    divided(x, &(norm(x)? + EPS)?)
}

/// PyTorch's spectral norm: one power iteration at every training forward, none in evaluation.
pub struct SpectralConv2d {
    weight: SpectralWeight,
    bias: Tensor,
    config: Conv2dConfig,
}

impl SpectralConv2d {
    /// `weight_orig` is `(o, i, kernel, kernel)`, `bias` and `weight_u` `(o)`, `weight_v` `(i · kernel²)`.
    ///
    /// # Errors
    /// If the tensors exist with other shapes.
    pub fn new(scope: &Scope, i: usize, o: usize, kernel: usize, config: Conv2dConfig) -> Result<Self> {
        let weight = SpectralWeight::new(scope, "weight_orig", i, o, kernel)?;
        let bias = scope.weight("bias", o, Init::fan_in(i * kernel * kernel))?;
        Ok(Self { weight, bias, config })
    }

    /// `(B, i, H, W)` to `(B, o, H', W')`; in training `weight_u` and `weight_v` move.
    ///
    /// # Errors
    /// If the channels differ.
    pub fn forward(&self, x: impl Into<Node>, train: bool) -> Result<Node> {
        let weight = self.weight.normalized(train.then_some(divided_by_larger))?;
        ops::conv2d(x, &weight, Some(&self.bias), self.config)
    }
}

impl ModuleT for SpectralConv2d {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        in_candle(x, |x| self.forward(x, train))
    }
}

/// The discriminators' kind: iterates at every forward, evaluation included, and adds eps to the norm instead of taking the larger.
pub struct DiscriminatorConv2d {
    weight: SpectralWeight,
    bias: Tensor,
    config: Conv2dConfig,
}

impl DiscriminatorConv2d {
    /// As [`SpectralConv2d::new`], with the weight named `weight_bar`.
    ///
    /// # Errors
    /// If the tensors exist with other shapes.
    pub fn new(scope: &Scope, i: usize, o: usize, kernel: usize, config: Conv2dConfig) -> Result<Self> {
        let weight = SpectralWeight::new(scope, "weight_bar", i, o, kernel)?;
        let bias = scope.weight("bias", o, Init::fan_in(i * kernel * kernel))?;
        Ok(Self { weight, bias, config })
    }

    /// The convolution with the weight as it is after one more power iteration; `weight_u` and `weight_v` move.
    ///
    /// # Errors
    /// Those of the tensor operations.
    pub fn iterated(&self) -> Result<Conv2d> {
        let weight = self.weight.normalized(Some(divided_by_sum))?;
        Ok(Conv2d::from_parts(weight, self.bias.clone(), self.config))
    }

    /// The convolution as it is, without a power iteration: nothing moves.
    ///
    /// # Errors
    /// Those of the tensor operations.
    pub fn still(&self) -> Result<Conv2d> {
        Ok(Conv2d::from_parts(self.weight.normalized(None)?, self.bias.clone(), self.config))
    }
}
