//! One scan over up to [`LANES`] channels: forward, and backward from stored states.
//!
//! A sequence is cut into segments of [`SEGMENT`] steps. Per segment everything that does not depend on the state is read into
//! [`Segment`]; then each of the N states of a channel runs through the segment on its own, so that state and decay rate stay in
//! registers. The backward pass first runs forward and keeps the states at the start of every segment, then walks the segments
//! from the last to the first and recomputes the states of one at a time.

// Index loops over several arrays of equal length read better here than zipped iterators, and vectorise as well.
#![allow(clippy::needless_range_loop)]

use crate::lanes::{LANES, Lanes};
use colormamba_ops::cpu::Real;

/// Steps between stored states.
const SEGMENT: usize = 64;

type Steps<T> = [Lanes<T>; SEGMENT];

/// A matrix of which a scan reads some columns: row p is the position p of the map.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a, T> {
    pub data: &'a [T],
    pub width: usize,
    pub first: usize,
}

impl<'a, T: Real> Columns<'a, T> {
    #[inline(always)]
    fn row(&self, position: usize) -> &'a [T] {
        &self.data[position * self.width + self.first..(position + 1) * self.width]
    }
}

/// What one scan of up to [`LANES`] channels reads.
pub(crate) struct Sequence<'a, T> {
    /// The position of each step.
    pub order: &'a [u32],
    /// Channels in use.
    pub used: usize,
    pub x: Columns<'a, T>,
    /// Per position R low-rank step sizes, then N input weights B, then N output weights C.
    pub projected: Columns<'a, T>,
    /// Step sizes before bias and softplus, beside the low-rank part.
    pub step: Option<Columns<'a, T>>,
    pub rates: &'a Rates<T>,
}

/// The parameters of one scan.
pub(crate) struct Rates<T> {
    /// R rows: from the low-rank step sizes to those of the channels.
    pub weight: Vec<Lanes<T>>,
    pub bias: Lanes<T>,
    /// N rows.
    pub a: Vec<Lanes<T>>,
    pub d: Lanes<T>,
}

impl<T: Real> Rates<T> {
    pub(crate) fn zeros(rank: usize, states: usize) -> Self {
        Self { weight: vec![Lanes::ZERO; rank], bias: Lanes::ZERO, a: vec![Lanes::ZERO; states], d: Lanes::ZERO }
    }

    /// The rows in order: weights, bias, a, d.
    pub(crate) fn row(&self, row: usize) -> &Lanes<T> {
        let rank = self.weight.len();
        match row {
            r if r < rank => &self.weight[r],
            r if r == rank => &self.bias,
            r => self.a.get(r - rank - 1).unwrap_or(&self.d),
        }
    }

    /// [`Self::row`], to write to.
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut Lanes<T> {
        let rank = self.weight.len();
        match row {
            r if r < rank => &mut self.weight[r],
            r if r == rank => &mut self.bias,
            r => self.a.get_mut(r - rank - 1).unwrap_or(&mut self.d),
        }
    }
}

/// Where the gradients of one scan are added, by position.
pub(crate) struct Gradients<'a, T> {
    pub x: &'a mut [Lanes<T>],
    /// As wide as R + 2N.
    pub projected: &'a mut [T],
    /// Empty if the sequence has no `step`.
    pub step: &'a mut [Lanes<T>],
    pub rates: &'a mut Rates<T>,
}

/// What a stretch of the sequence needs, in the order of the scan.
struct Segment<T> {
    len: usize,
    position: [usize; SEGMENT],
    x: Steps<T>,
    /// Step sizes, and the derivative of each by its value before the softplus.
    delta: Steps<T>,
    slope: Steps<T>,
    /// delta · x.
    drive: Steps<T>,
    /// By state, then step.
    b: Vec<[T; SEGMENT]>,
    c: Vec<[T; SEGMENT]>,
}

impl<T: Real> Segment<T> {
    fn new(states: usize) -> Box<Self> {
        Box::new(Self {
            len: 0,
            position: [0; SEGMENT],
            x: [Lanes::ZERO; SEGMENT],
            delta: [Lanes::ZERO; SEGMENT],
            slope: [Lanes::ZERO; SEGMENT],
            drive: [Lanes::ZERO; SEGMENT],
            b: vec![[T::ZERO; SEGMENT]; states],
            c: vec![[T::ZERO; SEGMENT]; states],
        })
    }

