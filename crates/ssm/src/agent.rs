//! Agent attention (Han et al., arXiv 2312.08874) and the transformer block around it.

use candle_core::{D, Result, Tensor};
use colormamba_layers::{Init, LayerNorm, Linear, Scope};
use colormamba_ops as ops;

const HEADS: usize = 8;
/// Agents are a SIDE x SIDE pooling of the queries.
const SIDE: usize = 7;
const AGENTS: usize = SIDE * SIDE;

/// Position biases of agent attention. The block is built for a window of one pixel, so of each table of `SIDE x SIDE` only
/// the middle counts.
struct Biases {
    an: Tensor,
    na: Tensor,
    ah: Tensor,
    aw: Tensor,
    ha: Tensor,
    wa: Tensor,
}

impl Biases {
    fn new(scope: &Scope) -> Result<Self> {
        let bias = |name: &str, shape: &[usize]| scope.weight(name, shape, Init::TruncatedNormal { std: 0.02 });
        let table = [HEADS, AGENTS, SIDE, SIDE];
        let (column, row) = ([1, HEADS, AGENTS, 1, 1], [1, HEADS, 1, 1, AGENTS]);
        Ok(Self {
            an: bias("an_bias", &table)?,
            na: bias("na_bias", &table)?,
            ah: bias("ah_bias", &column)?,
            aw: bias("aw_bias", &column)?,
            ha: bias("ha_bias", &row)?,
            wa: bias("wa_bias", &row)?,
        })
    }

    fn middle(table: &Tensor) -> Result<Tensor> {
        table.narrow(2, SIDE / 2, 1)?.narrow(3, SIDE / 2, 1)?.reshape((1, HEADS, AGENTS, 1))
    }

    fn sum(table: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let shape = (1, HEADS, AGENTS, 1);
        Self::middle(table)? + (a.reshape(shape)? + b.reshape(shape)?)?
    }

    /// `(1, HEADS, AGENTS, 1)`: one number an agent, the same for all keys. Softmax over the keys ignores it.
    fn agents_to_keys(&self) -> Result<Tensor> {
        Self::sum(&self.an, &self.ah, &self.aw)
    }

    /// `(1, HEADS, AGENTS, 1)`: one number an agent, the same for all queries.
    fn queries_to_agents(&self) -> Result<Tensor> {
        Self::sum(&self.na, &self.ha, &self.wa)
    }
}

struct AgentAttention {
    q: Linear,
    kv: Linear,
    proj: Linear,
    dwc_weight: Tensor,
    dwc_bias: Tensor,
    biases: Biases,
    channels: usize,
}

impl AgentAttention {
    fn new(scope: &Scope, channels: usize) -> Result<Self> {
        let dwc = scope.pp("dwc");
        Ok(Self {
            q: Linear::new(&scope.pp("q"), channels, channels, false)?,
            kv: Linear::new(&scope.pp("kv"), channels, 2 * channels, false)?,
            proj: Linear::new(&scope.pp("proj"), channels, channels, true)?,
            dwc_weight: dwc.weight("weight", (channels, 1, 3, 3), Init::fan_in(9))?,
            dwc_bias: dwc.weight("bias", channels, Init::fan_in(9))?,
            biases: Biases::new(scope)?,
            channels,
        })
    }

    /// `(B, n, C)` to `(B, HEADS, n, C / HEADS)`.
    fn heads(&self, x: &Tensor) -> Result<Tensor> {
        let (b, n, c) = x.dims3()?;
        x.reshape((b, n, HEADS, c / HEADS))?.transpose(1, 2)?.contiguous()
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, h, w, c) = x.dims4()?;
        let q = self.q.forward(x)?;
        let kv = self.kv.forward(x)?;
        let (k, v) = (kv.narrow(3, 0, c)?, kv.narrow(3, c, c)?);
        let local = ops::depthwise_conv3x3(&v, &self.dwc_weight, Some(&self.dwc_bias))?;
        let agents = (ops::adaptive_avg_pool_tokens(&q, SIDE)? * ((self.channels / HEADS) as f64).powf(-0.5))?;
        let tokens = |x: &Tensor| self.heads(&x.reshape((b, h * w, c))?);
        let agents = self.heads(&agents)?;
        let gathered = self.gather(&agents, &tokens(&k)?, &tokens(&v)?)?;
        let out = self.distribute(&tokens(&q)?, &agents, &gathered)?;
        let out = out.transpose(1, 2)?.reshape((b, h, w, c))?;
        self.proj.forward(&ops::add(&out, &local)?)
    }

    /// Each agent's mean of the values by its likeness to the keys: `(B, HEADS, AGENTS, C / HEADS)`.
    fn gather(&self, agents: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let weights = ops::softmax(&agents.matmul(&k.transpose(2, 3)?.contiguous()?)?)?;
        // The softmax would cancel this bias, so it is left out there. Its parameters still train, with gradient zero.
        let unused = self.biases.agents_to_keys()?;
        weights.matmul(v)?.broadcast_add(&unused.sub(&unused)?)
    }

    /// Each query's mean of what the agents gathered. The bias rides along as one more component of the agents, which
    /// spares a pass over queries x agents.
    fn distribute(&self, q: &Tensor, agents: &Tensor, gathered: &Tensor) -> Result<Tensor> {
        let (b, _, n, _) = q.dims4()?;
        let ones = Tensor::ones((b, HEADS, n, 1), q.dtype(), q.device())?;
        let bias = self.biases.queries_to_agents()?.broadcast_as((b, HEADS, AGENTS, 1))?;
        let agents = Tensor::cat(&[agents, &bias.contiguous()?], D::Minus1)?;
        let energies = Tensor::cat(&[q, &ones], D::Minus1)?.matmul(&agents.transpose(2, 3)?.contiguous()?)?;
        ops::softmax(&energies)?.matmul(gathered)
    }
}

/// Agent attention and a perceptron, each behind a layer norm, each with a residual.
pub struct AgentBlock {
    norm1: LayerNorm,
    attn: AgentAttention,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl AgentBlock {
    /// For tokens of `channels`, a multiple of 8; the perceptron's hidden layer has four times as many.
    ///
    /// # Errors
    /// If the tensors exist with other shapes.
    pub fn new(scope: &Scope, channels: usize) -> Result<Self> {
        Ok(Self {
            norm1: LayerNorm::new(&scope.pp("norm1"), channels)?,
            attn: AgentAttention::new(&scope.pp("attn"), channels)?,
            norm2: LayerNorm::new(&scope.pp("norm2"), channels)?,
            fc1: Linear::new(&scope.pp("mlp.fc1"), channels, 4 * channels, true)?,
            fc2: Linear::new(&scope.pp("mlp.fc2"), 4 * channels, channels, true)?,
        })
    }

    /// `(B, H, W, channels)` to the same shape.
    ///
    /// # Errors
    /// If the channels differ.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = ops::add(x, &self.attn.forward(&self.norm1.forward(x)?)?)?;
        let hidden = ops::gelu(&self.fc1.forward(&self.norm2.forward(&x)?)?)?;
        ops::add(&x, &self.fc2.forward(&hidden)?)
    }
}
