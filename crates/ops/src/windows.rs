//! Pooling over overlapping windows.

use crate::memory::buffer;
use crate::separable::{Format, size};
use crate::{Node, OpError};
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, tensor, vectorize, with_slices};
use colormamba_cuda::applies;
use rayon::prelude::*;

const MAX_POOL_3X3: &str = "max_pool3x3";
const MAX_FILTER: &str = "max_filter2d";

/// The maxima of the 3x3 windows, 2 pixels apart, of `x` `(B, C, H, W)`: `(B, C, H', W')` with `H' = ⌊(H − 3)/2⌋ + 1`.
///
/// `ceil`: a last window that reaches beyond the image counts too, so that `H' = ⌈(H − 3)/2⌉ + 1` (PyTorch's
/// `ceil_mode`). The gradient goes to the window's first maximum in row-major order. A NaN counts as the maximum.
///
/// # Errors
/// [`OpError::Shape`] if `x` has other than four dimensions or is smaller than 3x3, with `ceil`
/// 2x2.
pub fn max_pool3x3(x: impl Into<Node>, ceil: bool) -> Result<Node> {
    let x = x.into().contiguous()?;
    let (h, w) = size(MAX_POOL_3X3, &x, Format::Image, if ceil { 2 } else { 3 })?;
    let side = |n: usize| (n - if ceil { 2 } else { 3 }) / 2 + 1;
    Windows { op: MAX_POOL_3X3, input: (h, w), output: (side(h), side(w)), side: 3, step: 2 }.maximum(&x)
}

/// The maxima of all windows of `side` times `side` pixels of `x` `(B, C, H, W)`: `(B, C, H − side + 1, W − side + 1)`.
///
/// The gradient goes to the window's first maximum in row-major order. A NaN counts as the maximum.
///
/// # Errors
/// [`OpError::Argument`] if `side` is 0 or above 16, [`OpError::Shape`] if `x` has other than four dimensions or is smaller
/// than a window.
pub fn max_filter2d(x: impl Into<Node>, side: usize) -> Result<Node> {
    // The place in a window is kept in a byte.
    if !(1..=16).contains(&side) {
        return Err(OpError::argument(MAX_FILTER, format!("a window's side is 1 to 16, not {side}")));
    }
    let x = x.into().contiguous()?;
    let (h, w) = size(MAX_FILTER, &x, Format::Image, side)?;
    Windows { op: MAX_FILTER, input: (h, w), output: (h + 1 - side, w + 1 - side), side, step: 1 }.maximum(&x)
}

/// Square windows over planes; the last of a row or column may reach beyond the plane.
#[derive(Clone, Copy)]
struct Windows {
    op: &'static str,
    /// Height and width.
    input: (usize, usize),
    /// Number of windows down and across.
    output: (usize, usize),
    /// Pixels along a window's side.
    side: usize,
    /// Pixels from one window to the next.
    step: usize,
}

impl Windows {
    /// The maxima with their gradient.
    fn maximum(self, x: &Node) -> Result<Node> {
        if applies(x.value()) {
            return cuda::max_pool(x, self.side, self.step, self.output);
        }
        let (y, places) = self.pool(x.value())?;
        Node::new(y, [x], move |grad| Ok([Some(self.gradient(grad, &places)?)]))
    }

    /// The maxima, and where in its window each stands, row-major.
    fn pool(self, x: &Tensor) -> Result<(Tensor, Vec<u8>)> {
        let (b, c, h, w) = x.dims4()?;
        let area = self.output.0 * self.output.1;
        with_slices!(self.op, [x], T => {
            let mut y = buffer::<T>(b * c * area);
            let mut places = vec![0; y.len()];
            let outputs = y.par_chunks_mut(area).zip(places.par_chunks_mut(area));
            outputs.zip(x.par_chunks(h * w)).for_each(|((y, places), x)| {
                vectorize(
                    #[inline(always)]
                    || self.maxima(x, y, places),
                );
            });
            Ok((tensor(y, (b, c, self.output.0, self.output.1)), places))
        })
    }

    /// Those of one plane.
    #[inline(always)]
    fn maxima<T: Real>(self, x: &[T], y: &mut [T], places: &mut [u8]) {
        let Self { input: (h, w), side, step, .. } = self;
        let rows = y.chunks_exact_mut(self.output.1).zip(places.chunks_exact_mut(self.output.1));
        for (i, (y, places)) in rows.enumerate() {
            for (j, (y, place)) in y.iter_mut().zip(places).enumerate() {
                let (top, left) = (step * i, step * j);
                let first = top * w + left;
                (*y, *place) = (x[first], 0);
                for dy in 0..side.min(h - top) {
                    for dx in 0..side.min(w - left) {
                        let value = x[first + dy * w + dx];
                        // Only a NaN differs from itself.
                        #[allow(clippy::eq_op)]
                        if value > *y || value != value {
                            (*y, *place) = (value, (side * dy + dx) as u8);
                        }
                    }
                }
            }
        }
    }

    /// The gradient of the input. Windows overlap, so that it is added up.
    fn gradient(self, grad: &Tensor, places: &[u8]) -> Result<Tensor> {
        let (b, c, ..) = grad.dims4()?;
        let Self { input: (h, w), output: (_, columns), side, step, .. } = self;
        let area = self.output.0 * columns;
        with_slices!(self.op, [grad], T => {
            let mut dx = vec![T::ZERO; b * c * h * w];
            let sources = grad.par_chunks(area).zip(places.par_chunks(area));
            dx.par_chunks_mut(h * w).zip(sources).for_each(|(dx, (grad, places))| {
                for (i, (grad, place)) in grad.iter().zip(places).enumerate() {
                    let (y, x, place) = (step * (i / columns), step * (i % columns), usize::from(*place));
                    dx[(y + place / side) * w + x + place % side] += *grad;
                }
            });
            Ok(tensor(dx, (b, c, h, w)))
        })
    }
}

pub(crate) mod cuda {
    use crate::Node;
    use crate::kernels::PLANES;
    use crate::pointwise::cuda::over_elements;
    use candle_core::{DType, Result, Tensor};
    use colormamba_cuda::DeviceMemory;

    /// The maxima of windows of `side`² pixels, `step` apart, `output` of them, with their gradient.
    pub(crate) fn max_pool(x: &Node, side: usize, step: usize, output: (usize, usize)) -> Result<Node> {
        let (b, c, h, w) = x.dims4()?;
        let n = b * c * output.0 * output.1;
        let (mut y, mut places) =
            (DeviceMemory::new(x.value(), x.dtype(), n)?, DeviceMemory::new(x.value(), DType::U8, n)?);
        let launch = over_elements(&PLANES, "max_pool", x.value(), n).input(x.value()).output(&mut y);
        launch.output(&mut places).sizes([n, output.0, output.1, h, w, side, step]).run()?;
        let (y, places) = (y.tensor((b, c, output.0, output.1))?, places.tensor(n)?);
        Node::new(y, [x], move |grad| Ok([Some(gradient(grad, &places, side, step, (h, w))?)]))
    }

    fn gradient(grad: &Tensor, places: &Tensor, side: usize, step: usize, (h, w): (usize, usize)) -> Result<Tensor> {
        let (b, c, rows, columns) = grad.dims4()?;
        let n = b * c * h * w;
        let mut dx = DeviceMemory::new(grad, grad.dtype(), n)?;
        let launch = over_elements(&PLANES, "max_pool_gradient", grad, n).input(grad).input(places);
        launch.output(&mut dx).sizes([n, rows, columns, h, w, side, step]).run()?;
        dx.tensor((b, c, h, w))
    }
}
