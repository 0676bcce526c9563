//! Convolutions: tiles of the column matrix times the weights by gemm, on all cores, with all gradients.

mod columns;
mod correlate;
mod depthwise;
mod weight;

pub use depthwise::depthwise_conv3x3;

use crate::OpError;
use crate::cpu::{Real, buffer, slice};
use crate::gemm::Shared;
use crate::sums::plane_bias_gradient;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use columns::{Columns, Grid, Source, Window};
use correlate::{Adjoint, Correlation, Place};
use weight::WeightGradient;

/// How the window of a convolution moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Pixels from one window to the next, along both axes; at least 1.
    pub stride: usize,
    /// Rows and columns of zeros on every side.
    pub padding: usize,
}

impl Default for Conv2dConfig {
    fn default() -> Self {
        Self { stride: 1, padding: 0 }
    }
}

/// Two-dimensional convolution (cross-correlation, as everywhere in deep learning).
///
/// `x (B, I, H, W)`, `w (O, I, kh, kw)`, `bias (O)` → `(B, O, H', W')` with `H' = ⌊(H + 2·padding − kh) / stride⌋ + 1`.
///
/// # Errors
/// [`OpError`] for shapes that do not fit, an empty weight, a kernel larger than the padded input, a stride of 0, and
/// tensors that are not all f32 or all f64.
pub fn conv2d(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, cfg: Conv2dConfig) -> Result<Tensor> {
    const OP: &str = "conv2d";
    let (i, h, width) = image_dims(OP, x)?;
    let (outputs, inputs, kh, kw) = weight_dims(OP, w)?;
    if inputs != i {
        return Err(OpError::shape(OP, format!("an input of {inputs} channels (weight {:?})", w.shape()), x.shape()));
    }
    check_stride(OP, cfg)?;
    if h + 2 * cfg.padding < kh || width + 2 * cfg.padding < kw {
        let expected = format!("an input of at least {kh} x {kw} pixels with its padding of {}", cfg.padding);
        return Err(OpError::shape(OP, expected, x.shape()));
    }
    check_operands(OP, x, w, bias, outputs)?;
    let (x, w) = (x.contiguous()?, w.contiguous()?);
    match bias {
        Some(b) => x.apply_op3(&w, &b.contiguous()?, Forward(cfg)),
        None => x.apply_op2(&w, Forward(cfg)),
    }
}

/// Transposed two-dimensional convolution: the adjoint of [`conv2d`] with the same weight.
///
/// `x (B, I, H, W)`, `w (I, O, kh, kw)`, `bias (O)` → `(B, O, H', W')` with `H' = (H − 1)·stride − 2·padding + kh`.
///
/// # Errors
/// [`OpError`] for shapes that do not fit, an empty weight or input, padding that leaves no output, a stride of 0, and
/// tensors that are not all f32 or all f64.
pub fn conv_transpose2d(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, cfg: Conv2dConfig) -> Result<Tensor> {
    const OP: &str = "conv_transpose2d";
    let (i, h, width) = image_dims(OP, x)?;
    let (inputs, outputs, kh, kw) = weight_dims(OP, w)?;
    if inputs != i {
        return Err(OpError::shape(OP, format!("an input of {inputs} channels (weight {:?})", w.shape()), x.shape()));
    }
    check_stride(OP, cfg)?;
    let side =
        |n: usize, k: usize| (n.checked_sub(1)? * cfg.stride + k).checked_sub(2 * cfg.padding).filter(|&n| n > 0);
    let (Some(out_h), Some(out_w)) = (side(h, kh), side(width, kw)) else {
        let expected = format!("an input of which a padding of {} leaves some output", cfg.padding);
        return Err(OpError::shape(OP, expected, x.shape()));
    };
    check_operands(OP, x, w, bias, outputs)?;
    let op = Transposed { cfg, size: (out_h, out_w) };
    let (x, w) = (x.contiguous()?, w.contiguous()?);
    match bias {
        Some(b) => x.apply_op3(&w, &b.contiguous()?, op),
        None => x.apply_op2(&w, op),
    }
}

