//! Scans of groups of channels, each channel a row.

use crate::kernel::{BLOCK, Gradients, Output, Rates, SEGMENT, Sequence, Steps, Weights};
use crate::lanes::{LANES, Lanes, Machine, Scalar};
use crate::layout::{Groups, Kept, add_up, shares};
use colormamba_cpu::Shared;
use rayon::prelude::*;
use std::ops::Range;

/// Tasks that a pass is worth splitting the channels of a group for: each part has its own gradient of the weights.
const TASKS: usize = 4;

/// The sizes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub batch: usize,
    pub length: usize,
    /// Without low-rank step sizes.
    pub groups: Groups,
}

/// u and delta `(B, K·D, L)`, b and c `(B, K, N, L)`; the parameters as [`Groups`] has them.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a, T> {
    pub u: &'a [T],
    pub delta: &'a [T],
    pub b: &'a [T],
    pub c: &'a [T],
    pub parameters: &'a [T],
}

/// What one thread does in one go: some channels of a group.
struct Task {
    image: usize,
    group: usize,
    /// Which part of the sum over channels this belongs to.
    part: usize,
    chunks: Range<usize>,
}

impl Rows {
    /// Into how many tasks the channels of a group are split. It follows from the shapes alone, so results do not depend on
    /// the number of threads.
    fn splits(&self) -> usize {
        TASKS.div_ceil(self.batch * self.groups.count).min(self.groups.chunks())
    }

    fn tasks(&self) -> Vec<Task> {
        let mut tasks = Vec::new();
        for image in 0..self.batch {
            for group in 0..self.groups.count {
                for (part, chunks) in shares(self.groups.chunks(), self.splits()).enumerate() {
                    tasks.push(Task { image, group, part, chunks });
                }
            }
        }
        tasks
    }

    /// The output `(B, K·D, L)`.
    pub(crate) fn forward<T: Scalar>(&self, inputs: &Inputs<T>, keep: bool) -> (Vec<T>, Kept<T>) {
        let mut y = vec![T::ZERO; inputs.u.len()];
        let shared = Shared::new(&mut y);
        let run = |task: &Task| {
            let view = View { rows: self, inputs, task };
            let mut output = Results { view: &view, to: shared };
            self.groups.forward(inputs.parameters, (task.group, task.chunks.clone()), &view, &mut output, keep)
        };
        let kept: Vec<_> = self.tasks().par_iter().flat_map_iter(run).collect();
        (y, kept)
    }

    /// The gradients of u, delta, b, c and parameters, given those of the output.
    pub(crate) fn backward<T: Scalar>(&self, inputs: &Inputs<T>, kept: &Kept<T>, dy: &[T]) -> [Vec<T>; 5] {
        let parts = || vec![vec![T::ZERO; inputs.b.len()]; self.splits()];
        let (mut du, mut ddelta) = (vec![T::ZERO; inputs.u.len()], vec![T::ZERO; inputs.u.len()]);
        let (mut db, mut dc) = (parts(), parts());
        let inputs_by_task = [&mut du, &mut ddelta].map(|x| Shared::new(x));
        let weights: Vec<_> = db.iter_mut().zip(&mut dc).map(|(b, c)| [b, c].map(|x| Shared::new(x))).collect();
        let run = |task: &Task| {
            let view = View { rows: self, inputs, task };
            let (to, weights) = (inputs_by_task, weights[task.part]);
            let mut gradients = RowGradients { view: &view, dy, inputs: to, weights };
            let first = (task.image * self.groups.count + task.group) * self.groups.chunks() + task.chunks.start;
            let of = (task.group, task.chunks.clone());
            self.groups.backward(inputs.parameters, of, &view, &kept[first..], &mut gradients)
        };
        let tasks = self.tasks();
        let by_task: Vec<_> = tasks.par_iter().map(run).collect();
        let mut parameters = vec![T::ZERO; self.groups.parameter_count()];
        for (task, mut rates) in tasks.iter().zip(by_task) {
            self.groups.add_rates(&mut rates, task.group, task.chunks.clone(), &mut parameters);
        }
        [du, ddelta, add_up(db), add_up(dc), parameters]
    }
}

