//! Scans of some chunks of channels over one sequence: forward, and backward from kept states.
//!
//! A sequence is cut into segments of [`SEGMENT`] steps. Per segment and chunk everything that does not depend on the states
//! is brought into [`Segment`]; then the states of a channel run through the segment, a block at a time, so that they and
//! their decay rates stay in registers. The backward pass walks the segments from the last to the first: from the states
//! that the forward pass kept it runs through one again, keeping all decays and states, and then back. What all channels
//! share, the weights and their gradients, is read and written once for all chunks of a segment.
//!
//! # Formulas
//! Of a channel, with decays `a_t = exp(δ_t A)` and drives `u_t = δ_t x_t`, states of N numbers follow
//!
//! `h_t = a_t h_{t−1} + u_t B_t`, `y_t = C_t · h_t + D x_t`.
//!
//! Let ȳ be the gradient of a loss by y, likewise the others. The states' gradient follows the same recurrence backwards,
//!
//! `h̄_t = a_{t+1} h̄_{t+1} + ȳ_t C_t`, and with `e_t = h̄_t a_t h_{t−1}`, the gradient of the exponent δ_t A,
//!
//! - `ū_t = B_t · h̄_t`, `x̄_t = δ_t ū_t + D ȳ_t`, `δ̄_t = x_t ū_t + A · e_t`,
//! - `Ā = Σ_t δ_t e_t`, `D̄ = Σ_t ȳ_t x_t`,
//! - summed over channels: `B̄_t = Σ u_t h̄_t`, `C̄_t = Σ ȳ_t h_t`;
//! - δ is the softplus of a raw step size, whose slope is the logistic function: `raw̄_t = δ̄_t / (1 + exp(−raw_t))`.
//!
//! Decays are computed as 2^(δ_t A log₂e), so A comes times log₂e, and the sum for δ̄ is multiplied by ln 2 in the end.
//! Source: Gu & Dao 2023, arXiv 2312.00752, eq. 2 and section 3.3.2 (states computed again in the backward pass).

// Index loops over several arrays of equal length read better here than zipped iterators.
#![allow(clippy::needless_range_loop)]

use crate::lanes::{Kernel, Lanes, Machine, Scalar, softplus};
use std::ops::Range;

/// Steps between kept states.
pub(crate) const SEGMENT: usize = 128;

/// States that go through a segment together.
pub(crate) const BLOCK: usize = 4;

/// A value per channel and step of a segment.
pub(crate) type Steps<T> = [Lanes<T>; SEGMENT];

/// Of one block of states and by step: [`BLOCK`] input weights, then as many output weights.
pub(crate) type Weights<T> = [[T; 2 * BLOCK]; SEGMENT];

/// Values of a block of states.
pub(crate) type States<T> = [Lanes<T>; BLOCK];

/// The parameters of one chunk of channels, or their gradients.
#[derive(Clone)]
pub(crate) struct Rates<T> {
    /// From the low-rank step sizes to those of the channels.
    pub weight: Vec<Lanes<T>>,
    pub bias: Lanes<T>,
    /// Decay rates times log2(e), or the gradients of the decay rates; zero for states that only fill up a block.
    pub a: Vec<States<T>>,
    pub d: Lanes<T>,
}

/// What is scanned: some chunks of channels over a number of steps. All functions are inlined into the kernel.
pub(crate) trait Sequence<T> {
    /// Steps of the sequence.
    fn length(&self) -> usize;
    /// Fills in the weights of these steps, by blocks of states.
    fn weights(&self, steps: Range<usize>, weights: &mut [Weights<T>]);
    /// Fills in the inputs of a chunk with these parameters, and its step sizes before softplus.
    fn inputs<M: Machine<T>>(
        &self,
        m: M,
        steps: Range<usize>,
        of: (usize, &Rates<T>),
        x: &mut Steps<T>,
        raw: &mut Steps<T>,
    );
    /// Fetches what the others will read for these steps.
    fn prefetch<M: Machine<T>>(&self, m: M, steps: Range<usize>, chunk: usize);
}

/// Where a scan's outputs are added.
pub(crate) trait Output<T> {
    /// Adds those of a chunk.
    fn add<M: Machine<T>>(&mut self, m: M, steps: Range<usize>, chunk: usize, y: &Steps<T>);
    /// Fetches what it will be added to.
    fn prefetch<M: Machine<T>>(&mut self, m: M, steps: Range<usize>, chunk: usize);
}

