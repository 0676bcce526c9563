//! The attention itself, and how blocks of lanes come together.

use super::Sizes;
use super::rows::{Rows, add_product, dot, larger, reduce};
use colormamba_cpu::{Real, vectorize};
use rayon::prelude::*;
use std::ops::Range;

/// The attention, and the statistics.
pub(super) fn forward<T: Real>(q: &[T], k: &[T], v: &[T], sizes: Sizes) -> (Vec<T>, Vec<T>) {
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
pub(super) struct Part<T> {
    /// Rows of the block's lanes.
    pub lanes: Vec<T>,
    /// Rows of the whole other side, to be merged with those of the other blocks.
    pub others: Vec<T>,
}

/// Fills rows of `n` lanes from the blocks' rows from `first` on.
pub(super) fn place<T: Real>(parts: &[Part<T>], size: usize, n: usize, first: usize, out: &mut [T]) {
    for (row, out) in out.chunks_exact_mut(n).enumerate() {
        for (out, part) in out.chunks_mut(size).zip(parts) {
            out.copy_from_slice(&part.lanes[(first + row) * out.len()..][..out.len()]);
        }
    }
}

/// Adds what the blocks hold for the other side from `start` on.
pub(super) fn add_up<T: Real>(parts: &[Part<T>], start: usize, out: &mut [T]) {
    for part in parts {
        out.iter_mut().zip(&part.others[start..]).for_each(|(out, &x)| *out += x);
    }
}