/// Some channels of a group of one image.
struct View<'a, T> {
    rows: &'a Rows,
    inputs: &'a Inputs<'a, T>,
    task: &'a Task,
}

impl<T> View<'_, T> {
    /// The group, among those of all images.
    fn group(&self) -> usize {
        self.task.image * self.rows.groups.count + self.task.group
    }

    /// The rows of a chunk, among those of all images.
    #[inline(always)]
    fn channels(&self, chunk: usize) -> Range<usize> {
        let (first, channels) = (self.group() * self.rows.groups.channels, chunk + self.task.chunks.start);
        let channels = self.rows.groups.of_chunk(channels);
        first + channels.start..first + channels.end
    }

    /// The elements of a row, among `(.., L)`, at some steps.
    #[inline(always)]
    fn elements(&self, row: usize, steps: &Range<usize>) -> Range<usize> {
        row * self.rows.length + steps.start..row * self.rows.length + steps.end
    }

    /// Where the weights of a state are, among `(.., L)`.
    #[inline(always)]
    fn state(&self, n: usize) -> usize {
        self.group() * self.rows.groups.states + n
    }
}

impl<T: Scalar> View<'_, T> {
    /// Reads the rows of a chunk at some steps.
    #[inline(always)]
    fn read<M: Machine<T>>(&self, m: M, from: &[T], steps: &Range<usize>, chunk: usize, to: &mut Steps<T>) {
        let mut tile = [Lanes::ZERO; LANES];
        for (i, to) in to.chunks_exact_mut(LANES).take(steps.len().div_ceil(LANES)).enumerate() {
            let part = part(steps, i);
            for (lane, row) in self.channels(chunk).enumerate() {
                tile[lane] = Lanes::load(&from[self.elements(row, &part)], part.len());
            }
            transpose(m, &tile, to);
        }
    }

    #[inline(always)]
    fn prefetch_rows<M: Machine<T>>(&self, m: M, of: &[T], steps: &Range<usize>, chunk: usize) {
        for row in self.channels(chunk) {
            of[self.elements(row, steps)].chunks(LANES).for_each(|line| m.prefetch(line));
        }
    }

    /// Writes the rows of a chunk at some steps.
    #[inline(always)]
    fn write<M: Machine<T>>(&self, m: M, from: &Steps<T>, steps: &Range<usize>, chunk: usize, to: Shared<T>) {
        let mut rows = [Lanes::ZERO; LANES];
        for (i, from) in from.chunks_exact(LANES).take(steps.len().div_ceil(LANES)).enumerate() {
            let part = part(steps, i);
            transpose(m, from, &mut rows);
            for (lane, row) in self.channels(chunk).enumerate() {
                // SAFETY: tasks differ in the rows.
                rows[lane].store(unsafe { to.slice(self.elements(row, &part)) });
            }
        }
    }
}

/// Lane i of line j of `from` as lane j of line i of `to`; both have [`LANES`] lines.
#[inline(always)]
fn transpose<T: Scalar, M: Machine<T>>(m: M, from: &[Lanes<T>], to: &mut [Lanes<T>]) {
    // Not with `array::from_fn`, which is not inlined and so compiled without vector instructions.
    let mut v = [m.splat(T::ZERO); LANES];
    v.iter_mut().zip(from).for_each(|(v, from)| *v = m.load(from));
    to.iter_mut().zip(m.transposed(v)).for_each(|(to, v)| m.store(v, to));
}

/// Steps `i` · [`LANES`] on, as many as there are up to [`LANES`].
#[inline(always)]
fn part(steps: &Range<usize>, i: usize) -> Range<usize> {
    let start = steps.start + i * LANES;
    start..steps.end.min(start + LANES)
}

