//! Convolutions on a GPU: by cuDNN where it is compiled in, else as matrix products, which are candle's (that is
//! cuBLAS's), of columns of pixels that our kernels gather, a limited number at a time.

#[cfg(feature = "cudnn")]
use super::cudnn::{Cudnn, Wanted};
use super::{Convolution, Direction};
use crate::activation::LeakyRelu;
use crate::conv::correlate::Geometry;
use crate::kernels::CONV;
use candle_core::{Result, Tensor};
use colormamba_cuda::{DeviceMemory, Launch, matmul};
use std::ops::Range;

/// Most bytes of columns at a time. Few under emulation, so that tests meet all ways of cutting.
const COLUMN_BYTES: usize = if cfg!(feature = "emulation") { 1 << 20 } else { 256 << 20 };
/// What each pixel is alone under.
const PIXEL: Geometry = Geometry { kernel: (1, 1), stride: 1, padding: 0 };
const THREADS: u32 = 256;
/// A grid's limit along y.
const PLANES: usize = 65535;

/// What is done to a sum of products.
#[derive(Clone, Copy)]
struct Finish<'a> {
    bias: Option<&'a Tensor>,
    ramp: LeakyRelu,
}

const PLAIN: Finish = Finish { bias: None, ramp: LeakyRelu::IDENTITY };

pub(super) fn run(of: &Convolution, xs: &[Tensor], w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let finish = Finish { bias, ramp: of.activation.ramp() };
    match of.direction {
        Direction::Forward => correlate(of.geometry, xs, w, of.size, finish),
        Direction::Adjoint => spread(of.geometry, xs, w, of.size, finish),
    }
}

/// The gradient of the input's channels `range`; the input was of height and width `size`.
pub(super) fn input_gradient(
    of: &Convolution,
    grad: &Tensor,
    w: &Tensor,
    range: Range<usize>,
    size: (usize, usize),
) -> Result<Tensor> {
    let grads = std::slice::from_ref(grad);
    match of.direction {
        Direction::Forward => spread(of.geometry, grads, &w.narrow(1, range.start, range.len())?, size, PLAIN),
        Direction::Adjoint => correlate(of.geometry, grads, &w.narrow(0, range.start, range.len())?, size, PLAIN),
    }
}

/// The convolution of `xs`, with a weight `(outputs, channels, kernel)`.
fn correlate(geometry: Geometry, xs: &[Tensor], w: &Tensor, size: (usize, usize), finish: Finish) -> Result<Tensor> {
    let (batch, positions) = (xs[0].dims()[0], size.0 * size.1);
    let (outputs, rows) = (w.dims()[0], w.elem_count() / w.dims()[0]);
    #[cfg(feature = "cudnn")]
    if xs[0].device().is_cuda() {
        let (x, w) = (whole(xs)?, w.to_dtype(xs[0].dtype())?);
        let grid = [batch, outputs, size.0, size.1];
        if let Some(y) = Cudnn::new(Wanted::Grid, geometry, dims(&x)?, dims(&w)?, grid).of(&x, &w)? {
            return finish.images(y);
        }
    }
    let w = w.to_dtype(xs[0].dtype())?.reshape((outputs, rows))?;
    let mut y = DeviceMemory::new(&xs[0], xs[0].dtype(), batch * outputs * positions)?;
    let shape = (batch, outputs, size.0, size.1);
    if geometry == PIXEL && xs.len() == 1 {
        let x = xs[0].reshape((batch, rows, positions))?;
        let product = matmul(&w.unsqueeze(0)?.broadcast_as((batch, outputs, rows))?, &x)?;
        finish.columns(&product, &mut y, (outputs, positions), 0..batch * positions, true)?;
        return y.tensor(shape);
    }
    for range in pieces(batch, positions, rows * xs[0].dtype().size_in_bytes()) {
        let product = matmul(&w, &columns(geometry, xs, size, range.clone())?)?;
        finish.columns(&product, &mut y, (outputs, positions), range, false)?;
    }
    y.tensor(shape)
}

