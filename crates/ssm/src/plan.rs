//! How a set of scans is laid out in memory and shared among threads.

use crate::kernel::{self, Columns, Gradients, Rates, Sequence};
use crate::lanes::{LANES, Lanes};
use colormamba_ops::cpu::Real;
use rayon::prelude::*;
use std::ops::Range;

/// Rows that a thread puts together at a time.
const ROWS: usize = 256;

/// Tasks of the backward pass that an image's channels are worth splitting for: each holds its own gradient of the
/// projections, which all channels share.
const SPLITS: usize = 8;

/// What is scanned.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A map of `height` rows, in four directions over the same channels, the results summed.
    Map { height: usize, width: usize },
    /// Independent groups of channels over one sequence, each followed by the step sizes of its channels.
    Rows,
}

/// The sizes of a set of scans. Data are position-major:
/// - x: D columns (map), or for each group D inputs and D step sizes (rows);
/// - projections: for each group R low-rank step sizes, N input weights, N output weights;
/// - parameters: weights (K, D, R), step biases (K, D), a (K, D, N), d (K, D), one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub kind: Kind,
    pub batch: usize,
    pub length: usize,
    /// K: directions or groups.
    pub groups: usize,
    /// D: channels of each.
    pub channels: usize,
    /// R.
    pub rank: usize,
    /// N.
    pub states: usize,
}

/// What one thread does in one go: some scans over the same channels of one image, one after the other.
struct Task {
    image: usize,
    groups: Vec<usize>,
    chunks: Range<usize>,
}

/// The inputs of a plan.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a, T> {
    pub x: &'a [T],
    pub projected: &'a [T],
    pub parameters: &'a [T],
}

/// Gradients of one task: x and step by chunk and position, the others by group first.
struct Part<T> {
    x: Vec<Lanes<T>>,
    step: Vec<Lanes<T>>,
    projected: Vec<T>,
    rates: Vec<Rates<T>>,
}

/// Columns of one image's result.
struct Piece<'a, T> {
    image: usize,
    first: usize,
    used: usize,
    data: &'a [Lanes<T>],
}

impl Plan {
    pub(crate) fn x_width(&self) -> usize {
        match self.kind {
            Kind::Map { .. } => self.channels,
            Kind::Rows => 2 * self.groups * self.channels,
        }
    }

    pub(crate) fn out_width(&self) -> usize {
        match self.kind {
            Kind::Map { .. } => self.channels,
            Kind::Rows => self.groups * self.channels,
        }
    }

    fn group_width(&self) -> usize {
        self.rank + 2 * self.states
    }

    pub(crate) fn projected_width(&self) -> usize {
        self.groups * self.group_width()
    }

    pub(crate) fn parameter_count(&self) -> usize {
        self.groups * self.channels * (self.rank + self.states + 2)
    }

    fn x_first(&self, group: usize) -> usize {
        match self.kind {
            Kind::Map { .. } => 0,
            Kind::Rows => 2 * group * self.channels,
        }
    }

    fn out_first(&self, group: usize) -> usize {
        match self.kind {
            Kind::Map { .. } => 0,
            Kind::Rows => group * self.channels,
        }
    }

    fn chunks(&self) -> usize {
        self.channels.div_ceil(LANES)
    }

    fn used(&self, chunk: usize) -> usize {
        LANES.min(self.channels - chunk * LANES)
    }

    /// The position of each step, by group: row-major, column-major, then both reversed.
    fn orders(&self) -> Vec<Vec<u32>> {
        let Kind::Map { height, width } = self.kind else { return vec![(0..self.length as u32).collect()] };
        let rows: Vec<u32> = (0..self.length as u32).collect();
        let columns: Vec<u32> = (0..width).flat_map(|j| (0..height).map(move |i| (i * width + j) as u32)).collect();
        let reversed = |order: &[u32]| order.iter().rev().copied().collect();
        let (back, up) = (reversed(&rows), reversed(&columns));
        vec![rows, columns, back, up]
    }

