//! Depthwise 3x3 convolution of token maps: channels are adjacent in memory, so they are the vector lanes. A window slides
//! along a row with a few channels at a time, so that what it holds, the taps and the sums stay in registers.

use crate::memory::buffer;
use crate::operands::Operands;
use crate::pointwise::fill_rows;
use crate::sums::row_bias_gradient;
use crate::{Node, OpError};
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, hold, tensor, vectorize, with_slices};
use rayon::prelude::*;

const OP: &str = "depthwise_conv3x3";
const TAPS: usize = 9;
/// Channels at a time: a register of f32.
const LANES: usize = 16;
/// Rows whose sums are taken in the type of the elements; those of all rows are added in f64.
const ROWS: usize = 4;

type Channels<T> = [T; LANES];
/// The neighbourhood of a pixel, or its taps: columns from left to right, each from top to bottom.
type Window<T> = [[Channels<T>; 3]; 3];

/// Convolution of each channel with its own 3x3 kernel: stride 1, one ring of zeros, so that the size stays.
///
/// `x (B, H, W, C)` channels-last, `w (C, 1, 3, 3)`, `bias (C)` → `(B, H, W, C)`.
///
/// # Errors
/// [`OpError`] for shapes that do not fit and [other types](crate#types).
pub fn depthwise_conv3x3(x: impl Into<Node>, w: &Tensor, bias: Option<&Tensor>) -> Result<Node> {
    let x = x.into();
    let &[_, _, _, channels] = x.dims() else {
        return Err(OpError::shape(OP, "an input (batch, height, width, channels)", x.shape()));
    };
    if w.dims() != [channels, 1, 3, 3] {
        return Err(OpError::shape(OP, format!("a weight ({channels}, 1, 3, 3)"), w.shape()));
    }
    let operands = Operands::new(OP, &x, w, bias, channels)?;
    let y = convolve(operands.x.value(), operands.w.value(), operands.bias(), false)?;
    let (for_x, for_w, for_bias) = (operands.x.is_tracked(), operands.w.is_tracked(), operands.bias_is_tracked());
    let w = operands.w.value().clone();
    let kept_x = for_w.then(|| operands.x.value().clone());
    operands.node(y, move |grad| match kept_x {
        Some(x) => {
            let [dx, dw, db] = gradients(&x, &w, grad)?;
            Ok([for_x.then_some(dx), Some(dw), for_bias.then_some(db)])
        }
        None => {
            let dx = for_x.then(|| convolve(grad, &w, None, true)).transpose()?;
            Ok([dx, None, for_bias.then(|| row_bias_gradient(grad)).transpose()?])
        }
    })
}

/// The convolution, or with the kernel `flipped` its adjoint.
fn convolve(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, flipped: bool) -> Result<Tensor> {
    if colormamba_cuda::applies(x) {
        return cuda::convolve(x, w, bias, flipped);
    }
    let shape = x.shape();
    let bias = bias.map(|bias| hold(OP, bias));
    with_slices!(OP, [x, w], T => {
        let map = TokenMap::new(x, shape.dims4()?);
        let taps = taps::<T>(w, flipped);
        let mut biases = vec![T::ZERO; taps.len() * LANES];
        if let Some(bias) = &bias {
            biases[..map.channels].copy_from_slice(bias.slice()?);
        }
        let row = map.row_length();
        let out = fill_rows(x.len(), row, #[inline(always)] |start, out: &mut [T]| {
            map.convolve_row(start / row, &taps, biases.as_chunks().0, out);
        });
        Ok(tensor(out, shape))
    })
}

/// The taps `(C, 9)` by blocks of channels, the last filled up with zeros.
fn taps<T: Real>(w: &[T], flipped: bool) -> Vec<Window<T>> {
    let mut blocks = vec![[[[T::ZERO; LANES]; 3]; 3]; (w.len() / TAPS).div_ceil(LANES)];
    for (c, taps) in w.chunks_exact(TAPS).enumerate() {
        for (t, &tap) in taps.iter().enumerate() {
            let t = if flipped { TAPS - 1 - t } else { t };
            blocks[c / LANES][t % 3][t / 3][c % LANES] = tap;
        }
    }
    blocks
}

