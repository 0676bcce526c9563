//! How parameters and results of a set of scans lie in memory.

use crate::kernel::{BLOCK, Rates};
use crate::lanes::{LANES, Lanes, Scalar};
use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;

/// Elements that a thread adds up at a time.
const CHUNK: usize = 1 << 14;

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
    pub(crate) fn rates<T: Scalar>(&self, parameters: &[T], group: usize, chunks: Range<usize>) -> Vec<Rates<T>> {
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

    /// Room for the gradients of a chunk's parameters.
    pub(crate) fn zeros<T: Scalar>(&self) -> Rates<T> {
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

/// A slice to which parallel tasks write, each to elements of its own.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for a `&mut [T]`; that no two tasks touch an element is what its unsafe method asks of callers.
unsafe impl<T: Send> Send for Shared<'_, T> {}
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), lifetime: PhantomData }
    }

    /// The elements of `range`.
    ///
    /// # Safety
    /// No other task or live borrow may use these elements meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn slice(&mut self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: in bounds by the assertion, unaliased by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