    /// Opposite directions share a task, so that a map needs two partial results and not four.
    ///
    /// The split follows from the shapes alone, so results do not depend on the number of threads.
    fn tasks(&self, splits: usize) -> Vec<Task> {
        let streams: Vec<Vec<usize>> = match self.kind {
            Kind::Map { .. } => vec![vec![0, 2], vec![1, 3]],
            Kind::Rows => (0..self.groups).map(|k| vec![k]).collect(),
        };
        let (chunks, splits) = (self.chunks(), splits.clamp(1, self.chunks()));
        let mut tasks = Vec::new();
        for image in 0..self.batch {
            for groups in &streams {
                for i in 0..splits {
                    let chunks = i * chunks / splits..(i + 1) * chunks / splits;
                    tasks.push(Task { image, groups: groups.clone(), chunks });
                }
            }
        }
        tasks
    }

    /// Calls `f` with the index of every parameter of a chunk and its place: row of [`Rates`] (weights, bias, a, d) and lane.
    fn each_parameter(&self, group: usize, chunk: usize, mut f: impl FnMut(usize, usize, usize)) {
        let (rank, states, all) = (self.rank, self.states, self.groups * self.channels);
        for lane in 0..self.used(chunk) {
            let channel = group * self.channels + chunk * LANES + lane;
            (0..rank).for_each(|r| f(channel * rank + r, r, lane));
            f(all * rank + channel, rank, lane);
            (0..states).for_each(|n| f(all * (rank + 1) + channel * states + n, rank + 1 + n, lane));
            f(all * (rank + 1 + states) + channel, rank + 1 + states, lane);
        }
    }

    fn rates<T: Real>(&self, parameters: &[T], group: usize, chunk: usize) -> Rates<T> {
        let mut rates = Rates::zeros(self.rank, self.states);
        self.each_parameter(group, chunk, |i, row, lane| rates.row_mut(row).0[lane] = parameters[i]);
        rates
    }