/// The gradients of input, weight and bias in one pass, since all three go through the neighbourhoods in `grad`.
fn gradients(x: &Tensor, w: &Tensor, grad: &Tensor) -> Result<[Tensor; 3]> {
    if colormamba_cuda::applies(x) {
        let [dw, db] = cuda::weight_gradients(x, grad)?;
        return Ok([cuda::convolve(grad, w, None, true)?, dw, db]);
    }
    let (x_shape, w_shape, channels) = (x.shape(), w.shape(), w.dims()[0]);
    with_slices!(OP, [x, w, grad], T => {
        let map = TokenMap::new(grad, x_shape.dims4()?);
        let taps = taps::<T>(w, true);
        let mut dx = buffer(x.len());
        let sums = map.gradient_rows(x, &taps, &mut dx);
        let sum = |c: usize, t: usize| T::of(sums[c / LANES][t][c % LANES]);
        // Where the input met the gradient's neighbour on the left, there the tap on the right was used.
        let tap = |t: usize| (2 - t % 3) * 3 + 2 - t / 3;
        let dw = (0..channels).flat_map(|c| (0..TAPS).map(move |t| sum(c, tap(t)))).collect();
        let db = (0..channels).map(|c| sum(c, TAPS)).collect();
        Ok([tensor(dx, x_shape), tensor(dw, w_shape), tensor(db, channels)])
    })
}

/// For a block of channels the sums of each neighbour, column by column, times the input, and of the pixel itself.
type Sums<T> = [Channels<T>; TAPS + 1];

/// A contiguous `(batch, height, width, channels)` and a row of zeros to stand for what lies outside.
struct TokenMap<'a, T> {
    data: &'a [T],
    height: usize,
    width: usize,
    channels: usize,
    outside: Vec<T>,
}

impl<'a, T: Real> TokenMap<'a, T> {
    fn new(data: &'a [T], (_, height, width, channels): (usize, usize, usize, usize)) -> Self {
        Self { data, height, width, channels, outside: vec![T::ZERO; width * channels] }
    }

    fn row_length(&self) -> usize {
        self.width * self.channels
    }

    /// The row, between those above and below it; `row` counts through all images.
    #[inline(always)]
    fn lines(&self, row: usize) -> [&[T]; 3] {
        let (y, n) = (row % self.height, self.row_length());
        std::array::from_fn(|t| {
            let is_outside = y + t == 0 || y + t > self.height;
            if is_outside { &self.outside[..] } else { &self.data[(row + t - 1) * n..][..n] }
        })
    }

    /// Calls `f(place, neighbourhood)` for each pixel of a row, of `count` channels from `first` on.
    #[inline(always)]
    fn slide(&self, row: usize, (first, count): (usize, usize), mut f: impl FnMut(usize, Window<T>)) {
        let lines = self.lines(row);
        let column = |x: usize| lines.map(|line| load(&line[x * self.channels + first..], count));
        let outside = [[T::ZERO; LANES]; 3];
        let (mut left, mut middle) = (outside, column(0));
        for x in 0..self.width {
            let right = if x + 1 < self.width { column(x + 1) } else { outside };
            f(x * self.channels + first, [left, middle, right]);
            (left, middle) = (middle, right);
        }
    }

    /// Calls `f(index, (first, count))` for each block of channels, with a `count` that the compiler knows if it is full.
    #[inline(always)]
    fn each_block(&self, mut f: impl FnMut(usize, (usize, usize))) {
        let full = self.channels / LANES;
        for block in 0..full {
            f(block, (block * LANES, LANES));
        }
        let rest = self.channels % LANES;
        if rest > 0 {
            f(full, (full * LANES, rest));
        }
    }

    #[inline(always)]
    fn convolve_row(&self, row: usize, taps: &[Window<T>], bias: &[Channels<T>], out: &mut [T]) {
        self.each_block(
            #[inline(always)]
            |block, channels| {
                let (taps, bias) = (taps[block], bias[block]);
                self.slide(
                    row,
                    channels,
                    #[inline(always)]
                    |place, window| {
                        let mut sum = bias;
                        for t in 0..TAPS {
                            add_product(&mut sum, &window[t / 3][t % 3], &taps[t / 3][t % 3]);
                        }
                        out[place..place + channels.1].copy_from_slice(&sum[..channels.1]);
                    },
                );
            },
        );
    }

