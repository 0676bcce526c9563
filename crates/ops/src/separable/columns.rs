//! The way along a row of an image, where stretches of outputs take their inputs by one pattern: these are vectorised.

use super::Axis;
use colormamba_cpu::Real;
use std::ops::Range;

/// Outputs from which on a stretch is worth the way into its loop.
const LEAST: usize = 16;

/// How entries move along from output to output, with the same weights.
#[derive(Clone, Copy)]
enum Pattern {
    /// By one input each.
    Each,
    /// By one input each second output: as in doubling.
    Pairs,
    /// By two inputs each: as in halving.
    EverySecond,
}

impl Pattern {
    const ALL: [Self; 3] = [Self::Each, Self::Pairs, Self::EverySecond];

    /// After how many outputs it comes again, and how many inputs further on.
    fn period(self) -> (usize, usize) {
        match self {
            Self::Each => (1, 1),
            Self::Pairs => (2, 1),
            Self::EverySecond => (1, 2),
        }
    }

    /// How many outputs follow it from one on, in whole periods.
    fn stretch<T: Real>(self, axis: &Axis<T>, start: usize) -> usize {
        let (outputs, inputs) = self.period();
        let follows = |i: usize| {
            let (before, now) = (axis.row(i - outputs), axis.row(i));
            let moved = |(a, b): (&(usize, T), &(usize, T))| a.0 + inputs == b.0 && a.1 == b.1;
            before.len() == now.len() && before.iter().zip(now).all(moved)
        };
        let first = start + outputs;
        if first > axis.outputs() || axis.row(start).len() != axis.row(first - 1).len() {
            return 0;
        }
        let length = outputs + (first..axis.outputs()).take_while(|&i| follows(i)).count();
        length - length % outputs
    }
}

/// An axis along which elements are neighbours in memory.
pub(super) struct Columns<T> {
    axis: Axis<T>,
    /// All outputs in order, with the pattern that they follow, if there is one.
    parts: Vec<(Range<usize>, Option<Pattern>)>,
}

impl<T: Real> Columns<T> {
    pub fn new(axis: Axis<T>) -> Self {
        let mut parts: Vec<(Range<usize>, Option<Pattern>)> = Vec::new();
        let mut at = 0;
        while at < axis.outputs() {
            let stretches = Pattern::ALL.map(|pattern| (pattern.stretch(&axis, at), pattern));
            let (length, pattern) =
                stretches.into_iter().fold((0, Pattern::Each), |a, b| if b.0 > a.0 { b } else { a });
            if length >= LEAST {
                parts.push((at..at + length, Some(pattern)));
                at += length;
                continue;
            }
            at += 1;
            match parts.last_mut() {
                Some((range, None)) => range.end = at,
                _ => parts.push((at - 1..at, None)),
            }
        }
        Self { axis, parts }
    }

    /// All outputs `y` from the inputs `row`.
    #[inline(always)]
    pub fn mix(&self, row: &[T], y: &mut [T]) {
        for (range, pattern) in &self.parts {
            let outputs = &mut y[range.clone()];
            let first = self.axis.row(range.start);
            match (pattern, first) {
                (None, _) => self.one_by_one(row, range.start, outputs),
                (Some(Pattern::Each), &[(i, weight)]) if weight == T::ONE => {
                    outputs.copy_from_slice(&row[i..][..outputs.len()]);
                }
                (Some(Pattern::Each), _) => regular::<T, 1, 1>(row, [first], outputs),
                (Some(Pattern::Pairs), _) => {
                    regular::<T, 2, 1>(row, [first, self.axis.row(range.start + 1)], outputs);
                }
                (Some(Pattern::EverySecond), _) => regular::<T, 1, 2>(row, [first], outputs),
            }
        }
    }

    #[inline(always)]
    fn one_by_one(&self, row: &[T], start: usize, y: &mut [T]) {
        for (j, y) in y.iter_mut().enumerate() {
            let mut sum = T::ZERO;
            for &(i, weight) in self.axis.row(start + j) {
                sum += row[i] * weight;
            }
            *y = sum;
        }
    }
}

/// A stretch with a period of `OUTPUTS` outputs and `INPUTS` inputs, from the entries of its first outputs.
#[inline(always)]
fn regular<T: Real, const OUTPUTS: usize, const INPUTS: usize>(
    row: &[T],
    firsts: [&[(usize, T)]; OUTPUTS],
    y: &mut [T],
) {
    y.fill(T::ZERO);
    let periods = y.as_chunks_mut::<OUTPUTS>().0;
    let reach = (periods.len() - 1) * INPUTS + 1;
    for e in 0..firsts[0].len() {
        let sources = firsts.map(|entries| &row[entries[e].0..][..reach]);
        let weights = firsts.map(|entries| entries[e].1);
        for (j, out) in periods.iter_mut().enumerate() {
            for p in 0..OUTPUTS {
                out[p] += sources[p][j * INPUTS] * weights[p];
            }
        }
    }
}
