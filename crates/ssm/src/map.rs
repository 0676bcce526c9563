//! Four scans over one token map, in the order of each direction.

use crate::kernel::{BLOCK, Gradients, Output, Rates, SEGMENT, Sequence, Steps, Weights};
use crate::lanes::{LANES, Lanes, Machine, Scalar};
use crate::layout::{Groups, Kept, add_up, shares};
use colormamba_cpu::Shared;
use rayon::prelude::*;
use std::ops::Range;

/// Row by row, column by column, and both backwards.
pub(crate) const DIRECTIONS: usize = 4;

/// Tasks that a pass is worth splitting into where that needs memory: sums over directions are then made by parts.
const TASKS: usize = 4;

/// The sizes; the groups are the [`DIRECTIONS`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map {
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub groups: Groups,
}

/// x `(B, H, W, D)`; projections `(B, H, W, 4 (R + 2 N))`, for each direction low-rank step sizes, input weights and output
/// weights; the parameters as [`Groups`] has them.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a, T> {
    pub x: &'a [T],
    pub projected: &'a [T],
    pub parameters: &'a [T],
}

/// What one thread does in one go: some directions of some channels, one after the other.
struct Task {
    image: usize,
    /// Which part of the sum over directions this belongs to.
    part: usize,
    directions: Range<usize>,
    chunks: Range<usize>,
}

impl Map {
    fn length(&self) -> usize {
        self.height * self.width
    }

    /// Columns of the projections of one direction.
    fn group_width(&self) -> usize {
        self.groups.rank + 2 * self.groups.states
    }

    /// The position of each step, by direction.
    fn orders(&self) -> [Vec<u32>; DIRECTIONS] {
        let (height, width) = (self.height, self.width);
        let rows: Vec<u32> = (0..self.length() as u32).collect();
        let columns: Vec<u32> = (0..width).flat_map(|j| (0..height).map(move |i| (i * width + j) as u32)).collect();
        let reversed = |order: &[u32]| order.iter().rev().copied().collect();
        let (back, up) = (reversed(&rows), reversed(&columns));
        [rows, columns, back, up]
    }

    /// The split follows from the shapes alone, so results do not depend on the number of threads.
    fn tasks(&self, parts: usize, splits: usize) -> Vec<Task> {
        let mut tasks = Vec::new();
        for image in 0..self.batch {
            for (part, directions) in shares(DIRECTIONS, parts).enumerate() {
                for chunks in shares(self.groups.chunks(), splits) {
                    tasks.push(Task { image, part, directions: directions.clone(), chunks });
                }
            }
        }
        tasks
    }

    /// The output `(B, H, W, D)`.
    pub(crate) fn forward<T: Scalar>(&self, inputs: &Inputs<T>, keep: bool) -> (Vec<T>, Kept<T>) {
        let splits = TASKS.div_ceil(self.batch).min(self.groups.chunks());
        let parts = TASKS.div_ceil(self.batch * splits).min(DIRECTIONS);
        let mut sums = vec![vec![T::ZERO; inputs.x.len()]; parts];
        let outputs: Vec<_> = sums.iter_mut().map(|sum| Shared::new(sum)).collect();
        let orders = self.orders();
        let run = |task: &Task| -> Vec<_> {
            let of_direction = |direction| {
                let view = self.view(inputs, &orders, task, direction);
                let mut output = Columns { view: &view, to: outputs[task.part] };
                let of = (direction, task.chunks.clone());
                (direction, self.groups.forward(inputs.parameters, of, &view, &mut output, keep))
            };
            task.directions.clone().map(of_direction).collect()
        };
        let tasks = self.tasks(parts, splits);
        let by_task: Vec<_> = tasks.par_iter().map(run).collect();
        let mut kept = vec![Vec::new(); self.batch * DIRECTIONS * self.groups.chunks()];
        for (task, by_direction) in tasks.iter().zip(by_task) {
            for (direction, by_chunk) in by_direction {
                let first = self.first_kept(task.image, direction) + task.chunks.start;
                kept[first..].iter_mut().zip(by_chunk).for_each(|(to, from)| *to = from);
            }
        }
        (add_up(sums), kept)
    }

