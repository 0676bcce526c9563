//! Softmax over rows.

use crate::pointwise::{LANES, fill_chunks, join_lanes, rows_per_chunk, staggered, sum};
use crate::{Node, OpError};
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, tensor, with_slices};
use colormamba_cuda::applies;

/// Softmax over the last dimension, of any length; stable (the maximum is subtracted).
///
/// # Errors
/// [`OpError::Shape`] for a scalar or an empty last dimension, [`OpError::DType`] for [other types](crate#types).
pub fn softmax(x: impl Into<Node>) -> Result<Node> {
    let x = x.into().contiguous()?;
    let Some(&row) = x.dims().last().filter(|&&row| row > 0) else {
        return Err(OpError::shape("softmax", "a last dimension of at least 1", x.shape()));
    };
    let y = softmax_rows(x.value(), row)?;
    let kept = y.clone();
    Node::new(y, [&x], move |grad| Ok([Some(softmax_gradient(&kept, grad, row)?)]))
}

/// Softmax of each row of a contiguous tensor.
fn softmax_rows(x: &Tensor, row: usize) -> Result<Tensor> {
    if applies(x) {
        return cuda::softmax(x, row);
    }
    let shape = x.shape();
    with_slices!("softmax", [x], T => {
        let out = fill_chunks(x.len(), rows_per_chunk(row) * row, #[inline(always)] |start, out| {
            softmax_part::<T>(&x[start..start + out.len()], out, row);
        });
        Ok(tensor(out, shape))
    })
}

/// y · (g − Σ g · y) in each row.
fn softmax_gradient(y: &Tensor, g: &Tensor, row: usize) -> Result<Tensor> {
    if applies(y) {
        return cuda::softmax_gradient(y, g, row);
    }
    let shape = y.shape();
    with_slices!("softmax", [y, g], T => {
        let out = fill_chunks(y.len(), rows_per_chunk(row) * row, #[inline(always)] |start, out| {
            let range = start..start + out.len();
            softmax_gradient_part::<T>(&y[range.clone()], &g[range], out, row);
        });
        Ok(tensor(out, shape))
    })
}

/// The largest value, lane by lane so that it vectorises.
#[inline(always)]
fn largest<T: Real>(x: &[T]) -> T {
    let (blocks, rest) = x.as_chunks::<LANES>();
    let mut largest = x[0];
    if !blocks.is_empty() {
        let mut lanes = [largest; LANES];
        for block in blocks {
            for lane in 0..LANES {
                lanes[lane] = larger(lanes[lane], block[lane]);
            }
        }
        largest = join_lanes(lanes, larger);
    }
    for &x in rest {
        largest = larger(largest, x);
    }
    largest
}

/// One instruction, unlike [`Real::max`], which knows which of both may be NaN.
#[inline(always)]
fn larger<T: Real>(a: T, b: T) -> T {
    if a > b { a } else { b }
}

/// Some rows, in three steps.
#[inline(always)]
fn softmax_part<T: Real>(x: &[T], out: &mut [T], row: usize) {
    // The largest element of each row, then one over its sum.
    let mut notes = vec![T::ZERO; out.len() / row];
    staggered(
        notes.len(),
        row,
        3,
        #[inline(always)]
        |step, rows| {
            let elements = rows.start * row..rows.end * row;
            let rows = notes[rows].iter_mut().zip(x[elements.clone()].chunks_exact(row));
            let rows = rows.zip(out[elements].chunks_exact_mut(row));
            match step {
                0 => {
                    for ((note, x), _) in rows {
                        *note = largest(x);
                    }
                }
                1 => {
                    for ((note, x), out) in rows {
                        *note = T::of(1.0 / exponentials(x, *note, out));
                    }
                }
                _ => {
                    for ((note, _), out) in rows {
                        for out in out {
                            *out *= *note;
                        }
                    }
                }
            }
        },
    );
}

/// Writes e^(x − largest); returns the sum.
#[inline(always)]
fn exponentials<T: Real>(x: &[T], largest: T, out: &mut [T]) -> f64 {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = (x - largest).exp();
    }
    sum(
        out,
        out,
        #[inline(always)]
        |e, _| e,
    )
}

/// Some rows, in two steps.
#[inline(always)]
fn softmax_gradient_part<T: Real>(y: &[T], g: &[T], out: &mut [T], row: usize) {
    let mut dots = vec![T::ZERO; out.len() / row];
    staggered(
        dots.len(),
        row,
        2,
        #[inline(always)]
        |step, rows| {
            let elements = rows.start * row..rows.end * row;
            let inputs = y[elements.clone()].chunks_exact(row).zip(g[elements.clone()].chunks_exact(row));
            let rows = dots[rows].iter_mut().zip(inputs);
            if step == 0 {
                for (dot, (y, g)) in rows {
                    *dot = T::of(sum(
                        y,
                        g,
                        #[inline(always)]
                        |y, g| y * g,
                    ));
                }
            } else {
                for ((dot, (y, g)), out) in rows.zip(out[elements].chunks_exact_mut(row)) {
                    let dot = *dot;
                    for ((out, &y), &g) in out.iter_mut().zip(y).zip(g) {
                        *out = y * (g - dot);
                    }
                }
            }
        },
    );
}

mod cuda {
    use crate::kernels::ROWS;
    use candle_core::{Result, Tensor};
    use colormamba_cuda::{DeviceMemory, Launch, threads_for};

    pub(super) fn softmax(x: &Tensor, row: usize) -> Result<Tensor> {
        let mut y = DeviceMemory::like(x)?;
        let launch = Launch::new(&ROWS, "softmax", x).blocks([x.elem_count() / row, 1, 1], threads_for(row));
        launch.input(x).output(&mut y).size(row).run()?;
        y.tensor(x.shape())
    }

    pub(super) fn softmax_gradient(y: &Tensor, grad: &Tensor, row: usize) -> Result<Tensor> {
        let mut dx = DeviceMemory::like(y)?;
        let launch = Launch::new(&ROWS, "softmax_gradient", y).blocks([y.elem_count() / row, 1, 1], threads_for(row));
        launch.input(y).input(grad).output(&mut dx).size(row).run()?;
        dx.tensor(y.shape())
    }
}
