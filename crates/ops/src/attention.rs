//! Attention with few channels per head, where either the queries or the keys are few.
//!
//! Vectors ("lanes") run along the longer of the two axes, cut into blocks, and a loop runs along the other, so that of the
//! weights one row of a block exists at a time. With lanes of keys a query's blocks are merged by their maxima and sums;
//! with either, gradients of the looped-over side are sums over the blocks. Blocks depend on the sizes alone, and are
//! merged in order.

use crate::cpu::{Real, slice, vectorize};
use crate::pointwise::{Grads3, to_storage};
use crate::{OpError, dispatch_real};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Storage, Tensor};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::OnceLock;

const OP: &str = "attention";
/// Numbers of one kind in a block of lanes, over all channels: those of a few kinds fit the first-level cache.
const BLOCK: usize = 4096;
/// The most blocks, so that what is summed over blocks stays linear in the sizes.
const BLOCKS: usize = 32;
/// Independent partial results of a reduction along the lanes: enough to hide the latency of an addition.
const LANES: usize = 64;

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

/// Rows of `n` elements.
#[derive(Clone, Copy)]
struct Rows<'a, T> {
    data: &'a [T],
    n: usize,
}

impl<'a, T: Real> Rows<'a, T> {
    #[inline(always)]
    fn iter(self) -> impl Iterator<Item = &'a [T]> {
        self.data.chunks_exact(self.n)
    }

    /// `out` = the inner products of the columns in `lanes` with column `j` of `others`.
    #[inline(always)]
    fn products(self, lanes: &Range<usize>, others: Rows<T>, j: usize, out: &mut [T]) {
        for (p, (row, other)) in self.iter().zip(others.iter()).enumerate() {
            let (row, b) = (&row[lanes.clone()], other[j]);
            if p == 0 {
                out.iter_mut().zip(row).for_each(|(out, &a)| *out = a * b);
            } else {
                add_product(out, row, b);
            }
        }
    }
}

/// `out += row b`.
#[inline(always)]
fn add_product<T: Real>(out: &mut [T], row: &[T], b: T) {
    out.iter_mut().zip(row).for_each(|(out, &a)| *out = a.mul_add(b, *out));
}

/// Folds all elements with `f`, in lanes so that it vectorises.
#[inline(always)]
fn reduce<T: Real>(x: &[T], start: T, f: impl Fn(T, T) -> T) -> T {
    let mut lanes = [start; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, &x)| *lane = f(*lane, x));
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, &x)| *lane = f(*lane, x));
    fold(lanes, f)
}

/// The inner product.
#[inline(always)]
fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut lanes = [T::ZERO; LANES];
    let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for i in 0..LANES {
            lanes[i] = a[i].mul_add(b[i], lanes[i]);
        }
    }
    lanes.iter_mut().zip(a_rest.iter().zip(b_rest)).for_each(|(lane, (&a, &b))| *lane = a.mul_add(b, *lane));
    fold(
        lanes,
        #[inline(always)]
        |a, b| a + b,
    )
}

/// Pairwise.
#[inline(always)]
fn fold<T: Real>(mut lanes: [T; LANES], f: impl Fn(T, T) -> T) -> T {
    for half in [32, 16, 8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] = f(lanes[i], lanes[i + half]);
        }
    }
    lanes[0]
}