    /// The gradients of x, projections and parameters, given those of the output.
    pub(crate) fn backward<T: Scalar>(&self, inputs: &Inputs<T>, kept: &Kept<T>, dy: &[T]) -> [Vec<T>; 3] {
        let parts = TASKS.div_ceil(self.batch).min(DIRECTIONS);
        let mut dx = vec![vec![T::ZERO; inputs.x.len()]; parts];
        let mut projected = vec![T::ZERO; inputs.projected.len()];
        let (x_parts, shared) =
            (dx.iter_mut().map(|x| Shared::new(x)).collect::<Vec<_>>(), Shared::new(&mut projected));
        let orders = self.orders();
        let run = |task: &Task| -> Vec<_> {
            let of_direction = |direction| {
                let view = self.view(inputs, &orders, task, direction);
                let mut gradients = MapGradients {
                    view: &view,
                    dy: &dy[task.image * view.x.len()..][..view.x.len()],
                    dx: x_parts[task.part],
                    projected: shared,
                    low: vec![[T::ZERO; SEGMENT]; self.groups.rank],
                };
                let kept = &kept[self.first_kept(task.image, direction)..];
                let of = (direction, task.chunks.clone());
                (direction, self.groups.backward(inputs.parameters, of, &view, kept, &mut gradients))
            };
            task.directions.clone().map(of_direction).collect()
        };
        let tasks = self.tasks(parts, 1);
        let by_task: Vec<_> = tasks.par_iter().map(run).collect();
        let mut parameters = vec![T::ZERO; self.groups.parameter_count()];
        for (task, by_direction) in tasks.iter().zip(by_task) {
            for (direction, mut rates) in by_direction {
                self.groups.add_rates(&mut rates, direction, task.chunks.clone(), &mut parameters);
            }
        }
        [add_up(dx), projected, parameters]
    }

    fn first_kept(&self, image: usize, direction: usize) -> usize {
        (image * DIRECTIONS + direction) * self.groups.chunks()
    }

    fn view<'a, T: Scalar>(
        &'a self,
        inputs: &Inputs<'a, T>,
        orders: &'a [Vec<u32>; DIRECTIONS],
        task: &Task,
        direction: usize,
    ) -> View<'a, T> {
        let (x, projected) = (inputs.x.len() / self.batch, inputs.projected.len() / self.batch);
        View {
            map: self,
            image: task.image,
            direction,
            first_chunk: task.chunks.start,
            order: &orders[direction],
            x: &inputs.x[task.image * x..][..x],
            projected: &inputs.projected[task.image * projected..][..projected],
        }
    }
}

/// Some channels of one image in the order of one direction.
struct View<'a, T> {
    map: &'a Map,
    image: usize,
    direction: usize,
    first_chunk: usize,
    order: &'a [u32],
    x: &'a [T],
    projected: &'a [T],
}

impl<T: Scalar> View<'_, T> {
    /// The elements of x, within the image, of a chunk at a step.
    #[inline(always)]
    fn channels(&self, step: usize, chunk: usize) -> Range<usize> {
        let (first, channels) = (self.order[step] as usize * self.map.groups.channels, chunk + self.first_chunk);
        let channels = self.map.groups.of_chunk(channels);
        first + channels.start..first + channels.end
    }

    /// The elements of the projections, within the image, of the direction at a step.
    #[inline(always)]
    fn columns(&self, step: usize) -> Range<usize> {
        let width = self.map.group_width();
        let first = (self.order[step] as usize * DIRECTIONS + self.direction) * width;
        first..first + width
    }
}

impl<T: Scalar> Sequence<T> for View<'_, T> {
    fn length(&self) -> usize {
        self.order.len()
    }

    #[inline(always)]
    fn weights(&self, steps: Range<usize>, weights: &mut [Weights<T>]) {
        let (rank, states) = (self.map.groups.rank, self.map.groups.states);
        for (t, step) in steps.enumerate().take(SEGMENT) {
            let (b, c) = self.projected[self.columns(step)][rank..].split_at(states);
            for ((weights, b), c) in weights.iter_mut().zip(b.chunks(BLOCK)).zip(c.chunks(BLOCK)) {
                fill(&mut weights[t], b, c);
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
        for (t, step) in steps.enumerate().take(SEGMENT) {
            let from = &self.x[self.channels(step, chunk)];
            x[t] = Lanes::load(from, from.len());
            let mut sum = m.load(&rates.bias);
            for (w, &low) in rates.weight.iter().zip(&self.projected[self.columns(step)]) {
                sum = m.fused(m.load(w), m.splat(low), sum);
            }
            m.store(sum, &mut raw[t]);
        }
    }

    #[inline(always)]
    fn prefetch<M: Machine<T>>(&self, m: M, steps: Range<usize>, chunk: usize) {
        for step in steps {
            m.prefetch(&self.x[self.channels(step, chunk)]);
            if chunk == 0 {
                self.projected[self.columns(step)].chunks(LANES).for_each(|line| m.prefetch(line));
            }
        }
    }
}

/// Writes the weights of a block of states; a last block may be short.
#[inline(always)]
fn fill<T: Scalar>(weights: &mut [T; 2 * BLOCK], b: &[T], c: &[T]) {
    if let (Some(b), Some(c)) = (b.first_chunk::<BLOCK>(), c.first_chunk::<BLOCK>()) {
        *weights = [b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3]];
    } else {
        weights[..b.len()].copy_from_slice(b);
        weights[BLOCK..][..c.len()].copy_from_slice(c);
    }
}

