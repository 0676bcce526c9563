//! Attention with few channels per head, where either the queries or the keys are few.
//!
//! Vectors ("lanes") run along the longer of the two axes, cut into blocks, and a loop runs along the other, so that of the
//! weights one row of a block exists at a time. With lanes of keys a query's blocks are merged by their maxima and sums;
//! with either, gradients of the looped-over side are sums over the blocks. Blocks depend on the sizes alone, and are
//! merged in order.

mod backward;
pub(crate) mod cuda;
mod forward;
mod rows;

use crate::operands::{check_type, check_types};
use crate::{Node, OpError, profile};
use candle_core::{Result, Tensor};
use colormamba_cpu::{tensor, with_slices};
use rayon::prelude::*;
use std::ops::Range;

use backward::backward;
use forward::forward;

const OP: &str = "attention";
/// Numbers of one kind in a block of lanes, over all channels: those of a few kinds fit the first-level cache.
const BLOCK: usize = 4096;
/// The most blocks, so that what is summed over blocks stays linear in the sizes.
const BLOCKS: usize = 32;

/// Softmax attention per head, unscaled, channels first: `q (B, heads, D, Nq)`, `k (B, heads, D, Nk)` and
/// `v (B, heads, E, Nk)` give `(B, heads, E, Nq)`, at each query the mean of `v` weighted by the softmax over the keys of
/// `q · k + bias`, with `bias (B or 1, heads, Nk)`.
///
/// Memory beside inputs and output grows with `Nq + Nk`, not with their product: the gradient computes the weights again.
///
/// Source: Vaswani et al., Attention Is All You Need, arXiv:1706.03762; without the weights in memory as in Dao et al.,
/// FlashAttention, arXiv:2205.14135.
///
/// # Errors
/// [`OpError::Shape`] if the arguments are not as above or a size other than `B` is 0, [`OpError::Argument`] if their types
/// differ.
pub fn attention(q: impl Into<Node>, k: impl Into<Node>, v: impl Into<Node>, bias: Option<&Tensor>) -> Result<Node> {
    let (q, k, v) = (q.into().contiguous()?, k.into().contiguous()?, v.into().contiguous()?);
    check(&q, &k, &v, bias)?;
    let keys = bias.map(|bias| with_bias(&k, bias)).transpose()?.unwrap_or(k);
    let sizes = Sizes::new(&q, &keys, &v)?;
    let (y, statistics) = attend([q.value(), keys.value(), v.value()], sizes)?;
    let (for_q, for_k, for_v) = (q.is_tracked(), keys.is_tracked(), v.is_tracked());
    let kept = [q.value(), keys.value(), v.value(), &y, &statistics].map(Tensor::clone);
    profile::work(OP, 2 * sizes.groups * sizes.nq * sizes.nk * (sizes.d + sizes.e));
    Node::new(y, [&q, &keys, &v], move |grad| {
        let [dq, dk, dv] = gradients(&kept, grad, sizes)?;
        Ok([for_q.then_some(dq), for_k.then_some(dk), for_v.then_some(dv)])
    })
}

fn check(q: &Node, k: &Node, v: &Node, bias: Option<&Tensor>) -> Result<()> {
    let &[batch, heads, d, nq] = q.dims() else {
        return Err(OpError::shape(OP, "queries (B, heads, D, N)", q.shape()));
    };
    let nk = k.dims().last().copied().unwrap_or(0);
    if heads * d * nq == 0 {
        return Err(OpError::shape(OP, "queries with heads, channels and places", q.shape()));
    }
    if k.dims() != [batch, heads, d, nk] || nk == 0 {
        return Err(OpError::shape(OP, format!("keys ({batch}, {heads}, {d}, 1 or more)"), k.shape()));
    }
    if !matches!(*v.dims(), [b, h, e, n] if (b, h, n) == (batch, heads, nk) && e > 0) {
        return Err(OpError::shape(OP, format!("values ({batch}, {heads}, 1 or more, {nk})"), v.shape()));
    }
    if let Some(bias) = bias
        && !matches!(*bias.dims(), [b, h, n] if (b == 1 || b == batch) && (h, n) == (heads, nk))
    {
        return Err(OpError::shape(OP, format!("a bias ({batch} or 1, {heads}, {nk})"), bias.shape()));
    }
    check_types(OP, &[q, k, v])?;
    bias.map_or(Ok(()), |bias| check_type(OP, q.value(), "bias", bias))
}