    /// The convolution of all rows, and sums with the input `x`.
    fn gradient_rows(&self, x: &[T], taps: &[Window<T>], dx: &mut [T]) -> Vec<Sums<f64>> {
        let row_length = self.row_length();
        let mut totals = vec![[[0.0; LANES]; TAPS + 1]; taps.len()];
        if dx.is_empty() {
            return totals;
        }
        let partial = |(chunk, dx): (usize, &mut [T])| {
            let mut sums = vec![[[T::ZERO; LANES]; TAPS + 1]; taps.len()];
            for (i, dx) in dx.chunks_exact_mut(row_length).enumerate() {
                let row = chunk * ROWS + i;
                vectorize(
                    #[inline(always)]
                    || self.gradient_row(row, &x[row * row_length..][..row_length], taps, dx, &mut sums),
                );
            }
            sums
        };
        let partials: Vec<_> = dx.par_chunks_mut(ROWS * row_length).enumerate().map(partial).collect();
        for sums in partials {
            for (total, sum) in
                totals.as_flattened_mut().as_flattened_mut().iter_mut().zip(sums.as_flattened().as_flattened())
            {
                *total += sum.wide();
            }
        }
        totals
    }

    #[inline(always)]
    fn gradient_row(&self, row: usize, x: &[T], taps: &[Window<T>], dx: &mut [T], sums: &mut [Sums<T>]) {
        self.each_block(
            #[inline(always)]
            |block, channels| {
                let (taps, mut of_block) = (taps[block], sums[block]);
                self.slide(
                    row,
                    channels,
                    #[inline(always)]
                    |place, window| {
                        let (x, mut sum) = (load(&x[place..], channels.1), [T::ZERO; LANES]);
                        for t in 0..TAPS {
                            add_product(&mut sum, &window[t / 3][t % 3], &taps[t / 3][t % 3]);
                            add_product(&mut of_block[t], &window[t / 3][t % 3], &x);
                        }
                        of_block[TAPS].iter_mut().zip(&window[1][1]).for_each(|(sum, &g)| *sum += g);
                        dx[place..place + channels.1].copy_from_slice(&sum[..channels.1]);
                    },
                );
                sums[block] = of_block;
            },
        );
    }
}

/// The first `count` elements, then zeros.
#[inline(always)]
fn load<T: Real>(x: &[T], count: usize) -> Channels<T> {
    let mut lanes = [T::ZERO; LANES];
    lanes[..count].copy_from_slice(&x[..count]);
    lanes
}

/// `sum += a b`.
#[inline(always)]
fn add_product<T: Real>(sum: &mut Channels<T>, a: &Channels<T>, b: &Channels<T>) {
    for i in 0..LANES {
        sum[i] = a[i].mul_add(b[i], sum[i]);
    }
}

mod cuda {
    use super::TAPS;
    use crate::kernels::DEPTHWISE_CONV;
    use crate::sums::cuda::row_sums;
    use candle_core::{Result, Tensor};
    use colormamba_cuda::{DeviceMemory, Launch};

    /// As the kernels have it.
    const ROWS: usize = 4;

    /// Threads for a map `(B, H, W, C)`, each of [`ROWS`] rows and `run` columns of a channel.
    fn strips((batch, height, width, channels): (usize, usize, usize, usize), run: usize) -> usize {
        batch * height.div_ceil(ROWS) * width.div_ceil(run) * channels
    }

    pub(super) fn convolve(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, flipped: bool) -> Result<Tensor> {
        const RUN: usize = 16;
        let (_, height, width, channels) = x.dims4()?;
        let strips = strips(x.dims4()?, RUN);
        let mut y = DeviceMemory::like(x)?;
        let launch = Launch::new(&DEPTHWISE_CONV, "depthwise_conv", x).over(strips, 256);
        let launch = launch.input(x).input(w).maybe(bias).output(&mut y);
        launch.sizes([height, width, channels, strips, RUN, usize::from(flipped)]).run()?;
        y.tensor(x.shape())
    }

    /// The gradients of weight and bias.
    pub(super) fn weight_gradients(x: &Tensor, grad: &Tensor) -> Result<[Tensor; 2]> {
        // Longer, so that what is summed for each thread is little beside what it reads.
        const RUN: usize = 64;
        let (_, height, width, channels) = x.dims4()?;
        let strips = strips(x.dims4()?, RUN);
        let mut sums = DeviceMemory::statistics(x, strips * (TAPS + 1))?;
        let launch = Launch::new(&DEPTHWISE_CONV, "depthwise_conv_sums", x).over(strips, 256);
        launch.input(x).input(grad).output(&mut sums).sizes([height, width, channels, strips, RUN]).run()?;
        let sums = row_sums(&sums.tensor(strips * (TAPS + 1))?, (TAPS + 1) * channels)?;
        let sums = sums.reshape((TAPS + 1, channels))?;
        let weight = sums.narrow(0, 0, TAPS)?.t()?.contiguous()?.reshape((channels, 1, 3, 3))?;
        Ok([weight, sums.get(TAPS)?])
    }
}