/// Without the handling of NaN of `f32::max`, which keeps loops scalar.
#[inline(always)]
fn larger<T: Real>(a: T, b: T) -> T {
    if b > a { b } else { a }
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

/// The attention, and the statistics.
fn forward<T: Real>(q: &[T], k: &[T], v: &[T], sizes: Sizes) -> (Vec<T>, Vec<T>) {
    let Sizes { groups, nq, nk, e, .. } = sizes;
    let queries = with_ones(q, sizes);
    let parts = sizes.each_block(|group, lanes| {
        let of = |x: &'_ [T]| x.len() / groups * group..x.len() / groups * (group + 1);
        let queries = Rows { data: &queries[of(&queries)], n: nq };
        let (k, v) = (Rows { data: &k[of(k)], n: nk }, Rows { data: &v[of(v)], n: nk });
        vectorize(
            #[inline(always)]
            || {
                if sizes.lanes_are_queries() {
                    attend_lanes(queries, k, v, lanes)
                } else {
                    attend_loop(queries, k, v, lanes)
                }
            },
        )
    });
    let (mut y, mut statistics) = (vec![T::ZERO; groups * e * nq], vec![T::ZERO; groups * 2 * nq]);
    let (_, blocks, size) = sizes.blocks();
    let outputs = y.par_chunks_mut(e * nq).zip(statistics.par_chunks_mut(2 * nq));
    outputs.zip(parts.par_chunks(blocks)).for_each(|((y, statistics), parts)| {
        if sizes.lanes_are_queries() {
            place(parts, size, nq, 0, y);
            place(parts, size, nq, e, statistics);
        } else {
            merge(parts, nq, y, statistics);
        }
    });
    (y, statistics)
}

/// The queries of each group, with a channel of ones to meet the bias.
fn with_ones<T: Real>(q: &[T], Sizes { d, biased, nq, .. }: Sizes) -> std::borrow::Cow<'_, [T]> {
    if !biased {
        return q.into();
    }
    let mut queries = vec![T::ONE; q.len() / d * (d + 1)];
    queries.par_chunks_mut((d + 1) * nq).zip(q.par_chunks(d * nq)).for_each(|(queries, q)| {
        queries[..d * nq].copy_from_slice(q);
    });
    queries.into()
}

/// For a block of queries their rows of the output, then those of the statistics.
#[inline(always)]
fn attend_lanes<T: Real>(q: Rows<T>, k: Rows<T>, v: Rows<T>, lanes: Range<usize>) -> Part<T> {
    let n = lanes.len();
    let mut part = vec![T::ZERO; v.data.len() / v.n * n + 2 * n];
    let (y, statistics) = part.split_at_mut(v.data.len() / v.n * n);
    let (maxima, sums) = statistics.split_at_mut(n);
    let mut weights = vec![T::ZERO; n];
    maxima.fill(T::of(f64::NEG_INFINITY));
    for j in 0..k.n {
        q.products(&lanes, k, j, &mut weights);
        maxima.iter_mut().zip(&weights).for_each(|(maximum, &x)| *maximum = larger(*maximum, x));
    }
    for j in 0..k.n {
        q.products(&lanes, k, j, &mut weights);
        for ((x, sum), &maximum) in weights.iter_mut().zip(sums.iter_mut()).zip(&*maxima) {
            *x = (*x - maximum).exp();
            *sum += *x;
        }
        for (y, v) in y.chunks_exact_mut(n).zip(v.iter()) {
            add_product(y, &weights, v[j]);
        }
    }
    sums.iter_mut().for_each(|sum| *sum = T::ONE / *sum);
    for y in y.chunks_exact_mut(n) {
        y.iter_mut().zip(&*sums).for_each(|(y, &scale)| *y *= scale);
    }
    Part { lanes: part, others: Vec::new() }
}

/// For a block of keys and every query: the values' sums with the weights `exp(energy - maximum)`, then the maximum and the
/// sum of the weights.
#[inline(always)]
fn attend_loop<T: Real>(q: Rows<T>, k: Rows<T>, v: Rows<T>, lanes: Range<usize>) -> Part<T> {
    let mut part = vec![T::ZERO; (v.data.len() / v.n + 2) * q.n];
    let (y, statistics) = part.split_at_mut(v.data.len() / v.n * q.n);
    let (maxima, sums) = statistics.split_at_mut(q.n);
    let mut weights = vec![T::ZERO; lanes.len()];
    for i in 0..q.n {
        k.products(&lanes, q, i, &mut weights);
        let maximum = reduce(
            &weights,
            T::of(f64::NEG_INFINITY),
            #[inline(always)]
            |a, b| larger(a, b),
        );
        for x in &mut weights {
            *x = (*x - maximum).exp();
        }
        maxima[i] = maximum;
        sums[i] = reduce(
            &weights,
            T::ZERO,
            #[inline(always)]
            |a, b| a + b,
        );
        for (y, v) in y.chunks_exact_mut(q.n).zip(v.iter()) {
            y[i] = dot(&weights, &v[lanes.clone()]);
        }
    }
    Part { lanes: Vec::new(), others: part }
}

