//! Attention with few channels per head, where either the queries or the keys are few.
//!
//! Vectors ("lanes") run along the longer of the two axes, cut into blocks, and a loop runs along the other, so that of the
//! weights one row of a block exists at a time. With lanes of keys a query's blocks are merged by their maxima and sums;
//! with either, gradients of the looped-over side are sums over the blocks. Blocks depend on the sizes alone, and are
//! merged in order.

mod backward;
mod forward;
mod rows;

use crate::cpu::slice;
use crate::pointwise::{Grads3, to_storage};
use crate::{OpError, dispatch_real};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::OnceLock;

use backward::Gradient;
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
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
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
    if let Some(other) = [Some(k), Some(v), bias].into_iter().flatten().find(|x| x.dtype() != q.dtype()) {
        return Err(OpError::argument(OP, format!("queries are {:?}, but not all: {:?}", q.dtype(), other.dtype())));
    }
    let k = match bias {
        Some(bias) => with_bias(k, bias)?,
        None => k.contiguous()?,
    };
    q.contiguous()?.apply_op3(&k, &v.contiguous()?, Attention { statistics: OnceLock::new() })
}

/// The bias as one more channel of the keys.
fn with_bias(k: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (batch, heads, _, nk) = k.dims4()?;
    if !matches!(*bias.dims(), [b, h, n] if (b == 1 || b == batch) && (h, n) == (heads, nk)) {
        return Err(OpError::shape(OP, format!("a bias ({batch} or 1, {heads}, {nk})"), bias.shape()));
    }
    // Candle's `cat` of anything else gives a tensor that is not contiguous.
    Tensor::cat(&[&k.contiguous()?, &bias.unsqueeze(2)?.broadcast_as((batch, heads, 1, nk))?.contiguous()?], 2)
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
    fn new(q: &Layout, k: &Layout, v: &Layout) -> Result<Self> {
        let (batch, heads, d, nq) = q.shape().dims4()?;
        let (_, _, e, nk) = v.shape().dims4()?;
        Ok(Self { groups: batch * heads, d, biased: k.dims()[2] > d, e, nq, nk })
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

struct Attention {
    /// `(groups, 2, Nq)`: each query's largest energy, and one over its sum of exponentials.
    statistics: OnceLock<Tensor>,
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::new(l1, l2, l3)?;
        let (batch, heads, e, _) = l3.shape().dims4()?;
        dispatch_real!(OP, s1, T => {
            let (q, k, v) = (slice::<T>(OP, s1, l1)?, slice::<T>(OP, s2, l2)?, slice::<T>(OP, s3, l3)?);
            let (y, statistics) = forward(q, k, v, sizes);
            let statistics = Tensor::from_vec(statistics, (sizes.groups, 2, sizes.nq), &Device::Cpu)?;
            // Already set only if this very operation ran before, on the same arguments.
            let _ = self.statistics.set(statistics);
            Ok((to_storage(y), (batch, heads, e, sizes.nq).into()))
        })
    }

    fn bwd(&self, q: &Tensor, k: &Tensor, v: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Grads3> {
        let Some(statistics) = self.statistics.get() else {
            return Err(OpError::argument(OP, "the gradient was asked for before the forward"));
        };
        let gradient = Gradient { y: y.clone(), grad: grad.contiguous()?, statistics: statistics.clone() };
        let packed = q.apply_op3_no_bwd(k, v, &gradient)?;
        let part = |of: &Tensor, start: usize| {
            of.track_op().then(|| packed.narrow(0, start, of.elem_count())?.reshape(of.shape())).transpose()
        };
        Ok((part(q, 0)?, part(k, q.elem_count())?, part(v, q.elem_count() + k.elem_count())?))
    }
}