/// A part of the sum over directions.
struct Columns<'a, T> {
    view: &'a View<'a, T>,
    to: Shared<'a, T>,
}

impl<T: Scalar> Output<T> for Columns<'_, T> {
    #[inline(always)]
    fn add<M: Machine<T>>(&mut self, m: M, steps: Range<usize>, chunk: usize, y: &Steps<T>) {
        for (y, step) in y.iter().zip(steps) {
            y.add_to(m, columns(self.view, self.to, (step, chunk)));
        }
    }

    #[inline(always)]
    fn prefetch<M: Machine<T>>(&mut self, m: M, steps: Range<usize>, chunk: usize) {
        for step in steps {
            m.prefetch(columns(self.view, self.to, (step, chunk)));
        }
    }
}

/// The columns of a chunk at a step.
#[inline(always)]
fn columns<'a, T: Scalar>(view: &View<T>, of: Shared<'a, T>, (step, chunk): (usize, usize)) -> &'a mut [T] {
    let (first, channels) = (view.image * view.x.len(), view.channels(step, chunk));
    // SAFETY: tasks of one part differ in the image or in the chunks.
    unsafe { of.slice(first + channels.start..first + channels.end) }
}

struct MapGradients<'a, T> {
    view: &'a View<'a, T>,
    dy: &'a [T],
    dx: Shared<'a, T>,
    projected: Shared<'a, T>,
    /// Of a segment's low-rank step sizes, summed over the chunks.
    low: Vec<[T; SEGMENT]>,
}

impl<T: Scalar> Gradients<T> for MapGradients<'_, T> {
    #[inline(always)]
    fn outputs<M: Machine<T>>(&self, _: M, steps: Range<usize>, chunk: usize, dy: &mut Steps<T>) {
        for (dy, step) in dy.iter_mut().zip(steps) {
            let from = &self.dy[self.view.channels(step, chunk)];
            *dy = Lanes::load(from, from.len());
        }
    }

    #[inline(always)]
    fn inputs<M: Machine<T>>(
        &mut self,
        m: M,
        steps: Range<usize>,
        (chunk, rates, drates): (usize, &Rates<T>, &mut Rates<T>),
        dx: &Steps<T>,
        draw: &Steps<T>,
    ) {
        let mut bias = m.splat(T::ZERO);
        for ((dx, draw), step) in dx.iter().zip(draw).zip(steps.clone()) {
            dx.add_to(m, columns(self.view, self.dx, (step, chunk)));
            bias = m.plus(bias, m.load(draw));
        }
        m.store(m.plus(m.load(&drates.bias), bias), &mut drates.bias);
        for (r, (w, dw)) in rates.weight.iter().zip(&mut drates.weight).enumerate() {
            let (w, mut sum) = (m.load(w), m.splat(T::ZERO));
            for (draw, step) in draw.iter().zip(steps.clone()) {
                let low = self.view.projected[self.view.columns(step)][r];
                sum = m.fused(m.load(draw), m.splat(low), sum);
            }
            m.store(m.plus(m.load(dw), sum), dw);
            let (draw, _) = draw.as_chunks::<8>();
            let (low, _) = self.low[r].as_chunks_mut::<8>();
            for (draw, low) in draw.iter().zip(low) {
                let mut products = [w; 8];
                products.iter_mut().zip(draw).for_each(|(w, draw)| *w = m.times(*w, m.load(draw)));
                low.iter_mut().zip(m.sums(products)).for_each(|(low, sum)| *low += sum);
            }
        }
    }

    #[inline(always)]
    fn weights(&mut self, steps: Range<usize>, dw: &[Weights<T>]) {
        let (rank, states) = (self.view.map.groups.rank, self.view.map.groups.states);
        let first = self.view.image * self.view.projected.len();
        for (t, step) in steps.enumerate().take(SEGMENT) {
            let columns = self.view.columns(step);
            // SAFETY: tasks differ in the image or in the directions.
            let row = unsafe { self.projected.slice(first + columns.start..first + columns.end) };
            let (low, weights) = row.split_at_mut(rank);
            low.iter_mut().zip(&self.low).for_each(|(to, low)| *to = low[t]);
            let (b, c) = weights.split_at_mut(states);
            for ((dw, b), c) in dw.iter().zip(b.chunks_mut(BLOCK)).zip(c.chunks_mut(BLOCK)) {
                b.copy_from_slice(&dw[t][..b.len()]);
                c.copy_from_slice(&dw[t][BLOCK..][..c.len()]);
            }
        }
        self.low.fill([T::ZERO; SEGMENT]);
    }

    #[inline(always)]
    fn prefetch<M: Machine<T>>(&mut self, m: M, steps: Range<usize>, chunk: usize) {
        for step in steps {
            m.prefetch(&self.dy[self.view.channels(step, chunk)]);
            m.prefetch(columns(self.view, self.dx, (step, chunk)));
        }
    }
}