/// The gradient of a scan's outputs, and where those of its inputs are added.
pub(crate) trait Gradients<T> {
    /// Fills in the gradient of a chunk's outputs.
    fn outputs<M: Machine<T>>(&self, m: M, steps: Range<usize>, chunk: usize, dy: &mut Steps<T>);
    /// Adds the gradients of what [`Sequence::inputs`] gave, also to those of weights and biases.
    fn inputs<M: Machine<T>>(
        &mut self,
        m: M,
        steps: Range<usize>,
        of: (usize, &Rates<T>, &mut Rates<T>),
        dx: &Steps<T>,
        draw: &Steps<T>,
    );
    /// Adds the gradients of what [`Sequence::weights`] gave, summed over all chunks.
    fn weights(&mut self, steps: Range<usize>, dw: &[Weights<T>]);
    /// Fetches what the others will read for these steps.
    fn prefetch<M: Machine<T>>(&mut self, m: M, steps: Range<usize>, chunk: usize);
}

/// What a stretch of the sequence needs, in the order of the scan.
struct Segment<T> {
    len: usize,
    x: Steps<T>,
    /// Step sizes before softplus, and then the slope of softplus there if it is wanted.
    raw: Steps<T>,
    delta: Steps<T>,
    /// delta · x.
    drive: Steps<T>,
}

impl<T: Scalar> Segment<T> {
    fn new() -> Box<Self> {
        let zero = [Lanes::ZERO; SEGMENT];
        Box::new(Self { len: 0, x: zero, raw: zero, delta: zero, drive: zero })
    }

    /// Reads it for a chunk with these parameters.
    #[inline(always)]
    fn read<M: Machine<T>>(
        &mut self,
        m: M,
        sequence: &impl Sequence<T>,
        steps: Range<usize>,
        of: (usize, &Rates<T>),
        with_slope: bool,
    ) {
        self.len = steps.len().min(SEGMENT);
        sequence.inputs(m, steps, of, &mut self.x, &mut self.raw);
        for t in 0..self.len {
            let (delta, slope) = softplus(&self.raw[t]);
            self.delta[t] = delta;
            if with_slope {
                self.raw[t] = slope;
            }
            m.store(m.times(m.load(&delta), m.load(&self.x[t])), &mut self.drive[t]);
        }
    }

    /// Takes a block of states from the start of the segment to its end. Their share of the output is added to `y`, or for
    /// the first block, which brings `d`, to `d` · x.
    #[inline(always)]
    fn advance<M: Machine<T>>(
        &self,
        m: M,
        a: &States<T>,
        h: &mut States<T>,
        weights: &Weights<T>,
        y: &mut Steps<T>,
        d: Option<&Lanes<T>>,
    ) {
        let (a, mut s) = (load(m, a), load(m, h));
        for t in 0..self.len {
            let (delta, drive, w) = (m.load(&self.delta[t]), m.load(&self.drive[t]), &weights[t]);
            let mut out = match d {
                Some(d) => m.times(m.load(d), m.load(&self.x[t])),
                None => m.load(&y[t]),
            };
            for j in 0..BLOCK {
                let decay = m.exp2(m.times(delta, a[j]));
                s[j] = m.fused(decay, s[j], m.times(drive, m.splat(w[j])));
                out = m.fused(s[j], m.splat(w[BLOCK + j]), out);
            }
            m.store(out, &mut y[t]);
        }
        store(m, s, h);
    }

    /// [`Self::advance`] without output, keeping the decays and states of all steps.
    #[inline(always)]
    fn replay<M: Machine<T>>(
        &self,
        m: M,
        a: &States<T>,
        start: &States<T>,
        weights: &Weights<T>,
        trace: &mut Trace<T>,
    ) {
        let (a, mut s) = (load(m, a), load(m, start));
        trace.state[0] = *start;
        for t in 0..self.len {
            let (delta, drive, w) = (m.load(&self.delta[t]), m.load(&self.drive[t]), &weights[t]);
            for j in 0..BLOCK {
                let decay = m.exp2(m.times(delta, a[j]));
                s[j] = m.fused(decay, s[j], m.times(drive, m.splat(w[j])));
                m.store(decay, &mut trace.decay[t][j]);
                m.store(s[j], &mut trace.state[t + 1][j]);
            }
        }
    }