    #[inline(always)]
    fn read(&mut self, sequence: &Sequence<T>, positions: &[u32]) {
        let rates = sequence.rates;
        let (rank, states) = (rates.weight.len(), rates.a.len());
        self.len = positions.len().min(SEGMENT);
        for t in 0..self.len {
            let position = positions[t] as usize;
            self.position[t] = position;
            let projected = &sequence.projected.row(position)[..rank + 2 * states];
            let mut raw = rates.bias;
            if let Some(step) = &sequence.step {
                raw.add(&Lanes::load(step.row(position), sequence.used));
            }
            for r in 0..rank {
                raw.add_scaled(&rates.weight[r], projected[r]);
            }
            (self.delta[t], self.slope[t]) = raw.softplus();
            self.x[t] = Lanes::load(sequence.x.row(position), sequence.used);
            self.drive[t] = Lanes::ZERO;
            self.drive[t].add_product(&self.delta[t], &self.x[t]);
            for n in 0..states {
                self.b[n][t] = projected[rank + n];
                self.c[n][t] = projected[rank + states + n];
            }
        }
    }

    /// Takes state n from the start of the segment to its end.
    #[inline(always)]
    fn advance(&self, n: usize, a: &Lanes<T>, state: &mut Lanes<T>) {
        let (a, mut h, b) = (*a, *state, &self.b[n]);
        for t in 0..self.len {
            for i in 0..LANES {
                let decay = (self.delta[t].0[i] * a.0[i]).exp();
                h.0[i] = decay.mul_add(h.0[i], self.drive[t].0[i] * b[t]);
            }
        }
        *state = h;
    }

    /// [`Self::advance`], adding the state's share of the output to `y`.
    #[inline(always)]
    fn advance_into(&self, n: usize, a: &Lanes<T>, state: &mut Lanes<T>, y: &mut Steps<T>) {
        let (a, mut h, b, c) = (*a, *state, &self.b[n], &self.c[n]);
        for t in 0..self.len {
            for i in 0..LANES {
                let decay = (self.delta[t].0[i] * a.0[i]).exp();
                h.0[i] = decay.mul_add(h.0[i], self.drive[t].0[i] * b[t]);
                y[t].0[i] = h.0[i].mul_add(c[t], y[t].0[i]);
            }
        }
        *state = h;
    }

    /// [`Self::advance`], keeping the decay of every step and the state before and after it.
    #[inline(always)]
    fn replay(&self, n: usize, a: &Lanes<T>, start: &Lanes<T>, trace: &mut Trace<T>) {
        let (a, mut h, b) = (*a, *start, &self.b[n]);
        for t in 0..self.len {
            trace.before[t] = h;
            for i in 0..LANES {
                let decay = (self.delta[t].0[i] * a.0[i]).exp();
                h.0[i] = decay.mul_add(h.0[i], self.drive[t].0[i] * b[t]);
                trace.decay[t].0[i] = decay;
            }
            trace.after[t] = h;
        }
    }

    /// Takes the gradient `adjoint` of state n from the end of the segment to its start; returns the gradient of `a`.
    #[inline(always)]
    fn retreat(
        &self,
        n: usize,
        a: &Lanes<T>,
        adjoint: &mut Lanes<T>,
        trace: &mut Trace<T>,
        sums: &mut Sums<T>,
    ) -> Lanes<T> {
        let (a, mut g, mut da) = (*a, *adjoint, Lanes::ZERO);
        let (b, c) = (self.b[n], self.c[n]);
        for t in (0..self.len).rev() {
            // Copies, so that the compiler need not fear that one array overlaps another.
            let (dy, decay, before, delta) = (sums.dy[t], trace.decay[t], trace.before[t], self.delta[t]);
            let (mut here, mut to_drive, mut to_delta) = (Lanes::ZERO, sums.drive[t], sums.delta[t]);
            for i in 0..LANES {
                here.0[i] = dy.0[i].mul_add(c[t], g.0[i]);
                to_drive.0[i] = here.0[i].mul_add(b[t], to_drive.0[i]);
                g.0[i] = here.0[i] * decay.0[i];
                let exponent = g.0[i] * before.0[i];
                da.0[i] = exponent.mul_add(delta.0[i], da.0[i]);
                to_delta.0[i] = exponent.mul_add(a.0[i], to_delta.0[i]);
            }
            trace.adjoint[t] = here;
            sums.drive[t] = to_drive;
            sums.delta[t] = to_delta;
        }
        dots(&trace.after[..self.len], &sums.dy, &mut sums.c[n]);
        dots(&trace.adjoint[..self.len], &self.drive, &mut sums.b[n]);
        *adjoint = g;
        da
    }
}