/// The bias as one more channel of the keys.
fn with_bias(k: &Node, bias: &Tensor) -> Result<Node> {
    let (batch, heads, d, nk) = k.dims4()?;
    let bias = Node::from(bias);
    // Candle's `cat` of anything that is not contiguous gives a tensor that is not either.
    let channel = bias.value().to_dtype(k.dtype())?.unsqueeze(2)?.broadcast_as((batch, heads, 1, nk))?.contiguous()?;
    let keys = Tensor::cat(&[k.value(), &channel], 2)?;
    let (for_k, for_bias, is_shared) = (k.is_tracked(), bias.is_tracked(), bias.dims()[0] < batch);
    let dtype = bias.dtype();
    Node::new(keys, [k, &bias], move |grad| {
        let dk = for_k.then(|| grad.narrow(2, 0, d)?.contiguous()).transpose()?;
        let of_bias = for_bias.then(|| grad.narrow(2, d, 1)?.squeeze(2)?.to_dtype(dtype)?.contiguous()).transpose()?;
        let db = of_bias.map(|db| if is_shared { db.sum_keepdim(0) } else { Ok(db) }).transpose()?;
        Ok([dk, db])
    })
}

/// The attention, and of each query the largest energy and one over the sum of exponentials, `(groups, 2, Nq)`.
fn attend([q, k, v]: [&Tensor; 3], sizes: Sizes) -> Result<(Tensor, Tensor)> {
    let (batch, heads, e, _) = v.dims4()?;
    if colormamba_cuda::applies(q) {
        let (y, statistics) = sizes.on_gpu().attend([q, k, v])?;
        return Ok((y.reshape((batch, heads, e, sizes.nq))?, statistics.reshape((sizes.groups, 2, sizes.nq))?));
    }
    with_slices!(OP, [q, k, v], T => {
        let (y, statistics) = forward::<T>(q, k, v, sizes);
        Ok((tensor(y, (batch, heads, e, sizes.nq)), tensor(statistics, (sizes.groups, 2, sizes.nq))))
    })
}

/// The gradients of queries, keys and values.
fn gradients([q, k, v, y, statistics]: &[Tensor; 5], grad: &Tensor, sizes: Sizes) -> Result<[Tensor; 3]> {
    let shapes = [q.shape(), k.shape(), v.shape()];
    if colormamba_cuda::applies(q) {
        let groups = sizes.on_gpu();
        let arguments = [q, k, v, grad, statistics, &groups.delta(y, grad)?];
        let [dk, dv] = groups.key_gradients(arguments)?;
        let shaped = |x: Tensor, like: &Tensor| x.reshape(like.shape())?.to_dtype(like.dtype());
        return Ok([shaped(groups.query_gradient(arguments)?, q)?, shaped(dk, k)?, shaped(dv, v)?]);
    }
    with_slices!(OP, [q, k, v, y, grad, statistics], T => {
        let [dq, dk, dv] = backward::<T>(sizes, [q, k, v, y, grad, statistics]);
        Ok([tensor(dq, shapes[0]), tensor(dk, shapes[1]), tensor(dv, shapes[2])])
    })
}

/// `groups` is batch times heads, `biased` whether the keys have one more channel, which meets a 1 in the queries.
#[derive(Clone, Copy)]
struct Sizes {
    groups: usize,
    d: usize,
    biased: bool,
    e: usize,
    nq: usize,
    nk: usize,
}

impl Sizes {
    fn new(q: &Node, k: &Node, v: &Node) -> Result<Self> {
        let (batch, heads, d, nq) = q.dims4()?;
        let (_, _, e, nk) = v.dims4()?;
        Ok(Self { groups: batch * heads, d, biased: k.dims()[2] > d, e, nq, nk })
    }

    fn on_gpu(self) -> cuda::Groups {
        let Self { groups, d, e, nq, nk, .. } = self;
        cuda::Groups { groups, lines: 1, d, key_rows: self.key_channels(), e, nq, nk, is_apart: false }
    }

    fn key_channels(self) -> usize {
        self.d + usize::from(self.biased)
    }

    fn lanes_are_queries(self) -> bool {
        self.nq >= self.nk
    }

    /// Runs `f` on every block of lanes of every group, in parallel; the results, group after group.
    fn each_block<R: Send>(self, f: impl Fn(usize, Range<usize>) -> R + Sync) -> Vec<R> {
        let (n, blocks, size) = self.blocks();
        let range = |i: usize| i % blocks * size..n.min((i % blocks + 1) * size);
        (0..self.groups * blocks).into_par_iter().map(|i| f(i / blocks, range(i))).collect()
    }

    /// How many lanes there are, in how many blocks, each of how many lanes except the last.
    fn blocks(self) -> (usize, usize, usize) {
        let n = self.nq.max(self.nk);
        let size = n.div_ceil(BLOCKS).max((BLOCK / (self.d + self.e)).clamp(64, 512));
        (n, n.div_ceil(size), size)
    }
}
