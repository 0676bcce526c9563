//! Depthwise convolution of images. A plane meets one small kernel, so memory is the limit: every plane is read once,
//! laid out in strips that stay in the first-level cache, and all that needs them is computed there.

mod cuda;

use super::kernel::{Correlation, Product};
use super::source::{Strip, read_line};
use super::views::{Views, join_line};
use crate::activation::LeakyRelu;
use crate::memory::buffer;
use crate::operands::Operands;
use crate::simd::{SimdReal, WIDEST, grown, lanes};
use crate::sums::lane_sum;
use crate::{Activation, Node, OpError, profile};
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, Shared, dispatch_real, hold, tensor, vectorize};
use colormamba_cuda::applies;
use rayon::prelude::*;

const OP: &str = "depthwise_conv2d";
/// Grid points of a strip: with its results it stays in the first-level cache. Sums over so many are taken in the type
/// of the elements; those of all points are added in f64.
const POINTS: usize = 2048;
/// A task of the thread pool is not made smaller than this many multiply-adds.
const TASK: usize = 1 << 16;

/// Convolution of each channel with its own kernel, with as many zeros around the image as leave `⌈H / stride⌉ · ⌈W /
/// stride⌉` pixels (TensorFlow's padding "same": `max((⌈n / stride⌉ − 1) · stride + k − n, 0)` along an axis of `n`
/// pixels, an odd one of them below or on the right), then an activation.
///
/// `x (B, C, H, W)`, `w (C, 1, k, k)` with `k` odd, `bias (C)` → `(B, C, ⌈H / stride⌉, ⌈W / stride⌉)`.
///
/// # Errors
/// [`OpError`] for shapes that do not fit, an even kernel, a stride of 0, and [other types](crate#types).
///
/// Source: Howard et al. 2017, arXiv 1704.04861.
pub fn depthwise_conv2d(
    x: impl Into<Node>,
    w: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    activation: Activation,
) -> Result<Node> {
    let x = x.into();
    let &[_, channels, height, width] = x.dims() else {
        return Err(OpError::shape(OP, "an input (batch, channels, height, width)", x.shape()));
    };
    let side = match *w.dims() {
        [c, 1, height, width] if c == channels && height == width && height % 2 == 1 => height,
        _ => return Err(OpError::shape(OP, format!("a weight ({channels}, 1, k, k) with k odd"), w.shape())),
    };
    if stride == 0 {
        return Err(OpError::argument(OP, "the stride must be at least 1"));
    }
    activation.check(OP)?;
    let operands = Operands::new(OP, &x, w, bias, channels)?;
    let of = Depthwise::new((height, width), side, stride, activation.ramp());
    let y = of.forward(operands.x.value(), operands.w.value(), operands.bias())?;
    profile::work(OP, 2 * y.elem_count() * side * side);
    let kept = Kept {
        x: operands.w.is_tracked().then(|| operands.x.value().clone()),
        w: operands.x.is_tracked().then(|| operands.w.value().clone()),
        y: (activation != Activation::Identity).then(|| y.clone()),
        for_bias: operands.bias_is_tracked(),
        activation,
    };
    operands.node(y, move |grad| of.gradients(kept, grad))
}

/// What gradients need: the input for the weight's, the weight for the input's, the result for the activation's.
struct Kept {
    x: Option<Tensor>,
    w: Option<Tensor>,
    y: Option<Tensor>,
    for_bias: bool,
    activation: Activation,
}

/// Sizes are `(height, width)`.
#[derive(Clone, Copy)]
struct Depthwise {
    input: (usize, usize),
    output: (usize, usize),
    side: usize,
    stride: usize,
    /// Zeros above and on the left.
    padding: (usize, usize),
    ramp: LeakyRelu,
}

impl Depthwise {
    fn new(input: (usize, usize), side: usize, stride: usize, ramp: LeakyRelu) -> Self {
        let output = (input.0.div_ceil(stride), input.1.div_ceil(stride));
        let padding = |n: usize, out: usize| (out.saturating_sub(1) * stride + side).saturating_sub(n) / 2;
        let padding = (padding(input.0, output.0), padding(input.1, output.1));
        Self { input, output, side, stride, padding, ramp }
    }

    fn taps(&self) -> usize {
        self.side * self.side
    }