/// The sum over the lanes of `a · b`, step by step. By halves over all steps, which the compiler turns into SIMD; a sum
/// within one step it does not.
#[inline(always)]
fn dots<T: Real>(a: &[Lanes<T>], b: &Steps<T>, out: &mut [T; SEGMENT]) {
    let mut eights = [[T::ZERO; 8]; SEGMENT];
    for ((eight, a), b) in eights.iter_mut().zip(a).zip(b) {
        for i in 0..8 {
            eight[i] = a.0[i].mul_add(b.0[i], a.0[i + 8] * b.0[i + 8]);
        }
    }
    let mut fours = [[T::ZERO; 4]; SEGMENT];
    for (four, eight) in fours.iter_mut().zip(&eights) {
        for i in 0..4 {
            four[i] = eight[i] + eight[i + 4];
        }
    }
    for (out, four) in out.iter_mut().zip(&fours) {
        *out = (four[0] + four[2]) + (four[1] + four[3]);
    }
}

/// The course of one state through a segment.
struct Trace<T> {
    before: Steps<T>,
    after: Steps<T>,
    decay: Steps<T>,
    /// The gradient of the state after each step.
    adjoint: Steps<T>,
}

/// Gradients of what a segment holds.
struct Sums<T> {
    dy: Steps<T>,
    /// Of delta through the decay alone, and of delta · x.
    delta: Steps<T>,
    drive: Steps<T>,
    b: Vec<[T; SEGMENT]>,
    c: Vec<[T; SEGMENT]>,
}

impl<T: Real> Sums<T> {
    #[inline(always)]
    fn read(&mut self, dy: &Columns<T>, used: usize, segment: &Segment<T>) {
        for t in 0..segment.len {
            self.dy[t] = Lanes::load(dy.row(segment.position[t]), used);
            self.delta[t] = Lanes::ZERO;
            self.drive[t] = Lanes::ZERO;
        }
    }

    #[inline(always)]
    fn write(&self, sequence: &Sequence<T>, segment: &Segment<T>, gradients: &mut Gradients<T>) {
        let rates = sequence.rates;
        let (rank, states) = (rates.weight.len(), rates.a.len());
        let width = rank + 2 * states;
        // The rates' shares are summed over a segment before they join the total: less rounding on long sequences.
        let (mut bias, mut d) = (Lanes::ZERO, Lanes::ZERO);
        for t in 0..segment.len {
            let position = segment.position[t];
            let mut raw = Lanes::ZERO;
            let dx = &mut gradients.x[position];
            for i in 0..LANES {
                let delta = self.drive[t].0[i].mul_add(segment.x[t].0[i], self.delta[t].0[i]);
                raw.0[i] = delta * segment.slope[t].0[i];
            }
            dx.add_product(&self.drive[t], &segment.delta[t]);
            dx.add_product(&self.dy[t], &rates.d);
            d.add_product(&self.dy[t], &segment.x[t]);
            bias.add(&raw);
            if sequence.step.is_some() {
                gradients.step[position].add(&raw);
            }
            let low = sequence.projected.row(position);
            let projected = &mut gradients.projected[position * width..(position + 1) * width];
            for r in 0..rank {
                projected[r] += Lanes::dot(&raw, &rates.weight[r]);
                gradients.rates.weight[r].add_scaled(&raw, low[r]);
            }
            for n in 0..states {
                projected[rank + n] += self.b[n][t];
                projected[rank + states + n] += self.c[n][t];
            }
        }
        gradients.rates.bias.add(&bias);
        gradients.rates.d.add(&d);
    }
}

/// Adds the outputs of the scan to `y`, by position.
pub(crate) fn forward<T: Real>(sequence: &Sequence<T>, y: &mut [Lanes<T>]) {
    pulp::Arch::new().dispatch(Forward { sequence, y });
}

