//! Depthwise 3x3 convolution of token maps: channels are adjacent in memory, so they are the vector lanes.

use super::{Operand, check_operands};
use crate::OpError;
use crate::cpu::{Real, buffer, slice, vectorize};
use crate::gemm::split;
use crate::sums::row_bias_gradient;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;
use std::ops::Range;

const OP: &str = "depthwise_conv3x3";
const TAPS: usize = 9;

/// Convolution of each channel with its own 3x3 kernel: stride 1, one ring of zeros, so that the size stays.
///
/// `x (B, H, W, C)` channels-last, `w (C, 1, 3, 3)`, `bias (C)` → `(B, H, W, C)`.
///
/// # Errors
/// [`OpError`] for shapes that do not fit and tensors that are not all f32 or all f64.
pub fn depthwise_conv3x3(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let &[_, _, _, channels] = x.dims() else {
        return Err(OpError::shape(OP, "an input (batch, height, width, channels)", x.shape()));
    };
    if w.dims() != [channels, 1, 3, 3] {
        return Err(OpError::shape(OP, format!("a weight ({channels}, 1, 3, 3)"), w.shape()));
    }
    check_operands(OP, x, w, bias, channels)?;
    let (x, w) = (x.contiguous()?, w.contiguous()?);
    match bias {
        Some(b) => x.apply_op3(&w, &b.contiguous()?, Depthwise { flipped: false }),
        None => x.apply_op2(&w, Depthwise { flipped: false }),
    }
}

/// The convolution, or with the kernel `flipped` its adjoint.
struct Depthwise {
    flipped: bool,
}

impl Depthwise {
    fn run<T: Real>(&self, x: Operand, w: Operand, bias: Option<Operand>) -> Result<(CpuStorage, Shape)> {
        let map = TokenMap::<T>::new(x)?;
        let taps = self.taps(slice(OP, w.0, w.1)?, map.channels);
        let bias = match bias {
            Some((s, l)) => slice(OP, s, l)?.to_vec(),
            None => vec![T::ZERO; map.channels],
        };
        let mut out = buffer(map.data.len());
        if !out.is_empty() {
            let rows = out.par_chunks_mut(map.width * map.channels).enumerate();
            rows.for_each(|(row, out)| {
                vectorize(
                    #[inline(always)]
                    || map.convolve_row(row, &taps, &bias, out),
                )
            });
        }
        Ok((T::to_cpu_storage_owned(out), x.1.shape().clone()))
    }

    /// `(C, 9)` as `(9, C)`.
    fn taps<T: Real>(&self, w: &[T], channels: usize) -> Vec<T> {
        let index = |t: usize| if self.flipped { TAPS - 1 - t } else { t };
        (0..TAPS).flat_map(|t| (0..channels).map(move |c| w[c * TAPS + index(t)])).collect()
    }

    fn gradients(&self, x: &Tensor, w: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let adjoint = Depthwise { flipped: true };
        let dx = x.track_op().then(|| grad.apply_op2_no_bwd(w, &adjoint)).transpose()?;
        let dw = w.track_op().then(|| x.apply_op2_no_bwd(grad, &DepthwiseWeight)).transpose()?;
        Ok((dx, dw))
    }
}

impl CustomOp2 for Depthwise {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        crate::dispatch_real!(OP, s1, T => self.run::<T>((s1, l1), (s2, l2), None))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.gradients(x, w, &grad.contiguous()?)
    }
}

impl CustomOp3 for Depthwise {
    fn name(&self) -> &'static str {
        OP
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
        crate::dispatch_real!(OP, s1, T => self.run::<T>((s1, l1), (s2, l2), Some((s3, l3))))
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
struct DepthwiseWeight;

impl DepthwiseWeight {
    fn run<T: Real>(x: Operand, grad: Operand) -> Result<(CpuStorage, Shape)> {
        /// Parts that the rows are cut into, whatever the number of threads, so that sums do not depend on it.
        const CHUNKS: usize = 32;
        let map = TokenMap::<T>::new(x)?;
        let grad = slice::<T>(OP, grad.0, grad.1)?;
        let chunks = split(map.rows(), CHUNKS, 2);
        let sum_rows = |rows: Range<usize>| {
            let mut sum = vec![T::ZERO; TAPS * map.channels];
            for row in rows {
                vectorize(
                    #[inline(always)]
                    || map.correlate_row(row, grad, &mut sum),
                );
            }
            sum
        };
        let partial: Vec<Vec<T>> = chunks.into_par_iter().map(sum_rows).collect();
        let total = |c: usize, t: usize| T::of(partial.iter().map(|sum| sum[t * map.channels + c].wide()).sum());
        let weight = (0..map.channels).flat_map(|c| (0..TAPS).map(move |t| (c, t))).map(|(c, t)| total(c, t)).collect();
        Ok((T::to_cpu_storage_owned(weight), Shape::from((map.channels, 1, 3, 3))))
    }
}

impl CustomOp2 for DepthwiseWeight {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        crate::dispatch_real!(OP, s1, T => Self::run::<T>((s1, l1), (s2, l2)))
    }
}

/// A contiguous `(batch, height, width, channels)` and a pixel of zeros to stand for what lies outside.
struct TokenMap<'a, T> {
    data: &'a [T],
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
    outside: Vec<T>,
}

impl<'a, T: Real> TokenMap<'a, T> {
    fn new((storage, layout): Operand<'a>) -> Result<Self> {
        let (batch, height, width, channels) = layout.shape().dims4()?;
        let data = slice(OP, storage, layout)?;
        Ok(Self { data, batch, height, width, channels, outside: vec![T::ZERO; channels] })
    }

    fn rows(&self) -> usize {
        self.batch * self.height
    }

    /// The nine pixels around `(row, x)`, row by row; `row` counts through all images.
    #[inline(always)]
    fn neighbours(&self, row: usize, x: usize) -> [&[T]; TAPS] {
        let y = row % self.height;
        std::array::from_fn(|t| {
            let (ny, nx) = (y + t / 3, x + t % 3);
            if ny == 0 || ny > self.height || nx == 0 || nx > self.width {
                &self.outside[..]
            } else {
                &self.data[((row + t / 3 - 1) * self.width + nx - 1) * self.channels..][..self.channels]
            }
        })
    }

    #[inline(always)]
    fn convolve_row(&self, row: usize, taps: &[T], bias: &[T], out: &mut [T]) {
        let n = self.channels;
        let taps: [&[T]; TAPS] = std::array::from_fn(|t| &taps[t * n..][..n]);
        let bias = &bias[..n];
        for (x, out) in out.chunks_exact_mut(n).enumerate() {
            let pixels = self.neighbours(row, x);
            for c in 0..n {
                let mut sum = bias[c];
                for t in 0..TAPS {
                    sum = pixels[t][c].mul_add(taps[t][c], sum);
                }
                out[c] = sum;
            }
        }
    }

    /// Adds to `sum (9, C)` what one row contributes to the gradient of the taps.
    #[inline(always)]
    fn correlate_row(&self, row: usize, grad: &[T], sum: &mut [T]) {
        let n = self.channels;
        let grad = &grad[row * self.width * n..][..self.width * n];
        for (x, grad) in grad.chunks_exact(n).enumerate() {
            for (pixel, sum) in self.neighbours(row, x).iter().zip(sum.chunks_exact_mut(n)) {
                for ((s, p), g) in sum.iter_mut().zip(*pixel).zip(grad) {
                    *s = p.mul_add(*g, *s);
                }
            }
        }
    }
}