    fn forward(&self, x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        if applies(x) {
            return cuda::forward(self, x, w, bias);
        }
        let (batch, channels, ..) = x.dims4()?;
        let (x, w, bias) = (hold(OP, x), hold(OP, w), bias.map(|bias| hold(OP, bias)));
        dispatch_real!(OP, x, T => {
            let bias = bias.as_ref().map(|bias| bias.slice::<T>()).transpose()?;
            let y = self.planes::<T>(x.slice()?, w.slice()?, bias, batch * channels);
            Ok(tensor(y, (batch, channels, self.output.0, self.output.1)))
        })
    }

    fn planes<T: SimdReal>(&self, x: &[T], w: &[T], bias: Option<&[T]>, planes: usize) -> Vec<T> {
        let (from, to) = (self.input.0 * self.input.1, self.output.0 * self.output.1);
        let mut y = buffer(planes * to);
        if y.is_empty() {
            return y;
        }
        let kernel = (self.side, self.side);
        let bands = Bands::new(Views::forward(kernel, self.stride, self.padding, self.output), self.output);
        let planes = y.par_chunks_mut(to).zip(x.par_chunks(from)).enumerate();
        planes.with_min_len(TASK.div_ceil(to * self.taps())).for_each_init(Scratch::default, |scratch, (i, (y, x))| {
            let channel = i % (w.len() / self.taps());
            let kernel = &w[channel * self.taps()..][..self.taps()];
            let finish = (bias.map_or(T::ZERO, |bias| bias[channel]), self.ramp.of());
            for first in bands.starts() {
                bands.lay_out(x, self.input.1, first, scratch);
                bands.correlate(kernel, finish, first, scratch, y);
            }
        });
        y
    }

    /// The gradients of input, weight and bias, from that of the result.
    fn gradients(&self, kept: Kept, grad: &Tensor) -> Result<[Option<Tensor>; 3]> {
        if applies(grad) {
            return cuda::gradients(self, kept, grad);
        }
        let (batch, channels, ..) = grad.dims4()?;
        let [x, w, y] = [&kept.x, &kept.w, &kept.y].map(|kept| kept.as_ref().map(|kept| hold(OP, kept)));
        let grad = hold(OP, grad);
        let for_bias = kept.for_bias;
        dispatch_real!(OP, grad, T => {
            let [x, w, y] = [&x, &w, &y].map(|held| held.as_ref().map(|held| held.slice::<T>()).transpose());
            let operands = Backward { grad: grad.slice()?, x: x?, w: w?, y: y? };
            let [dx, dw, db] = self.gradients_of_channels(&operands, batch, channels);
            let dx = operands.w.map(|_| tensor(dx, (batch, channels, self.input.0, self.input.1)));
            let dw = operands.x.map(|_| tensor(dw, (channels, 1, self.side, self.side)));
            Ok([dx, dw, for_bias.then(|| tensor(db, channels))])
        })
    }

    /// A task for each channel: it adds up the weight's gradients of all images.
    fn gradients_of_channels<T: SimdReal>(&self, of: &Backward<T>, batch: usize, channels: usize) -> [Vec<T>; 3] {
        let (from, to, taps) = (self.input.0 * self.input.1, self.output.0 * self.output.1, self.taps());
        let mut dx = buffer(if of.w.is_some() { batch * channels * from } else { 0 });
        let (mut dw, mut db) = (vec![T::ZERO; channels * taps], vec![T::ZERO; channels]);
        if from == 0 {
            return [dx, dw, db];
        }
        let pixels = Shared::new(&mut dx);
        let views = Views::adjoint((self.side, self.side), self.stride, self.padding, self.input);
        let bands = Bands::new(views, self.input);
        let tasks = dw.par_chunks_mut(taps).zip(&mut db).enumerate();
        tasks.for_each_init(Scratch::default, |scratch, (channel, (dw, db))| {
            let mut sums = TapSums::new(&bands, scratch);
            let mut of_bias = 0.0;
            for plane in (0..batch).map(|image| image * channels + channel) {
                let grad = &of.grad[plane * to..][..to];
                let mut through = std::mem::take(&mut scratch.grad);
                let grad = match of.y {
                    Some(y) => self.before_activation(grad, &y[plane * to..][..to], &mut through),
                    None => grad,
                };
                of_bias += vectorize(
                    #[inline(always)]
                    || lane_sum(grad),
                );
                for first in bands.starts() {
                    bands.lay_out(grad, self.output.1, first, scratch);
                    if let Some(w) = of.w {
                        // SAFETY: no other plane is here, and tasks differ in planes.
                        let dx = unsafe { pixels.slice(plane * from..(plane + 1) * from) };
                        let plain = (T::ZERO, LeakyRelu::IDENTITY.of());
                        bands.correlate(&w[channel * taps..][..taps], plain, first, scratch, dx);
                    }
                    if let Some(x) = of.x {
                        sums.add(&bands, &x[plane * from..][..from], self.input, first, scratch);
                    }
                }
                scratch.grad = through;
            }
            sums.finish(&bands, scratch, dw);
            *db = T::of(of_bias);
        });
        [dx, dw, db]
    }

