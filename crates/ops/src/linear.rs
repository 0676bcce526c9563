//! Affine maps of the last dimension.

use crate::OpError;
use crate::conv::check_operands;
use crate::cpu::{Real, buffer, slice};
use crate::gemm::{Matrix, Shared, split};
use crate::sums::row_bias_gradient;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// Rows of a task.
const ROWS: usize = 256;

/// `x · wᵀ + bias`.
///
/// `x (.., I)`, `w (O, I)`, `bias (O)` → `(.., O)`.
///
/// # Errors
/// [`OpError`] for shapes that do not fit, an empty weight, and tensors that are not all f32 or all f64.
pub fn linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    const OP: &str = "linear";
    let &[outputs, inputs] = w.dims() else {
        return Err(OpError::shape(OP, "a weight (outputs, inputs)", w.shape()));
    };
    if w.elem_count() == 0 {
        return Err(OpError::shape(OP, "a weight that is not empty", w.shape()));
    }
    if x.dims().last() != Some(&inputs) {
        return Err(OpError::shape(OP, format!("an input (.., {inputs}) (weight {:?})", w.shape()), x.shape()));
    }
    check_operands(OP, x, w, bias, outputs)?;
    let (x, w) = (x.contiguous()?, w.contiguous()?);
    match bias {
        Some(b) => x.apply_op3(&w, &b.contiguous()?, Linear { transposed: true }),
        None => x.apply_op2(&w, Linear { transposed: true }),
    }
}

type Operand<'a> = (&'a CpuStorage, &'a Layout);

/// Rows times the weight, `transposed` in the forward direction and as it is for the gradient of the input.
struct Linear {
    transposed: bool,
}

impl Linear {
    fn run<T: Real>(&self, x: Operand, w: Operand, bias: Option<Operand>) -> Result<(CpuStorage, Shape)> {
        const OP: &str = "linear";
        let (rows, columns) = w.1.shape().dims2()?;
        let (depth, outputs, strides) =
            if self.transposed { (columns, rows, (1, columns)) } else { (rows, columns, (columns, 1)) };
        let right = Matrix { data: slice::<T>(OP, w.0, w.1)?, strides };
        let bias = bias.map(|(s, l)| slice(OP, s, l)).transpose()?;
        let out = rows_times(slice(OP, x.0, x.1)?, right, depth, outputs, bias);
        let mut dims = x.1.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = outputs;
        }
        Ok((T::to_cpu_storage_owned(out), Shape::from(dims)))
    }

    fn gradients(&self, x: &Tensor, w: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let input = Linear { transposed: false };
        let dx = x.track_op().then(|| grad.apply_op2_no_bwd(w, &input)).transpose()?;
        let dw = w.track_op().then(|| x.apply_op2_no_bwd(grad, &LinearWeight)).transpose()?;
        Ok((dx, dw))
    }
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
        unsafe { shared.multiply(at, (outputs, 1), (rows.len(), depth, columns.len()), left, right, bias.is_some()) };
    });
    out
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        crate::dispatch_real!("linear", s1, T => self.run::<T>((s1, l1), (s2, l2), None))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.gradients(x, w, &grad.contiguous()?)
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        crate::dispatch_real!("linear", s1, T => self.run::<T>((s1, l1), (s2, l2), Some((s3, l3))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (dx, dw) = self.gradients(x, w, &grad)?;
        Ok((dx, dw, row_bias_gradient(bias, &grad)?))
    }
}

/// The gradient of the weight, from the input and the gradient of the result.
struct LinearWeight;

impl LinearWeight {
    fn run<T: Real>(x: Operand, grad: Operand) -> Result<(CpuStorage, Shape)> {
        const OP: &str = "linear_weight_gradient";
        let last = |layout: &Layout| layout.dims()[layout.dims().len() - 1];
        let (inputs, outputs) = (last(x.1), last(grad.1));
        let weight = rows_product::<T>(slice(OP, grad.0, grad.1)?, slice(OP, x.0, x.1)?, outputs, inputs);
        Ok((T::to_cpu_storage_owned(weight), Shape::from((outputs, inputs))))
    }
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
            Shared::new(&mut sum).multiply(0, (inputs, 1), shape, left, right, false);
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

impl CustomOp2 for LinearWeight {
    fn name(&self) -> &'static str {
        "linear_weight_gradient"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        crate::dispatch_real!("linear_weight_gradient", s1, T => Self::run::<T>((s1, l1), (s2, l2)))
    }
}
