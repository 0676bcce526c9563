//! Agent attention and the transformer block around it.

use candle_core::{Module, Result, Tensor};
use colormamba_layers::{Init, LayerNorm, Linear, Scope};
use colormamba_ops::{self as ops, Node, OpError, in_candle};

const HEADS: usize = 8;

/// Agents are a SIDE x SIDE image.
const SIDE: usize = 7;

const AGENTS: usize = SIDE * SIDE;

/// Attention through 49 agents pooled from the queries: linear in the number of pixels.
///
/// Source: Han et al., arXiv 2312.08874.
struct AgentAttention {
    channels: usize,
    q: Linear,
    kv: Tensor,
    proj: Linear,
    dwc_weight: Tensor,
    dwc_bias: Tensor,
    an: Tensor,
    ah: Tensor,
    aw: Tensor,
    na: Tensor,
    ha: Tensor,
    wa: Tensor,
}

impl AgentAttention {
    fn new(scope: &Scope, channels: usize) -> Result<Self> {
        if channels == 0 || !channels.is_multiple_of(HEADS) {
            let message = format!("{channels} channels cannot be split into {HEADS} heads");
            return Err(OpError::argument("agent_attention", message));
        }
        let bias = |name: &str, shape: &[usize]| scope.weight(name, shape, Init::TruncatedNormal { std: 0.02 });
        let (table, column, row) = ([HEADS, AGENTS, SIDE, SIDE], [1, HEADS, AGENTS, 1, 1], [1, HEADS, 1, 1, AGENTS]);
        let dwc = scope.pp("dwc");
        Ok(Self {
            channels,
            q: Linear::new(&scope.pp("q"), channels, channels, false)?,
            kv: scope.pp("kv").weight("weight", (2 * channels, channels), Init::fan_in(channels))?,
            proj: Linear::new(&scope.pp("proj"), channels, channels, true)?,
            dwc_weight: dwc.weight("weight", (channels, 1, 3, 3), Init::fan_in(9))?,
            dwc_bias: dwc.weight("bias", channels, Init::fan_in(9))?,
            an: bias("an_bias", &table)?,
            ah: bias("ah_bias", &column)?,
            aw: bias("aw_bias", &column)?,
            na: bias("na_bias", &table)?,
            ha: bias("ha_bias", &row)?,
            wa: bias("wa_bias", &row)?,
        })
    }

    /// `(B, H, W, C)` to the same shape.
    fn forward(&self, x: &Node) -> Result<Node> {
        let (batch, height, width, channels) = x.dims4()?;
        let half = |i: usize| ops::linear(x, &self.kv.narrow(0, i * self.channels, self.channels)?, None);
        let (q, k, v) = (self.q.forward(x)?, half(0)?, half(1)?);
        let agents = ops::adaptive_avg_pool_tokens(&q, SIDE)?.reshape((batch, SIDE, SIDE, channels))?;
        let agents = heads(&self.with_ignored(&scaled(&agents, (channels as f64 / HEADS as f64).powf(-0.5))?)?)?;
        let local = ops::depthwise_conv3x3(&v, &self.dwc_weight, Some(&self.dwc_bias))?;
        let (q, k, v) = (heads(&q)?, heads(&k)?, heads(&v)?);
        let gathered = ops::attention(&agents, &k, &v, None)?;
        let out = ops::attention(&q, &agents, &gathered, Some(&bias(&self.na, &self.ha, &self.wa)?))?;
        let out = ops::tokens_from_image(&out.reshape((batch, channels, height, width))?)?;
        self.proj.forward(&ops::add(&out, &local)?)
    }

    /// `x` itself. The published model adds a bias to the energies between agents and keys which is the same for all keys,
    /// so that the softmax over keys ignores it. Its parameters are loaded and saved, and get their gradient, which is zero.
    fn with_ignored(&self, x: &Node) -> Result<Node> {
        let parameters = [&self.an, &self.ah, &self.aw];
        let zeros = parameters.map(Tensor::detach);
        let [an, ah, aw] = parameters.map(Node::from);
        Node::new(x.value().clone(), [x, &an, &ah, &aw], move |grad| {
            let [an, ah, aw] = zeros;
            Ok([Some(grad.clone()), Some(an.zeros_like()?), Some(ah.zeros_like()?), Some(aw.zeros_like()?)])
        })
    }
}

/// `x` · `factor`.
fn scaled(x: &Node, factor: f64) -> Result<Node> {
    let value = x.value().affine(factor, 0.0)?;
    Node::new(value, [x], move |grad| Ok([Some(grad.affine(factor, 0.0)?)]))
}

/// One number for each head and agent, `(1, heads, agents)`: the block is built for a 1x1 window, so that of each 7x7 table
/// only the middle counts.
fn bias(table: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let shape = (1, HEADS, AGENTS);
    let middle = table.narrow(2, SIDE / 2, 1)?.narrow(3, SIDE / 2, 1)?.reshape(shape)?;
    middle + (a.reshape(shape)? + b.reshape(shape)?)?
}

/// `(B, H, W, C)` to `(B, heads, C / heads, H W)`.
fn heads(x: &Node) -> Result<Node> {
    let (batch, height, width, channels) = x.dims4()?;
    ops::image_from_tokens(x)?.reshape((batch, HEADS, channels / HEADS, height * width))
}

/// Agent attention and a perceptron of 4C hidden units, each after a layer norm and with a residual.
///
/// Source: Han et al., arXiv 2312.08874; ColorMamba, arXiv 2408.08087.
pub struct AgentBlock {
    norm1: LayerNorm,
    attn: AgentAttention,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl AgentBlock {
    /// For maps of `channels` channels.
    ///
    /// # Errors
    /// If `channels` is not a positive multiple of 8, or the parameters exist with other shapes.
    pub fn new(scope: &Scope, channels: usize) -> Result<Self> {
        let mlp = scope.pp("mlp");
        Ok(Self {
            norm1: LayerNorm::new(&scope.pp("norm1"), channels)?,
            attn: AgentAttention::new(&scope.pp("attn"), channels)?,
            norm2: LayerNorm::new(&scope.pp("norm2"), channels)?,
            fc1: Linear::new(&mlp.pp("fc1"), channels, 4 * channels, true)?,
            fc2: Linear::new(&mlp.pp("fc2"), 4 * channels, channels, true)?,
        })
    }

    /// `(B, H, W, C)` to the same shape.
    ///
    /// # Errors
    /// If the channels differ.
    pub fn forward(&self, x: &Node) -> Result<Node> {
        let x = ops::add(x, &self.attn.forward(&self.norm1.forward(x)?)?)?;
        let hidden = ops::gelu(&self.fc1.forward(&self.norm2.forward(&x)?)?)?;
        ops::add(&x, &self.fc2.forward(&hidden)?)
    }
}

impl Module for AgentBlock {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        in_candle(x, |x| self.forward(x))
    }
}
