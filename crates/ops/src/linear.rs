//! Affine maps of the last dimension.

use crate::gemm::{Matrix, multiply, split};
use crate::memory::buffer;
use crate::operands::Operands;
use crate::sums::row_bias_gradient;
use crate::{Node, OpError, profile};
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, Shared, hold, tensor, with_slices};
use rayon::prelude::*;

const OP: &str = "linear";
/// Rows of a task.
const ROWS: usize = 256;

/// `x · wᵀ + bias`.
///
/// `x (.., I)`, `w (O, I)`, `bias (O)` → `(.., O)`.
///
/// # Errors
/// [`OpError`] for shapes that do not fit, an empty weight, and [other types](crate#types).
pub fn linear(x: impl Into<Node>, w: &Tensor, bias: Option<&Tensor>) -> Result<Node> {
    let x = x.into();
    let &[outputs, inputs] = w.dims() else {
        return Err(OpError::shape(OP, "a weight (outputs, inputs)", w.shape()));
    };
    if w.elem_count() == 0 {
        return Err(OpError::shape(OP, "a weight that is not empty", w.shape()));
    }
    if x.dims().last() != Some(&inputs) {
        return Err(OpError::shape(OP, format!("an input (.., {inputs}) (weight {:?})", w.shape()), x.shape()));
    }
    let operands = Operands::new(OP, &x, w, bias, outputs)?;
    let y = product(operands.x.value(), operands.w.value(), operands.bias(), true)?;
    let for_bias = operands.bias_is_tracked();
    let kept_w = operands.x.is_tracked().then(|| operands.w.value().clone());
    let kept_x = operands.w.is_tracked().then(|| operands.x.value().clone());
    profile::work(OP, 2 * y.elem_count() * inputs);
    operands.node(y, move |grad| {
        // The input's memory goes before there is its gradient.
        let dw = kept_x.map(|x| weight_gradient(&x, grad, inputs, outputs)).transpose()?;
        let dx = kept_w.map(|w| product(grad, &w, None, false)).transpose()?;
        Ok([dx, dw, for_bias.then(|| row_bias_gradient(grad)).transpose()?])
    })
}

/// Rows times the weight, `transposed` in the forward direction and as it is for the gradient of the input.
fn product(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, transposed: bool) -> Result<Tensor> {
    let (rows, columns) = w.dims2()?;
    let (depth, outputs, strides) =
        if transposed { (columns, rows, (1, columns)) } else { (rows, columns, (columns, 1)) };
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = outputs;
    }
    if colormamba_cuda::applies(x) {
        let w = if transposed { w.t()? } else { w.clone() };
        return cuda::product(x, &w, bias)?.reshape(dims);
    }
    let bias = bias.map(|bias| hold(OP, bias));
    with_slices!(OP, [x, w], T => {
        let bias = bias.as_ref().map(|bias| bias.slice::<T>()).transpose()?;
        Ok(tensor(rows_times(x, Matrix { data: w, strides }, depth, outputs, bias), dims))
    })
}

/// `x (n, depth) · right (depth, outputs) + bias`, parallel over rows and, where these are few, over outputs.
fn rows_times<T: Real>(x: &[T], right: Matrix<T>, depth: usize, outputs: usize, bias: Option<&[T]>) -> Vec<T> {
    let n = x.len() / depth;
    let mut out = buffer(n * outputs);
    if let Some(bias) = bias {
        out.par_chunks_mut(ROWS * outputs)
            .for_each(|rows| rows.chunks_exact_mut(outputs).for_each(|r| r.copy_from_slice(bias)));
    }
    let row_blocks = split(n, n.div_ceil(ROWS), 1);
    let column_blocks = split(outputs, (2 * rayon::current_num_threads()).div_ceil(row_blocks.len().max(1)), 48);
    let tasks: Vec<_> = row_blocks.iter().flat_map(|r| column_blocks.iter().map(move |c| (r, c))).collect();
    let shared = Shared::new(&mut out);
    tasks.into_par_iter().for_each(|(rows, columns)| {
        let left = Matrix { data: &x[rows.start * depth..], strides: (depth, 1) };
        let right = Matrix { data: &right.data[columns.start * right.strides.1..], strides: right.strides };
        let at = rows.start * outputs + columns.start;
        // SAFETY: tasks differ in rows or columns.
        unsafe {
            multiply((shared, at), (outputs, 1), (rows.len(), depth, columns.len()), left, right, bias.is_some())
        };
    });
    out
}