impl<T: Scalar> Sequence<T> for View<'_, T> {
    fn length(&self) -> usize {
        self.rows.length
    }

    #[inline(always)]
    fn weights(&self, steps: Range<usize>, weights: &mut [Weights<T>]) {
        for n in 0..self.rows.groups.states {
            let (elements, weights) = (self.elements(self.state(n), &steps), &mut weights[n / BLOCK]);
            let (b, c) = (&self.inputs.b[elements.clone()], &self.inputs.c[elements]);
            for ((weights, &b), &c) in weights.iter_mut().zip(b).zip(c) {
                (weights[n % BLOCK], weights[BLOCK + n % BLOCK]) = (b, c);
            }
        }
    }

    #[inline(always)]
    fn inputs<M: Machine<T>>(
        &self,
        m: M,
        steps: Range<usize>,
        (chunk, rates): (usize, &Rates<T>),
        x: &mut Steps<T>,
        raw: &mut Steps<T>,
    ) {
        self.read(m, self.inputs.u, &steps, chunk, x);
        self.read(m, self.inputs.delta, &steps, chunk, raw);
        for raw in raw.iter_mut().take(steps.len()) {
            m.store(m.plus(m.load(raw), m.load(&rates.bias)), raw);
        }
    }

    #[inline(always)]
    fn prefetch<M: Machine<T>>(&self, m: M, steps: Range<usize>, chunk: usize) {
        self.prefetch_rows(m, self.inputs.u, &steps, chunk);
        self.prefetch_rows(m, self.inputs.delta, &steps, chunk);
    }
}

struct Results<'a, T> {
    view: &'a View<'a, T>,
    to: Shared<'a, T>,
}

impl<T: Scalar> Output<T> for Results<'_, T> {
    #[inline(always)]
    fn add<M: Machine<T>>(&mut self, m: M, steps: Range<usize>, chunk: usize, y: &Steps<T>) {
        self.view.write(m, y, &steps, chunk, self.to);
    }

    #[inline(always)]
    fn prefetch<M: Machine<T>>(&mut self, _: M, _: Range<usize>, _: usize) {}
}

struct RowGradients<'a, T> {
    view: &'a View<'a, T>,
    dy: &'a [T],
    /// Of u and delta.
    inputs: [Shared<'a, T>; 2],
    /// Of b and c.
    weights: [Shared<'a, T>; 2],
}

impl<T: Scalar> Gradients<T> for RowGradients<'_, T> {
    #[inline(always)]
    fn outputs<M: Machine<T>>(&self, m: M, steps: Range<usize>, chunk: usize, dy: &mut Steps<T>) {
        self.view.read(m, self.dy, &steps, chunk, dy);
    }

    #[inline(always)]
    fn inputs<M: Machine<T>>(
        &mut self,
        m: M,
        steps: Range<usize>,
        (chunk, _, drates): (usize, &Rates<T>, &mut Rates<T>),
        dx: &Steps<T>,
        draw: &Steps<T>,
    ) {
        let [du, ddelta] = self.inputs;
        self.view.write(m, dx, &steps, chunk, du);
        self.view.write(m, draw, &steps, chunk, ddelta);
        let mut bias = m.splat(T::ZERO);
        for draw in &draw[..steps.len().min(SEGMENT)] {
            bias = m.plus(bias, m.load(draw));
        }
        m.store(m.plus(m.load(&drates.bias), bias), &mut drates.bias);
    }

    #[inline(always)]
    fn weights(&mut self, steps: Range<usize>, dw: &[Weights<T>]) {
        for n in 0..self.view.rows.groups.states {
            let elements = self.view.elements(self.view.state(n), &steps);
            for (first, to) in [0, BLOCK].into_iter().zip(&mut self.weights) {
                // SAFETY: tasks of one part differ in the image or in the group.
                let to = unsafe { to.slice(elements.clone()) };
                to.iter_mut().zip(&dw[n / BLOCK]).for_each(|(to, dw)| *to = dw[first + n % BLOCK]);
            }
        }
    }

    #[inline(always)]
    fn prefetch<M: Machine<T>>(&mut self, m: M, steps: Range<usize>, chunk: usize) {
        self.view.prefetch_rows(m, self.dy, &steps, chunk);
    }
}