/// Channels, height and width.
fn image_dims(op: &'static str, x: &Tensor) -> Result<(usize, usize, usize)> {
    match *x.dims() {
        [_, c, h, w] => Ok((c, h, w)),
        _ => Err(OpError::shape(op, "an input (batch, channels, height, width)", x.shape())),
    }
}

fn weight_dims(op: &'static str, w: &Tensor) -> Result<(usize, usize, usize, usize)> {
    match *w.dims() {
        [a, b, kh, kw] if w.elem_count() > 0 => Ok((a, b, kh, kw)),
        _ => Err(OpError::shape(op, "a weight of four dimensions, none of them 0", w.shape())),
    }
}

fn check_stride(op: &'static str, cfg: Conv2dConfig) -> Result<()> {
    if cfg.stride == 0 { Err(OpError::argument(op, "the stride must be at least 1")) } else { Ok(()) }
}

/// That weight and bias have the input's type, and the bias one value per output.
pub(crate) fn check_operands(
    op: &'static str,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    outputs: usize,
) -> Result<()> {
    for (name, other) in [("weight", Some(w)), ("bias", bias)] {
        if let Some(other) = other.filter(|t| t.dtype() != x.dtype()) {
            let message = format!("the {name} is {:?}, the input {:?}", other.dtype(), x.dtype());
            return Err(OpError::argument(op, message));
        }
    }
    match bias {
        Some(b) if b.dims() != [outputs] => Err(OpError::shape(op, format!("a bias of {outputs} values"), b.shape())),
        _ => Ok(()),
    }
}

type Operand<'a> = (&'a CpuStorage, &'a Layout);

struct Forward(Conv2dConfig);

impl Forward {
    fn run<T: Real>(&self, x: Operand, w: Operand, bias: Option<Operand>) -> Result<(CpuStorage, Shape)> {
        const OP: &str = "conv2d";
        let (batch, channels, height, width) = x.1.shape().dims4()?;
        let (outputs, _, kh, kw) = w.1.shape().dims4()?;
        let Conv2dConfig { stride, padding } = self.0;
        let grid = Grid {
            batch,
            height: (height + 2 * padding - kh) / stride + 1,
            width: (width + 2 * padding - kw) / stride + 1,
        };
        let correlation = Correlation {
            columns: Columns {
                source: Source { data: slice::<T>(OP, x.0, x.1)?, channels, height, width },
                window: self.0.window((kh, kw)),
                grid,
            },
            weight: slice(OP, w.0, w.1)?,
            outputs,
            bias: bias.map(|(s, l)| slice(OP, s, l)).transpose()?,
            place: Place { height: grid.height, width: grid.width, step: 1, origin: (0, 0) },
        };
        let mut out = buffer(batch * outputs * grid.area());
        // SAFETY: `out` belongs to this call.
        unsafe { correlation.run(Shared::new(&mut out)) };
        Ok((T::to_cpu_storage_owned(out), Shape::from((batch, outputs, grid.height, grid.width))))
    }

    fn gradients(&self, x: &Tensor, w: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (_, _, h, width) = x.dims4()?;
        let input = Transposed { cfg: self.0, size: (h, width) };
        let dx = x.track_op().then(|| grad.apply_op2_no_bwd(w, &input)).transpose()?;
        let dw = w.track_op().then(|| weight_gradient(x, grad, w, self.0)).transpose()?;
        Ok((dx, dw))
    }
}

impl Conv2dConfig {
    fn window(&self, taps: (usize, usize)) -> Window {
        let offset = -(self.padding as isize);
        Window { step: self.stride, offset: (offset, offset), taps }
    }
}

impl CustomOp2 for Forward {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        crate::dispatch_real!("conv2d", s1, T => self.run::<T>((s1, l1), (s2, l2), None))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.gradients(x, w, &grad.contiguous()?)
    }
}