/// The gradient of the weight, from the input and the gradient of the result.
fn weight_gradient(x: &Tensor, grad: &Tensor, inputs: usize, outputs: usize) -> Result<Tensor> {
    if colormamba_cuda::applies(x) {
        return cuda::weight_gradient(x, grad, inputs, outputs);
    }
    with_slices!(OP, [x, grad], T => Ok(tensor(rows_product::<T>(grad, x, outputs, inputs), (outputs, inputs))))
}

/// `grad (n, outputs)ᵀ · x (n, inputs)`. The cut into tasks does not depend on the number of threads, so neither do sums.
fn rows_product<T: Real>(grad: &[T], x: &[T], outputs: usize, inputs: usize) -> Vec<T> {
    /// Tasks, most chunks of rows (each costs a copy of the result), least outputs of a task.
    const TASKS: usize = 16;
    const CHUNKS: usize = 8;
    const OUTPUTS: usize = 32;
    let groups = split(outputs, TASKS / 2, OUTPUTS);
    let chunks = split(x.len() / inputs, TASKS.div_ceil(groups.len()).min(CHUNKS), ROWS);
    let tasks: Vec<_> = groups.iter().flat_map(|g| chunks.iter().map(move |c| (g, c))).collect();
    let product = |(group, rows): (&std::ops::Range<usize>, &std::ops::Range<usize>)| {
        let mut sum = vec![T::ZERO; group.len() * inputs];
        let left = Matrix { data: &grad[rows.start * outputs + group.start..], strides: (1, outputs) };
        let right = Matrix { data: &x[rows.start * inputs..], strides: (inputs, 1) };
        // SAFETY: `sum` is this task's own.
        unsafe {
            let shape = (group.len(), rows.len(), inputs);
            multiply((Shared::new(&mut sum), 0), (inputs, 1), shape, left, right, false);
        }
        sum
    };
    let partial: Vec<Vec<T>> = tasks.into_par_iter().map(product).collect();
    let mut weight = vec![T::ZERO; outputs * inputs];
    if !partial.is_empty() {
        for (group, chunks) in groups.iter().zip(partial.chunks_exact(chunks.len())) {
            let rows = &mut weight[group.start * inputs..group.end * inputs];
            chunks.iter().for_each(|sum| rows.iter_mut().zip(sum).for_each(|(w, s)| *w += *s));
        }
    }
    weight
}

/// The products are candle's, that is cuBLAS's on a GPU.
mod cuda {
    use crate::kernels::LINEAR;
    use candle_core::{Result, Tensor};
    use colormamba_cuda::{DeviceMemory, Launch, matmul};

    /// `x (.., depth) · right (depth, outputs) + bias`, `(rows, outputs)`.
    pub(super) fn product(x: &Tensor, right: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let (depth, outputs) = right.dims2()?;
        let rows = x.reshape((x.elem_count() / depth, depth))?;
        let y = matmul(&rows, &right.to_dtype(x.dtype())?)?;
        let Some(bias) = bias else { return Ok(y) };
        let elements = y.elem_count();
        let mut sum = DeviceMemory::like(&y)?;
        let launch = Launch::new(&LINEAR, "add_row_bias", &y).over(elements, 256).input(&y).input(bias);
        launch.output(&mut sum).sizes([outputs, elements]).run()?;
        sum.tensor(y.shape())
    }

    pub(super) fn weight_gradient(x: &Tensor, grad: &Tensor, inputs: usize, outputs: usize) -> Result<Tensor> {
        let rows = x.elem_count() / inputs;
        let product = matmul(&grad.reshape((rows, outputs))?.t()?, &x.reshape((rows, inputs))?)?;
        product.to_dtype(colormamba_cuda::wide(x.dtype()))
    }
}