/// The adjoint of a convolution, with a weight `(channels, outputs, kernel)`, of `xs`.
fn spread(geometry: Geometry, xs: &[Tensor], w: &Tensor, size: (usize, usize), finish: Finish) -> Result<Tensor> {
    let (batch, _, height, width) = xs[0].dims4()?;
    let (channels, outputs, kernel_height, kernel_width) = w.dims4()?;
    let (positions, area) = (height * width, kernel_height * kernel_width);
    let w = w.to_dtype(xs[0].dtype())?;
    #[cfg(feature = "cudnn")]
    if xs[0].device().is_cuda() {
        let x = whole(xs)?;
        let image = [batch, outputs, size.0, size.1];
        if let Some(y) = Cudnn::new(Wanted::Image, geometry, image, dims(&w)?, dims(&x)?).of(&w, &x)? {
            return finish.images(y);
        }
    }
    let mut y = DeviceMemory::new(&xs[0], xs[0].dtype(), batch * outputs * size.0 * size.1)?;
    let room = COLUMN_BYTES / (area * positions * xs[0].dtype().size_in_bytes()).max(1);
    let (images, outputs_at_once) = ((room / outputs).clamp(1, batch.max(1)), room.clamp(1, outputs));
    for first in (0..outputs).step_by(outputs_at_once) {
        let count = outputs_at_once.min(outputs - first);
        let w = w.narrow(1, first, count)?.reshape((channels, count * area))?.t()?;
        for image in (0..batch).step_by(images) {
            let images = images.min(batch - image);
            let x = columns(PIXEL, xs, (height, width), image * positions..(image + images) * positions)?;
            let product = matmul(&w, &x)?;
            let launch = Launch::new(&CONV, "fold", &product);
            let blocks = [(size.0 * size.1).div_ceil(THREADS as usize), (images * count).min(PLANES), 1];
            let launch = launch.blocks(blocks, THREADS).input(&product).maybe(finish.bias).output(&mut y);
            let launch = launch.sizes([outputs, first, count, image, images, size.0, size.1]);
            let launch = launch.sizes([kernel_height, kernel_width, geometry.stride, geometry.padding]);
            finish.ramp.pass(launch.sizes([height, width])).run()?;
        }
    }
    y.tensor((batch, outputs, size.0, size.1))
}

/// The gradient of the weight of a convolution from `images` to something with gradients `grads`, as a vector.
pub(super) fn weight_gradient(geometry: Geometry, images: &[Tensor], grads: &[Tensor]) -> Result<Tensor> {
    let (batch, _, height, width) = grads[0].dims4()?;
    let channels: usize = images.iter().map(|x| x.dims()[1]).sum();
    #[cfg(feature = "cudnn")]
    if images[0].device().is_cuda() {
        let (image, grad) = (whole(images)?, whole(grads)?);
        let weight = [grad.dims()[1], channels, geometry.kernel.0, geometry.kernel.1];
        let of = Cudnn::new(Wanted::Weight, geometry, dims(&image)?, weight, dims(&grad)?);
        if let Some(gradient) = of.of(&image, &grad)? {
            return gradient.flatten_all()?.to_dtype(colormamba_cuda::wide(grad.dtype()));
        }
    }
    let rows = channels * geometry.kernel.0 * geometry.kernel.1;
    let mut sums: Vec<Option<Tensor>> = vec![None; grads.len()];
    for range in pieces(batch, height * width, rows * images[0].dtype().size_in_bytes()) {
        let windows = columns(geometry, images, (height, width), range.clone())?.t()?;
        for (sum, grad) in sums.iter_mut().zip(grads) {
            let grad = columns(PIXEL, std::slice::from_ref(grad), (height, width), range.clone())?;
            let product = matmul(&grad, &windows)?.to_dtype(colormamba_cuda::wide(grad.dtype()))?;
            *sum = Some(sum.take().map_or(Ok(product.clone()), |sum| sum + product)?);
        }
    }
    let sums = sums.into_iter().zip(grads).map(|(sum, grad)| match sum {
        Some(sum) => Ok(sum),
        None => Tensor::zeros((grad.dims()[1], rows), colormamba_cuda::wide(grad.dtype()), grad.device()),
    });
    Tensor::cat(&sums.collect::<Result<Vec<_>>>()?, 0)?.flatten_all()
}

