//! The gradients of attention.

use super::Sizes;
use super::forward::{Part, add_up, place};
use super::rows::{Rows, add_product, dot};
use colormamba_cpu::{Real, vectorize};
use rayon::prelude::*;
use std::ops::Range;

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

/// The gradients of `q`, `k` and `v`.
pub(super) fn backward<T: Real>(sizes: Sizes, [q, k, v, y, grad, statistics]: [&[T]; 6]) -> [Vec<T>; 3] {
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
    let [mut dq, mut dk, mut dv] = [q, k, v].map(|x| vec![T::ZERO; x.len()]);
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
    [dq, dk, dv]
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
