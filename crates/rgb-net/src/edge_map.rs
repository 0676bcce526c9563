//! The edge map that modulates the HSV image in G_A. It has no parameters and no gradient.

use candle_core::{DType, Device, Result, Tensor};
use strum::{Display, EnumString, VariantNames};

/// Along which axes the second derivative runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, EnumString, VariantNames)]
#[strum(serialize_all = "lowercase", parse_err_ty = UnknownEdgeMap, parse_err_fn = unknown)]
pub enum EdgeMap {
    /// Along H and W, each image by itself.
    Spatial,
    /// Along the batch and along H, minimum and maximum over the batch: what the published code does, which hands a batch
    /// to OpenCV as one image of B rows, H columns and W channels. Published weights were trained so.
    Legacy,
}

/// A word that names no edge map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown edge map `{}`, expected one of: {}", .0, EdgeMap::VARIANTS.join(", "))]
pub struct UnknownEdgeMap(String);

fn unknown(word: &str) -> UnknownEdgeMap {
    UnknownEdgeMap(word.to_string())
}

impl EdgeMap {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Spatial, Self::Legacy];

    /// Laplacian `[0 1 0; 1 −4 1; 0 1 0]` of `⌊255 · gray⌋`, reflect-101 borders, stretched to `[0, 1]`; a flat image gives
    /// zeros. `gray` `(B, 1, H, W)` in `[0, 1]`; the result has its shape.
    ///
    /// # Errors
    /// If `gray` is not four-dimensional.
    pub fn compute(self, gray: &Tensor) -> Result<Tensor> {
        let (b, c, h, w) = gray.dims4()?;
        let area = h * w;
        let layout = match self {
            Self::Legacy => Layout { group: b * c * area, axes: [(b, c * area), (h, w)] },
            Self::Spatial => Layout { group: area, axes: [(h, w), (w, 1)] },
        };
        let gray = gray.detach();
        if colormamba_cuda::applies(&gray) { cuda::compute(&gray.contiguous()?, layout) } else { layout.compute(&gray) }
    }
}

/// Where the differences run in `(B, 1, H, W)`.
#[derive(Clone, Copy)]
struct Layout {
    /// Elements that are stretched together.
    group: usize,
    /// How long an axis is, and how many elements lie between neighbours along it.
    axes: [(usize, usize); 2],
}

impl Layout {
    fn compute(self, gray: &Tensor) -> Result<Tensor> {
        let levels = gray.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let levels: Vec<f32> = levels.iter().map(|v| (v * 255.0).floor()).collect();
        let mut edges = vec![0.0; levels.len()];
        if levels.is_empty() {
            return Ok(gray.clone());
        }
        for (n, inner) in self.axes {
            edges.chunks_mut(n * inner).zip(levels.chunks(n * inner)).for_each(|(edges, levels)| {
                add_second_difference(edges, levels, n, inner);
            });
        }
        edges.chunks_mut(self.group).for_each(stretch);
        Tensor::from_vec(edges, gray.shape(), &Device::Cpu)?.to_dtype(gray.dtype())?.to_device(gray.device())
    }
}

/// Adds `x[i−1] − 2 x[i] + x[i+1]` over the first of two axes `(n, inner)`, reflect-101; an axis of length one gives zero.
fn add_second_difference(out: &mut [f32], x: &[f32], n: usize, inner: usize) {
    for i in 0..n {
        let before = if i == 0 { 1.min(n - 1) } else { i - 1 };
        let after = if i + 1 == n { n.saturating_sub(2) } else { i + 1 };
        for j in 0..inner {
            out[i * inner + j] += x[before * inner + j] - 2.0 * x[i * inner + j] + x[after * inner + j];
        }
    }
}

/// Minimum to 0, maximum to 1; all zeros if they are equal.
fn stretch(x: &mut [f32]) {
    let low = x.iter().copied().fold(f32::INFINITY, f32::min);
    let high = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let range = high - low;
    x.iter_mut().for_each(|v| *v = if range > 0.0 { (*v - low) / range } else { 0.0 });
}

mod cuda {
    use super::Layout;
    use crate::kernels::EDGE_MAP;
    use candle_core::{DType, Result, Tensor};
    use colormamba_cuda::{DeviceMemory, Launch, threads_for};

    /// Elements of a thread, and most blocks of a group.
    const ELEMENTS: usize = 4;
    const PARTS: usize = 128;

    pub(super) fn compute(gray: &Tensor, Layout { group, axes }: Layout) -> Result<Tensor> {
        let groups = gray.elem_count() / group.max(1);
        let threads = threads_for(group);
        let parts = group.div_ceil(ELEMENTS * threads as usize).min(PARTS);
        let sizes = [group, axes[0].0, axes[0].1, axes[1].0, axes[1].1];
        let launch = |kernel| Launch::new(&EDGE_MAP, kernel, gray).blocks([parts, groups, 1], threads).input(gray);

        let mut ranges = DeviceMemory::new(gray, DType::F32, groups * parts * 2)?;
        launch("edge_ranges").output(&mut ranges).maybe(None).sizes(sizes).run()?;
        let (ranges, mut y) = (ranges.tensor((groups, parts, 2))?, DeviceMemory::like(gray)?);
        launch("edge_map").input(&ranges).output(&mut y).sizes(sizes).run()?;
        y.tensor(gray.shape())
    }
}
