//! Positions of patches on another grid than they were learned on.

use candle_core::{DType, Result, Tensor};

/// Keys's kernel as PyTorch takes it for bicubic interpolation.
const A: f64 = -0.75;

/// Position vectors `(1, 1 + from², width)`, the class token's first, on a grid of `to` x `to`: bicubic, border vectors
/// repeated, without antialiasing, as PyTorch's `interpolate` with `scale_factor` (to + offset) / from.
///
/// Along an axis this is a matrix, so that the grid is resized by two products.
pub(crate) fn resized(positions: &Tensor, from: usize, to: usize, offset: f64) -> Result<Tensor> {
    if from == to {
        return Ok(positions.clone());
    }
    let (width, dtype) = (positions.dim(2)?, positions.dtype());
    let axis = Tensor::from_vec(weights(from, to, offset), (to, from), positions.device())?;
    let grid = positions.narrow(1, 1, from * from)?.to_dtype(DType::F64)?;
    let rows = axis.matmul(&grid.reshape((from, from * width))?)?.reshape((to, from, width))?;
    let grid = axis.broadcast_left(to)?.contiguous()?.matmul(&rows)?.reshape((1, to * to, width))?;
    Tensor::cat(&[&positions.narrow(1, 0, 1)?, &grid.to_dtype(dtype)?], 1)
}

/// How much each of `from` samples adds to each of `to`: a row an output.
fn weights(from: usize, to: usize, offset: f64) -> Vec<f64> {
    let step = from as f64 / (to as f64 + offset);
    let mut weights = vec![0.0; to * from];
    for (output, row) in weights.chunks_mut(from).enumerate() {
        let place = step * (output as f64 + 0.5) - 0.5;
        let (floor, part) = (place.floor(), place - place.floor());
        for (tap, away) in [(-1.0, 1.0 + part), (0.0, part), (1.0, 1.0 - part), (2.0, 2.0 - part)] {
            row[(floor + tap).clamp(0.0, (from - 1) as f64) as usize] += cubic(away);
        }
    }
    weights
}

fn cubic(x: f64) -> f64 {
    if x <= 1.0 { ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0 } else { ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A }
}
