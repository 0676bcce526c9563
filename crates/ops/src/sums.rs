//! Gradients of biases: sums over everything but the channels, in f64 and in a fixed order.

use crate::cpu::{Real, slice, vectorize};
use crate::gemm::split;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType};
use rayon::prelude::*;

/// Sum of `(B, C, H, W)` over all but `C`.
pub(crate) struct PlaneSums;

impl CustomOp1 for PlaneSums {
    fn name(&self) -> &'static str {
        "plane_sums"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, channels, h, w) = layout.shape().dims4()?;
        crate::dispatch_real!(self.name(), storage, T => {
            let sums = plane_sums(slice::<T>(self.name(), storage, layout)?, channels, h * w);
            Ok((T::to_cpu_storage_owned(sums), Shape::from(channels)))
        })
    }
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
fn lane_sum<T: Real>(x: &[T]) -> f64 {
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

/// Sum of `(.., C)` over all but the last dimension.
pub(crate) struct RowSums;

impl CustomOp1 for RowSums {
    fn name(&self) -> &'static str {
        "row_sums"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let channels = layout.dims()[layout.dims().len() - 1];
        crate::dispatch_real!(self.name(), storage, T => {
            let sums = row_sums(slice::<T>(self.name(), storage, layout)?, channels);
            Ok((T::to_cpu_storage_owned(sums), Shape::from(channels)))
        })
    }
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

/// The gradient of a bias on dimension 1 of a contiguous `(B, C, H, W)`, if `bias` is trained.
pub(crate) fn plane_bias_gradient(bias: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
    bias.track_op().then(|| grad.apply_op1_no_bwd(&PlaneSums)).transpose()
}

/// The gradient of a bias on the last dimension of a contiguous tensor, if `bias` is trained.
pub(crate) fn row_bias_gradient(bias: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
    bias.track_op().then(|| grad.apply_op1_no_bwd(&RowSums)).transpose()
}
