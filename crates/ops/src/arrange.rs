//! Moving data between images and token maps.

use crate::pointwise::{fill_chunks, rows_per_chunk};
use crate::{Node, OpError};
use candle_core::{Result, Shape, Tensor};
use colormamba_cpu::{Real, tensor, with_slices};
use colormamba_cuda::applies;

/// An image `(B, C, H, W)` as tokens `(B, H, W, C)`.
///
/// # Errors
/// [`OpError::Shape`] unless of rank 4, [`OpError::DType`] for [other types](crate#types).
pub fn tokens_from_image(x: impl Into<Node>) -> Result<Node> {
    const OP: &str = "tokens_from_image";
    let (x, [b, c, h, w]) = rank4(OP, x)?;
    transpose(OP, &x, (c, h * w), (b, h, w, c))
}

/// Tokens `(B, H, W, C)` as an image `(B, C, H, W)`.
///
/// # Errors
/// [`OpError::Shape`] unless of rank 4, [`OpError::DType`] for [other types](crate#types).
pub fn image_from_tokens(x: impl Into<Node>) -> Result<Node> {
    const OP: &str = "image_from_tokens";
    let (x, [b, h, w, c]) = rank4(OP, x)?;
    transpose(OP, &x, (h * w, c), (b, c, h, w))
}

fn rank4(op: &'static str, x: impl Into<Node>) -> Result<(Node, [usize; 4])> {
    let x = x.into().contiguous()?;
    match *x.dims() {
        [a, b, c, d] => Ok((x, [a, b, c, d])),
        _ => Err(OpError::shape(op, "a tensor of rank 4", x.shape())),
    }
}

/// Every matrix of that size in `x` transposed, under a new shape.
fn transpose(op: &'static str, x: &Node, (rows, columns): (usize, usize), shape: impl Into<Shape>) -> Result<Node> {
    let y = transposed(op, x.value(), rows, columns, shape.into())?;
    let before = x.shape().clone();
    Node::new(y, [x], move |grad| Ok([Some(transposed(op, grad, columns, rows, before)?)]))
}

fn transposed(op: &'static str, x: &Tensor, rows: usize, columns: usize, shape: Shape) -> Result<Tensor> {
    if applies(x) {
        return cuda::transposed(x, rows, columns, shape);
    }
    with_slices!(op, [x], T => Ok(tensor(transpose_all::<T>(x, rows, columns), shape)))
}

/// Side of the square tiles of a transpose: 16 f32 are a cache line.
const TILE: usize = 16;

/// Every `(rows, columns)` matrix of `x` as `(columns, rows)`.
fn transpose_all<T: Real>(x: &[T], rows: usize, columns: usize) -> Vec<T> {
    let chunk = rows_per_chunk(rows).next_multiple_of(TILE) * rows;
    fill_chunks(
        x.len(),
        chunk,
        #[inline(always)]
        |start, out| {
            let mut line = start / rows;
            let mut out = out;
            while !out.is_empty() {
                let (matrix, column) = (line / columns, line % columns);
                // A band of lines ends with the matrix, if not before.
                let height = TILE.min(columns - column).min(out.len() / rows);
                let (band, rest) = out.split_at_mut(height * rows);
                let x = &x[matrix * rows * columns..][..rows * columns];
                for row in (0..rows).step_by(TILE) {
                    transpose_tile(x, columns, (row, column), band, rows, height);
                }
                out = rest;
                line += height;
            }
        },
    )
}

/// Fills the columns from `row` on of `band`, `height` lines of `rows` elements.
///
/// The tile goes through a small buffer so that each cache line is touched once: with image sizes that are powers of two,
/// the lines of a tile share one cache set and would evict each other.
#[inline(always)]
fn transpose_tile<T: Real>(
    x: &[T],
    columns: usize,
    (row, column): (usize, usize),
    band: &mut [T],
    rows: usize,
    height: usize,
) {
    let width = TILE.min(rows - row);
    let mut tile = [[T::ZERO; TILE]; TILE];
    for (r, buffer) in tile.iter_mut().enumerate().take(width) {
        let source = &x[(row + r) * columns + column..][..height];
        if let Some(source) = source.first_chunk::<TILE>() {
            *buffer = *source;
        } else {
            buffer[..height].copy_from_slice(source);
        }
    }
    for (i, line) in band.chunks_exact_mut(rows).enumerate() {
        let line = &mut line[row..row + width];
        for (out, buffer) in line.iter_mut().zip(&tile) {
            *out = buffer[i];
        }
    }
}

pub(crate) mod cuda {
    use crate::kernels::ROWS;
    use candle_core::{Result, Shape, Tensor};
    use colormamba_cuda::{DeviceMemory, Launch};

    /// Side of the kernel's tiles.
    const TILE: usize = 32;
    // Emulated threads are dear.
    const THREADS: u32 = if cfg!(feature = "emulation") { 32 } else { 256 };
    /// A grid's limit along y.
    const PLANES: usize = 65535;

    pub(super) fn transposed(x: &Tensor, rows: usize, columns: usize, shape: Shape) -> Result<Tensor> {
        let mut y = DeviceMemory::like(x)?;
        transpose(x, [rows, columns], None, &mut y, 0)?;
        y.tensor(shape)
    }

    /// `(planes, height, width)` to `(planes, width, height)`, plus `addend`, written from plane `first` of `y` on.
    pub(crate) fn transpose(
        x: &Tensor,
        [height, width]: [usize; 2],
        addend: Option<&Tensor>,
        y: &mut DeviceMemory,
        first: usize,
    ) -> Result<()> {
        let planes = x.elem_count() / (height * width).max(1);
        let blocks = [height.div_ceil(TILE) * width.div_ceil(TILE), planes.min(PLANES), 1];
        let launch = Launch::new(&ROWS, "transpose", x).blocks(blocks, THREADS);
        launch.input(x).maybe(addend).output(y).sizes([planes, height, width, first]).run()
    }
}
