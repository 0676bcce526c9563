//! The gradient of a convolution's weight.

use super::columns::{Columns, Tile, grown};
use super::correlate::tile_points;
use crate::cpu::Real;
use crate::gemm::{Matrix, Shared, split};
use rayon::prelude::*;
use std::ops::Range;

/// Tasks that the work is cut into, whatever the number of threads, so that sums do not depend on it.
const TASKS: usize = 32;
/// Least rows of the column matrix a task works on: fewer would repeat the packing of the output gradient too often.
const TASK_ROWS: usize = 128;

/// `weight[o, k] = Σ_p grad[o, p] · columns[k, p]` over all points of the grid.
pub(super) struct WeightGradient<'a, T> {
    pub columns: Columns<'a, T>,
    /// `(batch, outputs, height, width)` of the grid.
    pub grad: &'a [T],
    pub outputs: usize,
}

impl<T: Real> WeightGradient<'_, T> {
    /// The gradient, `(outputs, source.channels · taps)`.
    pub fn run(&self) -> Vec<T> {
        let taps = self.columns.window.area();
        let groups = split(self.columns.source.channels, TASKS, TASK_ROWS.div_ceil(taps));
        let rows = groups.first().map_or(0, |g| g.len() * taps);
        let tiles = self.columns.grid.tiles(tile_points(rows));
        let chunks = split(tiles.len(), TASKS.div_ceil(groups.len().max(1)), 1);
        let tasks: Vec<_> = chunks.iter().flat_map(|c| groups.iter().map(move |g| (c, g))).collect();
        // One transposed matrix (k, o) per task: there gemm has to pack the small factor only.
        let partial: Vec<Vec<T>> = tasks.into_par_iter().map(|(c, g)| self.partial(&tiles[c.clone()], g)).collect();
        self.collect(&partial, &groups)
    }

    /// The sum over some tiles for some input channels, `(channels · taps, outputs)`.
    fn partial(&self, tiles: &[Range<usize>], channels: &Range<usize>) -> Vec<T> {
        let rows = channels.len() * self.columns.window.area();
        let mut sum = vec![T::ZERO; rows * self.outputs];
        let (mut tile_columns, mut tile_grad) = (Vec::new(), Vec::new());
        for tile in tiles {
            let tile = self.columns.grid.tile(tile);
            let columns = self.columns.tile(&tile, channels.clone(), &mut tile_columns);
            let grad = self.tile_grad(&tile, &mut tile_grad);
            let transposed = Matrix { data: columns.data, strides: (1, columns.strides.0) };
            // SAFETY: `sum` is this task's own.
            unsafe {
                let shape = (self.outputs, tile.points, rows);
                Shared::new(&mut sum).multiply(0, (1, self.outputs), shape, grad, transposed, true);
            }
        }
        sum
    }

    /// The output gradient at the points of a tile, `(outputs, points)`.
    fn tile_grad<'b>(&'b self, tile: &Tile, buffer: &'b mut Vec<T>) -> Matrix<'b, T> {
        let grid = self.columns.grid;
        if let Some((image, point)) = tile.image {
            let first = image * self.outputs * grid.area() + point;
            return Matrix { data: &self.grad[first..], strides: (grid.area(), 1) };
        }
        let out = grown(buffer, self.outputs * tile.points);
        for (o, row) in out.chunks_exact_mut(tile.points).enumerate() {
            for run in &tile.runs {
                let line = ((run.image * self.outputs + o) * grid.height + run.y) * grid.width;
                row[run.at..run.at + run.len].copy_from_slice(&self.grad[line + run.x..][..run.len]);
            }
        }
        Matrix { data: out, strides: (tile.points, 1) }
    }

    /// Adds the chunks of each channel group in order, and transposes.
    fn collect(&self, partial: &[Vec<T>], groups: &[Range<usize>]) -> Vec<T> {
        /// Rows transposed together: a cache line of f32.
        const ROWS: usize = 16;
        let taps = self.columns.window.area();
        let depth = self.columns.depth();
        let mut weight = vec![T::ZERO; self.outputs * depth];
        if weight.is_empty() {
            return weight;
        }
        weight.par_chunks_mut(ROWS * depth).enumerate().for_each(|(block, rows)| {
            let first = block * ROWS;
            let count = rows.len() / depth;
            for chunk in partial.chunks_exact(groups.len()) {
                for (group, sum) in groups.iter().zip(chunk) {
                    for (k, values) in (group.start * taps..).zip(sum.chunks_exact(self.outputs)) {
                        for (o, v) in values[first..first + count].iter().enumerate() {
                            rows[o * depth + k] += *v;
                        }
                    }
                }
            }
        });
        weight
    }
}