/// Blocks of keys, as [`attend_loop`] leaves them, to one group's output and statistics.
fn merge<T: Real>(parts: &[Part<T>], nq: usize, y: &mut [T], statistics: &mut [T]) {
    let (maxima, scales) = statistics.split_at_mut(nq);
    let e = y.len() / nq;
    for i in 0..nq {
        let at = |part: &Part<T>, row: usize| part.others[row * nq + i];
        let maximum = parts.iter().fold(T::of(f64::NEG_INFINITY), |m, part| larger(m, at(part, e)));
        let mut sum = T::ZERO;
        for part in parts {
            let weight = (at(part, e) - maximum).exp();
            sum += weight * at(part, e + 1);
            (0..e).for_each(|c| y[c * nq + i] += weight * at(part, c));
        }
        maxima[i] = maximum;
        scales[i] = T::ONE / sum;
        (0..e).for_each(|c| y[c * nq + i] *= scales[i]);
    }
}

/// What a block of lanes gives.
struct Part<T> {
    /// Rows of the block's lanes.
    lanes: Vec<T>,
    /// Rows of the whole other side, to be merged with those of the other blocks.
    others: Vec<T>,
}

/// Fills rows of `n` lanes from the blocks' rows from `first` on.
fn place<T: Real>(parts: &[Part<T>], size: usize, n: usize, first: usize, out: &mut [T]) {
    for (row, out) in out.chunks_exact_mut(n).enumerate() {
        for (out, part) in out.chunks_mut(size).zip(parts) {
            out.copy_from_slice(&part.lanes[(first + row) * out.len()..][..out.len()]);
        }
    }
}

/// Adds what the blocks hold for the other side from `start` on.
fn add_up<T: Real>(parts: &[Part<T>], start: usize, out: &mut [T]) {
    for part in parts {
        out.iter_mut().zip(&part.others[start..]).for_each(|(out, &x)| *out += x);
    }
}

/// From `q`, `k`, `v` the gradients of all three, one after the other in one dimension.
struct Gradient {
    y: Tensor,
    grad: Tensor,
    statistics: Tensor,
}

fn on_cpu(storage: &Storage) -> Result<&CpuStorage> {
    match storage {
        Storage::Cpu(storage) => Ok(storage),
        _ => Err(OpError::argument(OP, "all tensors must be on the CPU")),
    }
}

impl CustomOp3 for Gradient {
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
        let ((s4, l4), (s5, l5)) = (self.y.storage_and_layout(), self.grad.storage_and_layout());
        let (s6, l6) = self.statistics.storage_and_layout();
        dispatch_real!(OP, s1, T => {
            let (q, k, v) = (slice::<T>(OP, s1, l1)?, slice::<T>(OP, s2, l2)?, slice::<T>(OP, s3, l3)?);
            let (y, grad) = (slice::<T>(OP, on_cpu(&s4)?, l4)?, slice::<T>(OP, on_cpu(&s5)?, l5)?);
            let gradients = backward(sizes, [q, k, v, y, grad, slice::<T>(OP, on_cpu(&s6)?, l6)?]);
            let shape = gradients.len().into();
            Ok((to_storage(gradients), shape))
        })
    }
}

/// One side of a group, queries or keys. The exponential of the inner product of two columns of `energy` is a weight over
/// its query's scale; that of two columns of `slope`, times that exponential, is the gradient of the energy.
struct Side<T> {
    /// Of a query `q`, 1 if there is a bias, minus the largest energy; of a key `k`, the bias, 1.
    energy: Vec<T>,
    /// Of a query the output's gradient and minus its product with the output, both times the scale; of a key `v`, 1.
    slope: Vec<T>,
    n: usize,
    /// How many rows of `energy` want a gradient.
    wanted: usize,
}

impl<T: Real> Side<T> {
    fn queries(q: &[T], y: &[T], grad: &[T], statistics: &[T], sizes: Sizes) -> Self {
        let n = sizes.nq;
        let (maxima, scales) = statistics.split_at(n);
        let mut energy = q.to_vec();
        energy.resize(sizes.key_channels() * n, T::ONE);
        energy.extend(maxima.iter().map(|&m| -m));
        let mut slope = vec![T::ZERO; grad.len() + n];
        let (scaled, deltas) = slope.split_at_mut(grad.len());
        for ((scaled, grad), y) in scaled.chunks_exact_mut(n).zip(grad.chunks_exact(n)).zip(y.chunks_exact(n)) {
            for i in 0..n {
                scaled[i] = grad[i] * scales[i];
                deltas[i] = (-scaled[i]).mul_add(y[i], deltas[i]);
            }
        }
        Self { energy, slope, n, wanted: sizes.d }
    }