    /// The gradient of a plane before the activation, in `room`.
    fn before_activation<'a, T: SimdReal>(&self, grad: &[T], y: &[T], room: &'a mut Vec<T>) -> &'a [T] {
        let (room, ramp) = (&mut grown(room, grad.len())[..], self.ramp.of::<T>());
        vectorize(
            #[inline(always)]
            || {
                for ((out, &g), &y) in room.iter_mut().zip(grad).zip(y) {
                    *out = ramp.through(g, y);
                }
            },
        );
        room
    }
}

/// What a backward pass reads: the gradient of the result, and of the rest what is wanted.
struct Backward<'a, T> {
    grad: &'a [T],
    x: Option<&'a [T]>,
    w: Option<&'a [T]>,
    y: Option<&'a [T]>,
}

/// What a thread reuses from plane to plane.
#[derive(Default)]
struct Scratch<T> {
    strip: Vec<T>,
    results: Vec<T>,
    weights: Vec<T>,
    grad: Vec<T>,
    phase: Vec<T>,
    sums: Vec<T>,
}

/// How planes are correlated with a kernel, some rows of the grid at a time.
struct Bands {
    views: Views,
    /// Height and width of the results.
    size: (usize, usize),
    /// Grid rows of a band.
    rows: usize,
    strip: Strip,
    /// Of each view, where in the strip its taps are.
    offsets: Vec<Vec<usize>>,
}

impl Bands {
    fn new(views: Views, size: (usize, usize)) -> Self {
        let pitch = Strip::new(views.window, views.grid.1, 1).pitch;
        let rows = (POINTS / pitch).clamp(1, views.grid.0);
        let strip = Strip::new(views.window, views.grid.1, rows);
        let offsets = views.list.iter().map(|view| view.taps.iter().map(|((ty, tx), _)| strip.tap(*ty, *tx)).collect());
        Self { offsets: offsets.collect(), views, size, rows, strip }
    }

    /// The first grid row of each band.
    fn starts(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.views.grid.0).step_by(self.rows)
    }

    /// The points of a band, without what kernels compute beyond them.
    fn points(&self, first: usize) -> usize {
        self.strip.points(self.rows.min(self.views.grid.0 - first))
    }

    /// Elements from one view's points to the next's.
    fn stride(&self) -> usize {
        self.strip.points(self.rows).next_multiple_of(WIDEST)
    }

    /// Lays out what the band that begins at a grid row reads of a plane with rows of `width` pixels.
    fn lay_out<T: SimdReal>(&self, plane: &[T], width: usize, first: usize, scratch: &mut Scratch<T>) {
        let strip = grown(&mut scratch.strip, self.strip.len(1));
        vectorize(
            #[inline(always)]
            || self.strip.fill_channel(plane, width, first, strip),
        );
    }

    /// Correlates the band that is laid out, and writes its pixels of `out` with bias and activation.
    fn correlate<T: SimdReal>(
        &self,
        kernel: &[T],
        (bias, ramp): (T, LeakyRelu<T>),
        first: usize,
        scratch: &mut Scratch<T>,
        out: &mut [T],
    ) {
        let (stride, points) = (self.stride(), self.points(first));
        let strip = grown(&mut scratch.strip, self.strip.len(1));
        let results = grown(&mut scratch.results, self.views.list.len() * stride);
        for (v, view) in self.views.list.iter().enumerate() {
            scratch.weights.clear();
            scratch.weights.extend(view.taps.iter().map(|(_, index)| kernel[*index]));
            let product = Product {
                weights: &scratch.weights,
                step: 1,
                rows: 1,
                offsets: &self.offsets[v],
                source: strip.as_ptr(),
                out: results[v * stride..].as_mut_ptr(),
                stride,
                points,
                add: false,
            };
            // SAFETY: a strip is readable for its points at every tap, each view has `stride` results, and both are
            // this thread's own.
            unsafe { product.run() };
        }
        vectorize(
            #[inline(always)]
            || self.place(results, points, (bias, ramp), first, out),
        );
    }

    #[inline(always)]
    fn place<T: Real>(
        &self,
        results: &[T],
        points: usize,
        (bias, ramp): (T, LeakyRelu<T>),
        first: usize,
        out: &mut [T],
    ) {
        let ((height, width), stride, pitch) = (self.size, self.stride(), self.strip.pitch);
        let columns = self.views.step.min(width);
        for (v, view) in self.views.list.iter().enumerate().step_by(columns) {
            for row in 0..points / pitch {
                let y = (first + row) * self.views.step + view.origin.0;
                if y < height {
                    let source = |x: usize| &results[(v + x) * stride + row * pitch..][..self.views.grid.1];
                    join_line(columns, source, bias, ramp, &mut out[y * width..][..width]);
                }
            }
        }
    }
}