    /// Takes the gradients `adjoint` of a block of states from the end of the segment to its start; adds those of `a`. In the
    /// module's formulas `here` is h̄_t, `exponent` is e_t, and `g[j]` carries a_t h̄_t to the step before.
    #[inline(always)]
    fn retreat<M: Machine<T>>(
        &self,
        m: M,
        (a, da): (&States<T>, &mut States<T>),
        adjoint: &mut States<T>,
        (weights, dweights): (&Weights<T>, &mut Weights<T>),
        trace: &Trace<T>,
        sums: &mut Sums<T>,
    ) {
        let (a, mut g) = (load(m, a), load(m, adjoint));
        let mut to_a = [m.splat(T::ZERO); BLOCK];
        for t in (0..self.len).rev() {
            let (delta, drive, w) = (m.load(&self.delta[t]), m.load(&self.drive[t]), &weights[t]);
            let (dy, mut to_drive, mut to_delta) =
                (m.load(&sums.dy[t]), m.load(&sums.drive[t]), m.load(&sums.delta[t]));
            let mut products = [dy; 2 * BLOCK];
            for j in 0..BLOCK {
                let here = m.fused(dy, m.splat(w[BLOCK + j]), g[j]);
                to_drive = m.fused(here, m.splat(w[j]), to_drive);
                g[j] = m.times(here, m.load(&trace.decay[t][j]));
                let exponent = m.times(g[j], m.load(&trace.state[t][j]));
                to_a[j] = m.fused(exponent, delta, to_a[j]);
                to_delta = m.fused(exponent, a[j], to_delta);
                products[j] = m.times(here, drive);
                products[BLOCK + j] = m.times(m.load(&trace.state[t + 1][j]), dy);
            }
            m.store(to_drive, &mut sums.drive[t]);
            m.store(to_delta, &mut sums.delta[t]);
            let dw = m.sums(products);
            dweights[t].iter_mut().zip(dw).for_each(|(to, dw)| *to += dw);
        }
        store(m, g, adjoint);
        // A segment's share is added up before it joins the total: less rounding on long sequences.
        for j in 0..BLOCK {
            m.store(m.plus(m.load(&da[j]), to_a[j]), &mut da[j]);
        }
    }

    /// From the gradients of delta and drive to those of the inputs: of x, and in place of that of delta, that of the raw
    /// step size. Adds that of `d`.
    #[inline(always)]
    fn finish<M: Machine<T>>(&self, m: M, d: &Lanes<T>, dd: &mut Lanes<T>, sums: &mut Sums<T>) {
        let (ln2, d) = (m.splat(T::of(std::f64::consts::LN_2)), m.load(d));
        let mut to_d = m.splat(T::ZERO);
        for t in 0..self.len {
            let (x, dy, to_drive) = (m.load(&self.x[t]), m.load(&sums.dy[t]), m.load(&sums.drive[t]));
            let to_delta = m.fused(to_drive, x, m.times(ln2, m.load(&sums.delta[t])));
            m.store(m.times(to_delta, m.load(&self.raw[t])), &mut sums.delta[t]);
            m.store(m.fused(to_drive, m.load(&self.delta[t]), m.times(dy, d)), &mut sums.x[t]);
            to_d = m.fused(dy, x, to_d);
        }
        m.store(m.plus(m.load(dd), to_d), dd);
    }
}

#[inline(always)]
fn load<T, M: Machine<T>>(m: M, from: &States<T>) -> [M::Vector; BLOCK] {
    let mut v = [m.load(&from[0]); BLOCK];
    for j in 1..BLOCK {
        v[j] = m.load(&from[j]);
    }
    v
}

#[inline(always)]
fn store<T, M: Machine<T>>(m: M, v: [M::Vector; BLOCK], to: &mut States<T>) {
    for j in 0..BLOCK {
        m.store(v[j], &mut to[j]);
    }
}

/// The course of a block of states through a segment.
struct Trace<T> {
    decay: [States<T>; SEGMENT],
    /// Before the first step, and after each.
    state: [States<T>; SEGMENT + 1],
}

/// Gradients of what a segment holds.
struct Sums<T> {
    dy: Steps<T>,
    /// Of delta through the decay alone over ln(2), and of delta · x.
    delta: Steps<T>,
    drive: Steps<T>,
    x: Steps<T>,
}

/// The segments of a sequence, in order.
fn segments(length: usize) -> impl DoubleEndedIterator<Item = Range<usize>> + ExactSizeIterator {
    (0..length.div_ceil(SEGMENT)).map(move |i| i * SEGMENT..length.min((i + 1) * SEGMENT))
}

/// The segment after one.
fn after(steps: &Range<usize>, length: usize) -> Range<usize> {
    steps.end..length.min(steps.end + SEGMENT)
}

/// The segment before one; none before the first.
fn before(steps: &Range<usize>) -> Range<usize> {
    steps.start.saturating_sub(SEGMENT)..steps.start
}

