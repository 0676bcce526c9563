//! Linear maps that act on the height and on the width of an image one after the other, each with a short list of
//! weights per output position: resizing, padding, cropping and average pooling.

mod columns;

use crate::memory::buffer;
use crate::{Node, OpError};
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, tensor, vectorize, with_slices};
use colormamba_cuda::applies;
use columns::Columns;
use rayon::prelude::*;

/// A task of the thread pool is not made smaller than this many multiply-adds.
const TASK: usize = 1 << 14;

/// Where height and width stand among the four dimensions.
#[derive(Clone, Copy)]
pub(crate) enum Format {
    /// `(B, C, H, W)`.
    Image,
    /// `(B, H, W, C)`.
    Tokens,
}

impl Format {
    fn height_axis(self) -> usize {
        match self {
            Self::Image => 2,
            Self::Tokens => 1,
        }
    }
}

/// Height and width of `x`, which must have four dimensions and be at least `least` high and wide.
pub(crate) fn size(op: &'static str, x: &Node, format: Format, least: usize) -> Result<(usize, usize)> {
    if let [_, b, c, d] = *x.dims() {
        let (h, w) = match format {
            Format::Image => (c, d),
            Format::Tokens => (b, c),
        };
        if h >= least && w >= least {
            return Ok((h, w));
        }
    }
    let dims = match format {
        Format::Image => "(B, C, H, W)",
        Format::Tokens => "(B, H, W, C)",
    };
    Err(OpError::shape(op, format!("{dims} with H, W ≥ {least}"), x.shape()))
}

/// A sparse matrix that makes `outputs()` positions of an axis from `inputs` positions.
pub(crate) struct Axis<T = f64> {
    inputs: usize,
    /// Row `i` is `entries[starts[i]..starts[i + 1]]`.
    starts: Vec<usize>,
    /// Input position and weight.
    entries: Vec<(usize, T)>,
}

impl Axis {
    /// From the entries of each row, in order.
    pub(crate) fn new<R: IntoIterator<Item = (usize, f64)>>(inputs: usize, rows: impl Iterator<Item = R>) -> Self {
        let (mut starts, mut entries) = (vec![0], Vec::new());
        for row in rows {
            entries.extend(row);
            starts.push(entries.len());
        }
        Self { inputs, starts, entries }
    }

    /// Every output position copies one input position.
    pub(crate) fn select(inputs: usize, sources: impl Iterator<Item = usize>) -> Self {
        Self::new(inputs, sources.map(|i| [(i, 1.0)]))
    }

    /// The adjoint: with it the gradient gathers, so that no two threads add to the same place.
    fn transposed(&self) -> Self {
        let mut rows = vec![Vec::new(); self.inputs];
        for output in 0..self.outputs() {
            for &(input, weight) in self.row(output) {
                rows[input].push((output, weight));
            }
        }
        Self::new(self.outputs(), rows.into_iter())
    }

    fn cast<T: Real>(&self) -> Axis<T> {
        let entries = self.entries.iter().map(|&(i, w)| (i, T::of(w))).collect();
        Axis { inputs: self.inputs, starts: self.starts.clone(), entries }
    }
}

impl<T> Axis<T> {
    fn outputs(&self) -> usize {
        self.starts.len() - 1
    }

    #[inline(always)]
    fn row(&self, i: usize) -> &[(usize, T)] {
        &self.entries[self.starts[i]..self.starts[i + 1]]
    }
}

/// Applies `vertical` to the height and `horizontal` to the width of `x`.
pub(crate) fn separable(op: &'static str, x: &Node, format: Format, vertical: Axis, horizontal: Axis) -> Result<Node> {
    let x = x.contiguous()?;
    let y = apply(op, x.value(), format, &vertical, &horizontal)?;
    Node::new(y, [&x], move |grad| {
        Ok([Some(apply(op, grad, format, &vertical.transposed(), &horizontal.transposed())?)])
    })
}

fn apply(op: &'static str, x: &Tensor, format: Format, vertical: &Axis, horizontal: &Axis) -> Result<Tensor> {
    let axis = format.height_axis();
    let mut dims = x.dims().to_vec();
    dims[axis] = vertical.outputs();
    dims[axis + 1] = horizontal.outputs();
    let (count, inner) = (dims.iter().product(), dims[axis + 2..].iter().product());
    if applies(x) {
        return cuda::apply(x, (vertical, horizontal), inner, dims);
    }
    with_slices!(op, [x], T => {
        let mut y = buffer(count);
        mix::<T>(x, &vertical.cast(), horizontal.cast(), inner, &mut y);
        Ok(tensor(y, dims))
    })
}