    fn sequence<'a, T: Real>(
        &self,
        inputs: &Inputs<'a, T>,
        order: &'a [u32],
        rates: &'a Rates<T>,
        at: (usize, usize, usize),
    ) -> Sequence<'a, T> {
        let (image, group, chunk) = at;
        let columns = |data: &'a [T], width: usize, first| {
            let data = &data[image * self.length * width..(image + 1) * self.length * width];
            Columns { data, width, first }
        };
        let first = self.x_first(group) + chunk * LANES;
        let x = columns(inputs.x, self.x_width(), first);
        let projected = columns(inputs.projected, self.projected_width(), group * self.group_width());
        let step = matches!(self.kind, Kind::Rows).then_some(Columns { first: first + self.channels, ..x });
        Sequence { order, used: self.used(chunk), x, projected, step, rates }
    }

    /// The output, (batch, length, [`Self::out_width`]).
    pub(crate) fn forward<T: Real>(&self, inputs: &Inputs<T>) -> Vec<T> {
        let orders = self.orders();
        let tasks = self.tasks(usize::MAX);
        let run = |task: &Task| {
            let mut y = vec![Lanes::ZERO; self.length];
            for &group in &task.groups {
                let rates = self.rates(inputs.parameters, group, task.chunks.start);
                let order = &orders[group % orders.len()];
                let sequence = self.sequence(inputs, order, &rates, (task.image, group, task.chunks.start));
                kernel::forward(&sequence, &mut y);
            }
            y
        };
        let parts: Vec<_> = tasks.par_iter().map(run).collect();
        let pieces =
            tasks.iter().zip(&parts).flat_map(|(task, y)| self.pieces(task, y, self.out_first(task.groups[0])));
        self.assemble(self.out_width(), &pieces.collect::<Vec<_>>())
    }

    /// The gradients of x, projections and parameters.
    pub(crate) fn backward<T: Real>(&self, inputs: &Inputs<T>, dy: &[T]) -> [Vec<T>; 3] {
        let orders = self.orders();
        let tasks = self.tasks(SPLITS / self.batch);
        let parts: Vec<_> = tasks.par_iter().map(|task| self.backward_task(inputs, dy, &orders, task)).collect();
        let mut pieces = Vec::new();
        for (task, part) in tasks.iter().zip(&parts) {
            let first = self.x_first(task.groups[0]);
            pieces.extend(self.pieces(task, &part.x, first));
            pieces.extend(self.pieces(task, &part.step, first + self.channels));
        }
        let x = self.assemble(self.x_width(), &pieces);
        [x, self.sum_projected(&tasks, &parts), self.sum_parameters(&tasks, &parts)]
    }

    fn backward_task<T: Real>(&self, inputs: &Inputs<T>, dy: &[T], orders: &[Vec<u32>], task: &Task) -> Part<T> {
        let (length, width) = (self.length, self.group_width());
        let steps = if matches!(self.kind, Kind::Rows) { length } else { 0 };
        let mut part = Part {
            x: vec![Lanes::ZERO; task.chunks.len() * length],
            step: vec![Lanes::ZERO; task.chunks.len() * steps],
            projected: vec![T::ZERO; task.groups.len() * length * width],
            rates: Vec::with_capacity(task.groups.len() * task.chunks.len()),
        };
        let dy = &dy[task.image * length * self.out_width()..(task.image + 1) * length * self.out_width()];
        for (i, &group) in task.groups.iter().enumerate() {
            for (j, chunk) in task.chunks.clone().enumerate() {
                let rates = self.rates(inputs.parameters, group, chunk);
                let order = &orders[group % orders.len()];
                let sequence = self.sequence(inputs, order, &rates, (task.image, group, chunk));
                let dy = Columns { data: dy, width: self.out_width(), first: self.out_first(group) + chunk * LANES };
                let mut drates = Rates::zeros(self.rank, self.states);
                let mut gradients = Gradients {
                    x: &mut part.x[j * length..(j + 1) * length],
                    step: &mut part.step[j * steps..(j + 1) * steps],
                    projected: &mut part.projected[i * length * width..(i + 1) * length * width],
                    rates: &mut drates,
                };
                kernel::backward(&sequence, &dy, &mut gradients);
                part.rates.push(drates);
            }
        }
        part
    }

    fn pieces<'a, T>(&self, task: &Task, data: &'a [Lanes<T>], first: usize) -> Vec<Piece<'a, T>> {
        let (image, chunks) = (task.image, task.chunks.clone());
        let piece = |(chunk, data)| Piece { image, first: first + chunk * LANES, used: self.used(chunk), data };
        chunks.zip(data.chunks(self.length)).map(piece).collect()
    }

    /// Sums pieces, in their order, into a (batch, length, width) result.
    fn assemble<T: Real>(&self, width: usize, pieces: &[Piece<T>]) -> Vec<T> {
        let mut out = vec![T::ZERO; self.batch * self.length * width];
        out.par_chunks_mut(self.length * width).enumerate().for_each(|(image, out)| {
            let own: Vec<_> = pieces.iter().filter(|piece| piece.image == image).collect();
            out.par_chunks_mut(ROWS * width).enumerate().for_each(|(block, rows)| {
                for (i, row) in rows.chunks_mut(width).enumerate() {
                    for piece in &own {
                        let to = &mut row[piece.first..piece.first + piece.used];
                        to.iter_mut().zip(&piece.data[block * ROWS + i].0).for_each(|(to, &from)| *to += from);
                    }
                }
            });
        });
        out
    }

    fn sum_projected<T: Real>(&self, tasks: &[Task], parts: &[Part<T>]) -> Vec<T> {
        let (all, width) = (self.projected_width(), self.group_width());
        let mut out = vec![T::ZERO; self.batch * self.length * all];
        out.par_chunks_mut(self.length * all).enumerate().for_each(|(image, out)| {
            let own: Vec<_> = tasks.iter().zip(parts).filter(|(task, _)| task.image == image).collect();
            out.par_chunks_mut(all).enumerate().with_min_len(ROWS).for_each(|(position, row)| {
                for (task, part) in &own {
                    for (i, group) in task.groups.iter().enumerate() {
                        let from = &part.projected[(i * self.length + position) * width..][..width];
                        let to = &mut row[group * width..(group + 1) * width];
                        to.iter_mut().zip(from).for_each(|(to, &from)| *to += from);
                    }
                }
            });
        });
        out
    }

    fn sum_parameters<T: Real>(&self, tasks: &[Task], parts: &[Part<T>]) -> Vec<T> {
        let mut out = vec![T::ZERO; self.parameter_count()];
        for (task, part) in tasks.iter().zip(parts) {
            let scans = task.groups.iter().flat_map(|&group| task.chunks.clone().map(move |chunk| (group, chunk)));
            for ((group, chunk), rates) in scans.zip(&part.rates) {
                self.each_parameter(group, chunk, |i, row, lane| out[i] += rates.row(row).0[lane]);
            }
        }
        out
    }
}