impl CustomOp3 for Forward {
    fn name(&self) -> &'static str {
        "conv2d"
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
        crate::dispatch_real!("conv2d", s1, T => self.run::<T>((s1, l1), (s2, l2), Some((s3, l3))))
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
        Ok((dx, dw, plane_bias_gradient(bias, &grad)?))
    }
}

/// The adjoint of [`Forward`] for inputs of that size.
struct Transposed {
    cfg: Conv2dConfig,
    size: (usize, usize),
}

impl Transposed {
    fn run<T: Real>(&self, x: Operand, w: Operand, bias: Option<Operand>) -> Result<(CpuStorage, Shape)> {
        const OP: &str = "conv_transpose2d";
        let (batch, channels, height, width) = x.1.shape().dims4()?;
        let (_, outputs, kh, kw) = w.1.shape().dims4()?;
        let adjoint = Adjoint {
            source: Source { data: slice::<T>(OP, x.0, x.1)?, channels, height, width },
            batch,
            weight: slice(OP, w.0, w.1)?,
            outputs,
            kernel: (kh, kw),
            bias: bias.map(|(s, l)| slice(OP, s, l)).transpose()?,
            stride: self.cfg.stride,
            padding: self.cfg.padding,
            size: self.size,
        };
        let mut out = buffer(batch * outputs * self.size.0 * self.size.1);
        adjoint.run(&mut out);
        Ok((T::to_cpu_storage_owned(out), Shape::from((batch, outputs, self.size.0, self.size.1))))
    }

    fn gradients(&self, x: &Tensor, w: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dx = x.track_op().then(|| grad.apply_op2_no_bwd(w, &Forward(self.cfg))).transpose()?;
        let dw = w.track_op().then(|| weight_gradient(grad, x, w, self.cfg)).transpose()?;
        Ok((dx, dw))
    }
}

impl CustomOp2 for Transposed {
    fn name(&self) -> &'static str {
        "conv_transpose2d"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        crate::dispatch_real!("conv_transpose2d", s1, T => self.run::<T>((s1, l1), (s2, l2), None))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.gradients(x, w, &grad.contiguous()?)
    }
}

impl CustomOp3 for Transposed {
    fn name(&self) -> &'static str {
        "conv_transpose2d"
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
        crate::dispatch_real!("conv_transpose2d", s1, T => self.run::<T>((s1, l1), (s2, l2), Some((s3, l3))))
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
        Ok((dx, dw, plane_bias_gradient(bias, &grad)?))
    }
}

/// The gradient of `w` in `conv2d(x, w)`, given that of the result.
fn weight_gradient(x: &Tensor, grad: &Tensor, w: &Tensor, cfg: Conv2dConfig) -> Result<Tensor> {
    let (_, _, kh, kw) = w.dims4()?;
    x.apply_op2_no_bwd(grad, &WeightGrad { cfg, kernel: (kh, kw) })
}

struct WeightGrad {
    cfg: Conv2dConfig,
    kernel: (usize, usize),
}

impl WeightGrad {
    fn run<T: Real>(&self, x: Operand, grad: Operand) -> Result<(CpuStorage, Shape)> {
        const OP: &str = "conv2d_weight_gradient";
        let (batch, channels, height, width) = x.1.shape().dims4()?;
        let (_, outputs, grid_height, grid_width) = grad.1.shape().dims4()?;
        let gradient = WeightGradient {
            columns: Columns {
                source: Source { data: slice::<T>(OP, x.0, x.1)?, channels, height, width },
                window: self.cfg.window(self.kernel),
                grid: Grid { batch, height: grid_height, width: grid_width },
            },
            grad: slice(OP, grad.0, grad.1)?,
            outputs,
        };
        let shape = Shape::from((outputs, channels, self.kernel.0, self.kernel.1));
        Ok((T::to_cpu_storage_owned(gradient.run()), shape))
    }
}

impl CustomOp2 for WeightGrad {
    fn name(&self) -> &'static str {
        "conv2d_weight_gradient"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        crate::dispatch_real!("conv2d_weight_gradient", s1, T => self.run::<T>((s1, l1), (s2, l2)))
    }
}