fn mix<T: Real>(x: &[T], vertical: &Axis<T>, horizontal: Axis<T>, inner: usize, y: &mut [T]) {
    if y.is_empty() {
        return;
    }
    let (x_row, y_row) = (horizontal.inputs * inner, horizontal.outputs() * inner);
    let height = vertical.outputs();
    let across = match inner {
        1 => Across::Elements(Columns::new(horizontal)),
        _ => Across::Pixels(horizontal, inner),
    };
    let work = (x_row * vertical.entries.len() / height).max(y_row);
    y.par_chunks_mut(y_row).enumerate().with_min_len(TASK.div_ceil(work)).for_each_init(
        || vec![T::ZERO; x_row],
        |mixed, (row, y)| {
            let plane = &x[row / height * vertical.inputs * x_row..][..vertical.inputs * x_row];
            vectorize(
                #[inline(always)]
                || {
                    let row = mix_rows(plane, vertical.row(row % height), mixed);
                    across.mix(row, y);
                },
            );
        },
    );
}

/// The weighted sum of the plane's rows; a row that is only copied is returned where it is.
#[inline(always)]
fn mix_rows<'a, T: Real>(plane: &'a [T], entries: &[(usize, T)], mixed: &'a mut [T]) -> &'a [T] {
    let length = mixed.len();
    if let [(i, weight)] = *entries
        && weight == T::ONE
    {
        return &plane[i * length..][..length];
    }
    mixed.fill(T::ZERO);
    for &(i, weight) in entries {
        add_scaled(mixed, &plane[i * length..][..length], weight);
    }
    mixed
}

/// The horizontal axis, by what lies side by side at each place.
enum Across<T> {
    /// An element.
    Elements(Columns<T>),
    /// The channels of a pixel, so many.
    Pixels(Axis<T>, usize),
}

impl<T: Real> Across<T> {
    #[inline(always)]
    fn mix(&self, row: &[T], y: &mut [T]) {
        match self {
            Self::Elements(columns) => columns.mix(row, y),
            Self::Pixels(axis, channels) => mix_pixels(row, axis, *channels, y),
        }
    }
}

#[inline(always)]
fn mix_pixels<T: Real>(row: &[T], axis: &Axis<T>, inner: usize, y: &mut [T]) {
    for (j, y) in y.chunks_exact_mut(inner).enumerate() {
        if let [(i, weight)] = *axis.row(j)
            && weight == T::ONE
        {
            y.copy_from_slice(&row[i * inner..][..inner]);
            continue;
        }
        y.fill(T::ZERO);
        for &(i, weight) in axis.row(j) {
            add_scaled(y, &row[i * inner..][..inner], weight);
        }
    }
}

/// `y += weight · x`.
#[inline(always)]
fn add_scaled<T: Real>(y: &mut [T], x: &[T], weight: T) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = x.mul_add(weight, *y);
    }
}

mod cuda {
    use super::Axis;
    use crate::kernels::PLANES;
    use crate::pointwise::cuda::over_elements;
    use candle_core::{Device, Result, Tensor};
    use colormamba_cuda::DeviceMemory;

    /// Starts of rows and places of both axes, and their weights, each in one small copy to the GPU.
    fn upload(axes: [&Axis; 2], device: &Device) -> Result<[Tensor; 6]> {
        let starts = |axis: &Axis| axis.starts.iter().map(|&start| start as u32).collect::<Vec<_>>();
        let places = |axis: &Axis| axis.entries.iter().map(|&(i, _)| i as u32).collect::<Vec<_>>();
        let parts = axes.map(|axis| [starts(axis), places(axis)]);
        let lengths: Vec<usize> = parts.iter().flatten().map(Vec::len).collect();
        let integers = Tensor::new(parts.into_iter().flatten().flatten().collect::<Vec<u32>>(), device)?;
        let weights: Vec<f64> = axes.iter().flat_map(|axis| axis.entries.iter().map(|&(_, w)| w)).collect();
        let weights = Tensor::new(weights, device)?;
        let integers = |i: usize| integers.narrow(0, lengths[..i].iter().sum(), lengths[i]);
        let (first, second) = (lengths[1], lengths[3]);
        Ok([
            integers(0)?,
            integers(1)?,
            weights.narrow(0, 0, first)?,
            integers(2)?,
            integers(3)?,
            weights.narrow(0, first, second)?,
        ])
    }

    pub(super) fn apply(
        x: &Tensor,
        (vertical, horizontal): (&Axis, &Axis),
        inner: usize,
        dims: Vec<usize>,
    ) -> Result<Tensor> {
        let n = dims.iter().product();
        let mut y = DeviceMemory::new(x, x.dtype(), n)?;
        let axes = upload([vertical, horizontal], x.device())?;
        let launch = over_elements(&PLANES, "separable", x, n).input(x).output(&mut y);
        let launch = axes.iter().fold(launch, |launch, tensor| launch.input(tensor));
        let sizes = [n, vertical.outputs(), horizontal.outputs(), vertical.inputs, horizontal.inputs, inner];
        launch.sizes(sizes).run()?;
        y.tensor(dims)
    }
}