/// Adds the gradients of the scan, given that of its outputs.
pub(crate) fn backward<T: Real>(sequence: &Sequence<T>, dy: &Columns<T>, gradients: &mut Gradients<T>) {
    pulp::Arch::new().dispatch(Backward { sequence, dy, gradients });
}

// Structures and not closures: nothing forces the compiler to inline a closure into the function that has the vector
// instructions, and one of this size it does not, which makes it fifty times slower.
struct Forward<'a, T> {
    sequence: &'a Sequence<'a, T>,
    y: &'a mut [Lanes<T>],
}

impl<T: Real> pulp::WithSimd for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        run_forward(self.sequence, self.y);
    }
}

struct Backward<'a, 'b, T> {
    sequence: &'a Sequence<'a, T>,
    dy: &'a Columns<'a, T>,
    gradients: &'a mut Gradients<'b, T>,
}

impl<T: Real> pulp::WithSimd for Backward<'_, '_, T> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        run_backward(self.sequence, self.dy, self.gradients);
    }
}

#[inline(always)]
fn run_forward<T: Real>(sequence: &Sequence<T>, y: &mut [Lanes<T>]) {
    let rates = sequence.rates;
    let mut segment = Segment::new(rates.a.len());
    let mut states = vec![Lanes::ZERO; rates.a.len()];
    let mut out = [Lanes::ZERO; SEGMENT];
    for positions in sequence.order.chunks(SEGMENT) {
        segment.read(sequence, positions);
        for t in 0..segment.len {
            out[t] = y[segment.position[t]];
            out[t].add_product(&rates.d, &segment.x[t]);
        }
        for (n, (a, state)) in rates.a.iter().zip(&mut states).enumerate() {
            segment.advance_into(n, a, state, &mut out);
        }
        for t in 0..segment.len {
            y[segment.position[t]] = out[t];
        }
    }
}

#[inline(always)]
fn run_backward<T: Real>(sequence: &Sequence<T>, dy: &Columns<T>, gradients: &mut Gradients<T>) {
    let rates = sequence.rates;
    let n_states = rates.a.len();
    let mut segment = Segment::new(n_states);
    let stored = starting_states(sequence, &mut segment);
    let mut trace = Box::new(Trace {
        before: [Lanes::ZERO; SEGMENT],
        after: [Lanes::ZERO; SEGMENT],
        decay: [Lanes::ZERO; SEGMENT],
        adjoint: [Lanes::ZERO; SEGMENT],
    });
    let mut sums = Box::new(Sums {
        dy: [Lanes::ZERO; SEGMENT],
        delta: [Lanes::ZERO; SEGMENT],
        drive: [Lanes::ZERO; SEGMENT],
        b: vec![[T::ZERO; SEGMENT]; n_states],
        c: vec![[T::ZERO; SEGMENT]; n_states],
    });
    let mut adjoints = vec![Lanes::ZERO; n_states];
    for (positions, starts) in sequence.order.chunks(SEGMENT).zip(stored.chunks(n_states)).rev() {
        segment.read(sequence, positions);
        sums.read(dy, sequence.used, &segment);
        for n in 0..n_states {
            segment.replay(n, &rates.a[n], &starts[n], &mut trace);
            let da = segment.retreat(n, &rates.a[n], &mut adjoints[n], &mut trace, &mut sums);
            gradients.rates.a[n].add(&da);
        }
        sums.write(sequence, &segment, gradients);
    }
}

/// The states before each segment: segments x N.
#[inline(always)]
fn starting_states<T: Real>(sequence: &Sequence<T>, segment: &mut Segment<T>) -> Vec<Lanes<T>> {
    let rates = sequence.rates;
    let mut states = vec![Lanes::ZERO; rates.a.len()];
    let mut stored = Vec::with_capacity(sequence.order.len().div_ceil(SEGMENT) * states.len());
    for positions in sequence.order.chunks(SEGMENT) {
        stored.extend_from_slice(&states);
        segment.read(sequence, positions);
        for (n, (a, state)) in rates.a.iter().zip(&mut states).enumerate() {
            segment.advance(n, a, state);
        }
    }
    stored
}