/// Adds the outputs of a scan.
pub(crate) struct Forward<'a, T, S, O> {
    pub sequence: &'a S,
    pub rates: &'a [Rates<T>],
    pub output: &'a mut O,
    /// For each chunk, the states before each segment are added to it.
    pub kept: Option<&'a mut [Vec<States<T>>]>,
}

impl<T: Scalar, S: Sequence<T>, O: Output<T>> Kernel<T> for Forward<'_, T, S, O> {
    #[inline(always)]
    fn run<M: Machine<T>>(self, m: M) {
        let Self { sequence, rates, output, mut kept } = self;
        let blocks = rates[0].a.len();
        let mut segment = Segment::new();
        let mut weights = vec![[[T::ZERO; 2 * BLOCK]; SEGMENT]; blocks];
        let mut states = vec![[Lanes::ZERO; BLOCK]; blocks * rates.len()];
        let mut y = Box::new([Lanes::ZERO; SEGMENT]);
        for steps in segments(sequence.length()) {
            sequence.weights(steps.clone(), &mut weights);
            for (chunk, (rates, states)) in rates.iter().zip(states.chunks_exact_mut(blocks)).enumerate() {
                if let Some(kept) = &mut kept {
                    kept[chunk].extend_from_slice(states);
                }
                output.prefetch(m, steps.clone(), chunk);
                segment.read(m, sequence, steps.clone(), (chunk, rates), false);
                sequence.prefetch(m, after(&steps, sequence.length()), chunk);
                let mut d = Some(&rates.d);
                for ((a, h), weights) in rates.a.iter().zip(states).zip(&weights) {
                    segment.advance(m, a, h, weights, &mut y, d.take());
                }
                output.add(m, steps.clone(), chunk, &y);
            }
        }
    }
}

/// Adds the gradients of a scan.
pub(crate) struct Backward<'a, T, S, G> {
    pub sequence: &'a S,
    pub rates: &'a [Rates<T>],
    /// For each chunk, the states before each segment.
    pub kept: &'a [Vec<States<T>>],
    pub gradients: &'a mut G,
    pub drates: &'a mut [Rates<T>],
}

impl<T: Scalar, S: Sequence<T>, G: Gradients<T>> Kernel<T> for Backward<'_, T, S, G> {
    #[inline(always)]
    fn run<M: Machine<T>>(self, m: M) {
        let Self { sequence, rates, kept, gradients, drates } = self;
        let blocks = rates[0].a.len();
        let zero = [Lanes::ZERO; SEGMENT];
        let mut segment = Segment::new();
        let mut weights = vec![[[T::ZERO; 2 * BLOCK]; SEGMENT]; blocks];
        let mut dweights = weights.clone();
        let mut adjoints = vec![[Lanes::ZERO; BLOCK]; blocks * rates.len()];
        let mut trace =
            Box::new(Trace { decay: [[Lanes::ZERO; BLOCK]; SEGMENT], state: [[Lanes::ZERO; BLOCK]; SEGMENT + 1] });
        let mut sums = Box::new(Sums { dy: zero, delta: zero, drive: zero, x: zero });
        for (i, steps) in segments(sequence.length()).enumerate().rev() {
            sequence.weights(steps.clone(), &mut weights);
            dweights.fill([[T::ZERO; 2 * BLOCK]; SEGMENT]);
            for (chunk, (rates, drates)) in rates.iter().zip(drates.iter_mut()).enumerate() {
                segment.read(m, sequence, steps.clone(), (chunk, rates), true);
                gradients.outputs(m, steps.clone(), chunk, &mut sums.dy);
                sequence.prefetch(m, before(&steps), chunk);
                gradients.prefetch(m, before(&steps), chunk);
                sums.delta = [Lanes::ZERO; SEGMENT];
                sums.drive = [Lanes::ZERO; SEGMENT];
                let (kept, adjoints) =
                    (&kept[chunk][i * blocks..][..blocks], &mut adjoints[chunk * blocks..][..blocks]);
                for k in 0..blocks {
                    let a = &rates.a[k];
                    segment.replay(m, a, &kept[k], &weights[k], &mut trace);
                    let (da, dw) = (&mut drates.a[k], &mut dweights[k]);
                    segment.retreat(m, (a, da), &mut adjoints[k], (&weights[k], dw), &trace, &mut sums);
                }
                segment.finish(m, &rates.d, &mut drates.d, &mut sums);
                gradients.inputs(m, steps.clone(), (chunk, rates, drates), &sums.x, &sums.delta);
            }
            gradients.weights(steps, &dweights);
        }
    }
}