    fn keys(k: &[T], v: &[T], sizes: Sizes) -> Self {
        let n = sizes.nk;
        let with_one = |x: &[T]| x.iter().copied().chain(std::iter::repeat_n(T::ONE, n)).collect();
        Self { energy: with_one(k), slope: with_one(v), n, wanted: sizes.key_channels() }
    }

    #[inline(always)]
    fn energy(&self) -> Rows<'_, T> {
        Rows { data: &self.energy, n: self.n }
    }

    #[inline(always)]
    fn slope(&self) -> Rows<'_, T> {
        Rows { data: &self.slope, n: self.n }
    }
}

fn backward<T: Real>(sizes: Sizes, [q, k, v, y, grad, statistics]: [&[T]; 6]) -> Vec<T> {
    let Sizes { groups, d, e, nq, nk, .. } = sizes;
    let sides: Vec<_> = (0..groups)
        .into_par_iter()
        .map(|group| {
            let of = |x: &'_ [T]| x.len() / groups * group..x.len() / groups * (group + 1);
            let statistics = &statistics[of(statistics)];
            let queries = Side::queries(&q[of(q)], &y[of(y)], &grad[of(grad)], statistics, sizes);
            (queries, Side::keys(&k[of(k)], &v[of(v)], sizes))
        })
        .collect();
    let lanes_are_queries = sizes.lanes_are_queries();
    let parts = sizes.each_block(|group, range| {
        let (queries, keys) = &sides[group];
        let (lanes, others) = if lanes_are_queries { (queries, keys) } else { (keys, queries) };
        vectorize(
            #[inline(always)]
            || gradients(lanes, others, range, e, lanes_are_queries),
        )
    });
    let mut packed = vec![T::ZERO; q.len() + k.len() + v.len()];
    let (dq, rest) = packed.split_at_mut(q.len());
    let (dk, dv) = rest.split_at_mut(k.len());
    let key_channels = sizes.key_channels();
    let outputs = dq.par_chunks_mut(d * nq).zip(dk.par_chunks_mut(key_channels * nk)).zip(dv.par_chunks_mut(e * nk));
    let (_, blocks, size) = sizes.blocks();
    outputs.zip(parts.par_chunks(blocks)).for_each(|(((dq, dk), dv), parts)| {
        if lanes_are_queries {
            place(parts, size, nq, 0, dq);
            add_up(parts, 0, dk);
            add_up(parts, dk.len(), dv);
        } else {
            place(parts, size, nk, 0, dk);
            place(parts, size, nk, key_channels, dv);
            add_up(parts, 0, dq);
        }
    });
    packed
}

/// The gradients of a block of lanes, and its part of those of the other side; of the keys those of `v` follow those of `k`.
#[inline(always)]
fn gradients<T: Real>(
    lanes: &Side<T>,
    others: &Side<T>,
    range: Range<usize>,
    values: usize,
    lanes_are_queries: bool,
) -> Part<T> {
    let (n, m) = (range.len(), others.n);
    let (lane_values, other_values) = if lanes_are_queries { (0, values) } else { (values, 0) };
    let mut part = Part {
        lanes: vec![T::ZERO; (lanes.wanted + lane_values) * n],
        others: vec![T::ZERO; (others.wanted + other_values) * m],
    };
    let (of_energy, of_values) = part.lanes.split_at_mut(lanes.wanted * n);
    let (of_other_energy, of_other_values) = part.others.split_at_mut(others.wanted * m);
    let [mut weights, mut slopes] = [vec![T::ZERO; n], vec![T::ZERO; n]];
    for j in 0..m {
        lanes.energy().products(&range, others.energy(), j, &mut weights);
        lanes.slope().products(&range, others.slope(), j, &mut slopes);
        for (weight, slope) in weights.iter_mut().zip(&mut slopes) {
            *weight = weight.exp();
            *slope *= *weight;
        }
        for (out, other) in of_energy.chunks_exact_mut(n).zip(others.energy().iter()) {
            add_product(out, &slopes, other[j]);
        }
        for (out, other) in of_values.chunks_exact_mut(n).zip(others.slope().iter()) {
            add_product(out, &weights, other[j]);
        }
        for (out, row) in of_other_energy.chunks_exact_mut(m).zip(lanes.energy().iter()) {
            out[j] = dot(&slopes, &row[range.clone()]);
        }
        for (out, row) in of_other_values.chunks_exact_mut(m).zip(lanes.slope().iter()) {
            out[j] = dot(&weights, &row[range.clone()]);
        }
    }
    part
}