/// The windows of a batch cut into pieces of limited memory, of whole images where several fit.
fn pieces(batch: usize, positions: usize, bytes_of_one: usize) -> impl Iterator<Item = Range<usize>> {
    let (total, room) = (batch * positions, (COLUMN_BYTES / bytes_of_one.max(1)).max(1));
    let length = if room > positions { room - room % positions.max(1) } else { room };
    (0..total).step_by(length).map(move |start| start..total.min(start + length))
}

/// The pixels of all of `xs` under the windows `range` of a grid, `(channels and taps, windows)`.
fn columns(geometry: Geometry, xs: &[Tensor], grid: (usize, usize), range: Range<usize>) -> Result<Tensor> {
    let (positions, area) = (grid.0 * grid.1, geometry.kernel.0 * geometry.kernel.1);
    let is_image = range.len() == positions && range.start.is_multiple_of(positions);
    if geometry == PIXEL && xs.len() == 1 && is_image {
        return xs[0].narrow(0, range.start / positions, 1)?.reshape(((), positions));
    }
    let rows = area * xs.iter().map(|x| x.dims()[1]).sum::<usize>();
    let mut out = DeviceMemory::new(&xs[0], xs[0].dtype(), rows * range.len())?;
    let mut first_row = 0;
    for x in xs {
        let (_, channels, height, width) = x.dims4()?;
        let blocks = [range.len().div_ceil(THREADS as usize), channels.min(PLANES), 1];
        let launch = Launch::new(&CONV, "columns", x).blocks(blocks, THREADS).input(x).output(&mut out);
        let launch = launch.sizes([channels, height, width, geometry.kernel.0, geometry.kernel.1]);
        let launch = launch.sizes([geometry.stride, geometry.padding, grid.1, positions]);
        launch.sizes([range.start, range.len(), first_row]).run()?;
        first_row += channels * area;
    }
    out.tensor((rows, range.len()))
}

/// The channels of all of `xs`, one tensor after the other, since cuDNN reads one.
#[cfg(feature = "cudnn")]
fn whole(xs: &[Tensor]) -> Result<Tensor> {
    if let [x] = xs { Ok(x.clone()) } else { Tensor::cat(xs, 1) }
}

#[cfg(feature = "cudnn")]
fn dims(x: &Tensor) -> Result<[usize; 4]> {
    x.dims4().map(Into::into)
}

impl Finish<'_> {
    /// To images that are whole.
    #[cfg(feature = "cudnn")]
    fn images(self, x: Tensor) -> Result<Tensor> {
        if self.bias.is_none() && self.ramp == LeakyRelu::IDENTITY {
            return Ok(x);
        }
        let (batch, channels, height, width) = x.dims4()?;
        let positions = height * width;
        let mut y = DeviceMemory::like(&x)?;
        self.columns(&x, &mut y, (channels, positions), 0..batch * positions, true)?;
        y.tensor(x.shape())
    }

    /// Writes the windows `range` of images `(batch, channels, positions)` from products.
    fn columns(
        self,
        product: &Tensor,
        y: &mut DeviceMemory,
        (channels, positions): (usize, usize),
        range: Range<usize>,
        is_image: bool,
    ) -> Result<()> {
        let blocks = [range.len().div_ceil(THREADS as usize), channels.min(PLANES), 1];
        let launch = Launch::new(&CONV, "finish", product).blocks(blocks, THREADS).input(product).maybe(self.bias);
        let launch = launch.output(y).sizes([channels, positions, range.start, range.len(), usize::from(is_image)]);
        self.ramp.pass(launch).run()
    }
}
