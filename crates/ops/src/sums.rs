//! Gradients of biases: sums over everything but the channels, in f64 and in a fixed order.

use crate::gemm::split;
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, tensor, vectorize, with_slices};
use rayon::prelude::*;

/// The gradient of a bias on dimension 1 of a contiguous `(B, C, H, W)`, from that of the sum.
pub(crate) fn plane_bias_gradient(grad: &Tensor) -> Result<Tensor> {
    let (_, channels, h, w) = grad.dims4()?;
    if colormamba_cuda::applies(grad) {
        return cuda::plane_sums(grad, channels, h * w);
    }
    with_slices!("plane_bias_gradient", [grad], T => Ok(tensor(plane_sums::<T>(grad, channels, h * w), channels)))
}

/// The gradient of a bias on the last dimension of a contiguous tensor, from that of the sum.
pub(crate) fn row_bias_gradient(grad: &Tensor) -> Result<Tensor> {
    let channels = grad.dims().last().copied().unwrap_or(1);
    if colormamba_cuda::applies(grad) {
        return cuda::row_sums(grad, channels);
    }
    with_slices!("row_bias_gradient", [grad], T => Ok(tensor(row_sums::<T>(grad, channels), channels)))
}

fn plane_sums<T: Real>(x: &[T], channels: usize, area: usize) -> Vec<T> {
    let image = channels * area;
    let of_channel = |c: usize| {
        let planes = (0..x.len() / image.max(1)).map(|b| &x[b * image + c * area..][..area]);
        T::of(
            planes
                .map(|plane| {
                    vectorize(
                        #[inline(always)]
                        || lane_sum(plane),
                    )
                })
                .sum(),
        )
    };
    (0..channels).into_par_iter().map(of_channel).collect()
}

/// Sum in eight running sums, so that the additions do not wait for each other.
#[inline(always)]
pub(crate) fn lane_sum<T: Real>(x: &[T]) -> f64 {
    let mut lanes = [0.0; 8];
    let chunks = x.chunks_exact(8);
    let tail: f64 = chunks.remainder().iter().map(|v| v.wide()).sum();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += v.wide();
        }
    }
    lanes.iter().sum::<f64>() + tail
}

fn row_sums<T: Real>(x: &[T], channels: usize) -> Vec<T> {
    const CHUNKS: usize = 32;
    const LEAST_ROWS: usize = 64;
    let chunks = split(x.len() / channels.max(1), CHUNKS, LEAST_ROWS);
    let sum_rows = |rows: std::ops::Range<usize>| {
        let mut sums = vec![0.0; channels];
        vectorize(
            #[inline(always)]
            || add_rows(&x[rows.start * channels..rows.end * channels], &mut sums),
        );
        sums
    };
    let partial: Vec<Vec<f64>> = chunks.into_par_iter().map(sum_rows).collect();
    (0..channels).map(|c| T::of(partial.iter().map(|sums| sums[c]).sum())).collect()
}

#[inline(always)]
fn add_rows<T: Real>(x: &[T], sums: &mut [f64]) {
    if sums.is_empty() {
        return;
    }
    for row in x.chunks_exact(sums.len()) {
        for (sum, v) in sums.iter_mut().zip(row) {
            *sum += v.wide();
        }
    }
}

pub(crate) mod cuda {
    use crate::kernels::SUMS;
    use candle_core::{Result, Tensor};
    use colormamba_cuda::{DeviceMemory, Launch, threads_for};

    /// The sum of the rows of `columns` elements.
    pub(crate) fn row_sums(x: &Tensor, columns: usize) -> Result<Tensor> {
        let mut sums = partial(x, columns)?;
        stage(x, [None; 2], [Some(&mut sums), None], columns)?;
        total(sums, columns)
    }

    /// The sum of the rows of `x` · `factor`.
    pub(crate) fn product_sums(x: &Tensor, factor: &Tensor, columns: usize) -> Result<Tensor> {
        let mut products = partial(x, columns)?;
        stage(x, [Some(factor), None], [None, Some(&mut products)], columns)?;
        total(products, columns)
    }

    /// The sums of the rows of `grad` · `x`, with x normalised by the means and 1/std `stats` `(rows, 2)`, and of `grad`.
    pub(crate) fn normalised_sums(grad: &Tensor, x: &Tensor, stats: &Tensor, columns: usize) -> Result<[Tensor; 2]> {
        let (mut sums, mut products) = (partial(grad, columns)?, partial(grad, columns)?);
        stage(grad, [Some(x), Some(stats)], [Some(&mut sums), Some(&mut products)], columns)?;
        Ok([total(products, columns)?, total(sums, columns)?])
    }

    /// How many rows there are, and chunks of them, each of which a thread adds up.
    fn rows_and_chunks(x: &Tensor, columns: usize) -> [usize; 2] {
        const STAGE: usize = 128;
        let rows = x.elem_count() / columns.max(1);
        [rows, rows.div_ceil(STAGE).max(1)]
    }

    /// Memory for the sums of chunks.
    fn partial(x: &Tensor, columns: usize) -> Result<DeviceMemory> {
        let [_, chunks] = rows_and_chunks(x, columns);
        DeviceMemory::statistics(x, chunks * columns)
    }

    fn stage(
        x: &Tensor,
        factor_and_stats: [Option<&Tensor>; 2],
        sums_and_products: [Option<&mut DeviceMemory>; 2],
        columns: usize,
    ) -> Result<()> {
        let [rows, chunks] = rows_and_chunks(x, columns);
        let launch = Launch::new(&SUMS, "row_sums", x).over(chunks * columns, 256).input(x);
        let launch = factor_and_stats.into_iter().fold(launch, Launch::maybe);
        sums_and_products.into_iter().fold(launch, Launch::maybe_output).sizes([rows, columns, chunks]).run()
    }

    /// The sum of the chunks' sums, by as many stages as it takes.
    fn total(sums: DeviceMemory, columns: usize) -> Result<Tensor> {
        match sums.elements() / columns.max(1) {
            0 | 1 => sums.tensor(columns),
            rows => row_sums(&sums.tensor((rows, columns))?, columns),
        }
    }

    /// The sum of the planes of each channel of a `(B, C, H, W)`.
    pub(super) fn plane_sums(x: &Tensor, channels: usize, plane: usize) -> Result<Tensor> {
        const CHUNK: usize = 8192;
        let planes = x.elem_count() / plane.max(1);
        let chunks = plane.div_ceil(CHUNK).max(1);
        let mut out = DeviceMemory::statistics(x, planes * chunks)?;
        let threads = threads_for(plane.min(CHUNK) / 4);
        let launch = Launch::new(&SUMS, "plane_sums", x).blocks([planes, chunks, 1], threads);
        launch.input(x).output(&mut out).sizes([channels, plane, CHUNK]).run()?;
        row_sums(&out.tensor(planes * chunks)?, channels)
    }
}
