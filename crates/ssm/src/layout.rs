//! How parameters and results of a set of scans lie in memory.

use crate::kernel::{BLOCK, Backward, Forward, Gradients, Output, Rates, SEGMENT, Sequence, States};
use crate::lanes::{LANES, Lanes, Scalar};
use rayon::prelude::*;
use std::ops::Range;

/// Elements that a thread adds up at a time.
const CHUNK: usize = 1 << 14;

/// What the backward pass needs of the forward: for each chunk of each group of each image the states before each segment.
pub(crate) type Kept<T> = Vec<Vec<States<T>>>;

/// Scans of K groups of D channels. The parameters are weights (K, D, R), step biases (K, D), a (K, D, N) and d (K, D),
/// one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Groups {
    /// K.
    pub count: usize,
    /// D.
    pub channels: usize,
    /// R, of the low-rank step sizes.
    pub rank: usize,
    /// N.
    pub states: usize,
}

impl Groups {
    pub(crate) fn parameter_count(&self) -> usize {
        self.count * self.channels * (self.rank + self.states + 2)
    }

    /// Chunks of [`LANES`] channels in a group.
    pub(crate) fn chunks(&self) -> usize {
        self.channels.div_ceil(LANES)
    }

    /// Blocks of states of a channel.
    pub(crate) fn blocks(&self) -> usize {
        self.states.div_ceil(BLOCK)
    }

    /// The channels of a chunk.
    #[inline(always)]
    pub(crate) fn of_chunk(&self, chunk: usize) -> Range<usize> {
        chunk * LANES..self.channels.min((chunk + 1) * LANES)
    }

    /// The parameters of some chunks of a group.
    fn rates<T: Scalar>(&self, parameters: &[T], group: usize, chunks: Range<usize>) -> Vec<Rates<T>> {
        let log2_e = T::of(std::f64::consts::LOG2_E);
        let of_chunk = |chunk| {
            let mut rates = self.zeros();
            self.each_parameter(group, chunk, |i, place| {
                let scale = if matches!(place, Place::A(..)) { log2_e } else { T::ONE };
                *place.of(&mut rates) = parameters[i] * scale;
            });
            rates
        };
        chunks.map(of_chunk).collect()
    }

    /// Scans some chunks of a group, adding to `output`; returns, by chunk, the states before each segment, none unless
    /// `keep`.
    pub(crate) fn forward<T: Scalar>(
        &self,
        parameters: &[T],
        (group, chunks): (usize, Range<usize>),
        sequence: &impl Sequence<T>,
        output: &mut impl Output<T>,
        keep: bool,
    ) -> Kept<T> {
        let rates = self.rates(parameters, group, chunks);
        let room = if keep { sequence.length().div_ceil(SEGMENT) * self.blocks() } else { 0 };
        // Not `vec!`, whose copies of an empty vector have no room.
        let mut kept: Kept<T> = (0..rates.len()).map(|_| Vec::with_capacity(room)).collect();
        let kept_by_kernel = keep.then_some(kept.as_mut_slice());
        T::dispatch(Forward { sequence, rates: &rates, output, kept: kept_by_kernel });
        kept
    }

    /// Goes back through some chunks of a group, whose states begin `kept`; returns the gradients of their parameters.
    pub(crate) fn backward<T: Scalar>(
        &self,
        parameters: &[T],
        (group, chunks): (usize, Range<usize>),
        sequence: &impl Sequence<T>,
        kept: &[Vec<States<T>>],
        gradients: &mut impl Gradients<T>,
    ) -> Vec<Rates<T>> {
        let rates = self.rates(parameters, group, chunks);
        let mut drates = vec![self.zeros(); rates.len()];
        let kept = &kept[..rates.len()];
        T::dispatch(Backward { sequence, rates: &rates, kept, gradients, drates: &mut drates });
        drates
    }

    /// Room for the gradients of a chunk's parameters.
    fn zeros<T: Scalar>(&self) -> Rates<T> {
        Rates {
            weight: vec![Lanes::ZERO; self.rank],
            bias: Lanes::ZERO,
            a: vec![[Lanes::ZERO; BLOCK]; self.blocks()],
            d: Lanes::ZERO,
        }
    }

    /// Adds the gradients of some chunks of a group.
    pub(crate) fn add_rates<T: Scalar>(&self, from: &mut [Rates<T>], group: usize, chunks: Range<usize>, to: &mut [T]) {
        for (chunk, rates) in chunks.zip(from) {
            self.each_parameter(group, chunk, |i, place| to[i] += *place.of(rates));
        }
    }

    /// Calls `f` with the index of every parameter of a chunk and its place.
    fn each_parameter(&self, group: usize, chunk: usize, mut f: impl FnMut(usize, Place)) {
        let (rank, states, all) = (self.rank, self.states, self.count * self.channels);
        for (lane, channel) in self.of_chunk(chunk).enumerate() {
            let channel = group * self.channels + channel;
            (0..rank).for_each(|r| f(channel * rank + r, Place::Weight(r, lane)));
            f(all * rank + channel, Place::Bias(lane));
            (0..states).for_each(|n| f(all * (rank + 1) + channel * states + n, Place::A(n, lane)));
            f(all * (rank + 1 + states) + channel, Place::D(lane));
        }
    }
}

/// Where in [`Rates`] a parameter stands.
enum Place {
    Weight(usize, usize),
    Bias(usize),
    A(usize, usize),
    D(usize),
}

impl Place {
    fn of<T>(self, rates: &mut Rates<T>) -> &mut T {
        match self {
            Self::Weight(r, lane) => &mut rates.weight[r].0[lane],
            Self::Bias(lane) => &mut rates.bias.0[lane],
            Self::A(n, lane) => &mut rates.a[n / BLOCK][n % BLOCK].0[lane],
            Self::D(lane) => &mut rates.d.0[lane],
        }
    }
}

/// `parts` ranges that share `0..n` evenly, as far as there is something for each.
pub(crate) fn shares(n: usize, parts: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let parts = parts.clamp(1, n.max(1));
    (0..parts).map(move |i| i * n / parts..(i + 1) * n / parts)
}

/// The sum of vectors of equal length, in their order.
pub(crate) fn add_up<T: Scalar>(parts: Vec<Vec<T>>) -> Vec<T> {
    let mut parts = parts.into_iter();
    let mut sum = parts.next().unwrap_or_default();
    for part in parts {
        sum.par_chunks_mut(CHUNK).zip(part.par_chunks(CHUNK)).for_each(|(sum, part)| {
            sum.iter_mut().zip(part).for_each(|(sum, &part)| *sum += part);
        });
    }
    sum
}