/// The gradients of a kernel's taps, being added up.
struct TapSums {
    /// In the order of the views' taps.
    totals: Vec<f64>,
    /// Points that are in the scratch memory's sums, but not in `totals`.
    open: usize,
}

impl TapSums {
    fn new<T: SimdReal>(bands: &Bands, scratch: &mut Scratch<T>) -> Self {
        let taps = bands.offsets.iter().map(Vec::len).sum();
        grown(&mut scratch.sums, taps * lanes::<T>()).fill(T::ZERO);
        Self { totals: vec![0.0; taps], open: 0 }
    }

    /// Adds the products of what is laid out with the pixels of `x`, of height and width `size`, that it is correlated
    /// to.
    fn add<T: SimdReal>(
        &mut self,
        bands: &Bands,
        x: &[T],
        size: (usize, usize),
        first: usize,
        scratch: &mut Scratch<T>,
    ) {
        let (points, pitch, step) = (bands.points(first), bands.strip.pitch, bands.views.step);
        let strip = grown(&mut scratch.strip, bands.strip.len(1));
        let phase = grown(&mut scratch.phase, bands.stride());
        let sums = grown(&mut scratch.sums, self.totals.len() * lanes::<T>());
        let mut start = 0;
        for (view, offsets) in bands.views.list.iter().zip(&bands.offsets) {
            vectorize(
                #[inline(always)]
                || {
                    // Zeros for the points between rows and behind the last.
                    phase[points..].fill(T::ZERO);
                    for (row, out) in phase[..points].chunks_exact_mut(pitch).enumerate() {
                        let y = (first + row) * step + view.origin.0;
                        match y < size.0 {
                            true => read_line(&x[y * size.1..][..size.1], view.origin.1 as isize, step, out),
                            false => out.fill(T::ZERO),
                        }
                    }
                },
            );
            let correlation = Correlation {
                grad: phase.as_ptr(),
                stride: 0,
                rows: 1,
                source: strip.as_ptr(),
                channels: 1,
                channel: 0,
                offsets,
                points,
                sums: sums[start * lanes::<T>()..].as_mut_ptr(),
            };
            // SAFETY: a strip is readable for its points at every tap, so is the phase, and there is a register for
            // each tap.
            unsafe { correlation.run() };
            start += offsets.len();
        }
        self.open += points;
        if self.open >= POINTS {
            self.close::<T>(sums);
        }
    }

    /// Moves the sums to the totals.
    fn close<T: SimdReal>(&mut self, sums: &mut [T]) {
        for (total, lanes) in self.totals.iter_mut().zip(sums.chunks_exact_mut(lanes::<T>())) {
            *total += lanes.iter().map(|sum| sum.wide()).sum::<f64>();
            lanes.fill(T::ZERO);
        }
        self.open = 0;
    }

    fn finish<T: SimdReal>(mut self, bands: &Bands, scratch: &mut Scratch<T>, dw: &mut [T]) {
        self.close::<T>(grown(&mut scratch.sums, self.totals.len() * lanes::<T>()));
        let taps = bands.views.list.iter().flat_map(|view| &view.taps);
        for ((_, index), total) in taps.zip(self.totals) {
            dw[*index] = T::of(total);
        }
    }
}
