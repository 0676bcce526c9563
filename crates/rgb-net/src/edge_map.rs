//! The edge map that modulates the HSV image in G_A. It has no parameters and no gradient.

use candle_core::{DType, Device, Result, Tensor};
use std::fmt;
use std::str::FromStr;

/// Along which axes the second derivative runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeMap {
    /// Along the batch and along H, minimum and maximum over the batch: what the published code does, which hands a batch
    /// to OpenCV as one image of B rows, H columns and W channels. Published weights were trained so.
    Legacy,
    /// Along H and W, each image by itself.
    Spatial,
}

/// A word that names no edge map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown edge map `{0}`, expected one of: spatial, legacy")]
pub struct UnknownEdgeMap(String);

impl fmt::Display for EdgeMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Legacy => "legacy",
            Self::Spatial => "spatial",
        })
    }
}

impl FromStr for EdgeMap {
    type Err = UnknownEdgeMap;

    fn from_str(word: &str) -> std::result::Result<Self, UnknownEdgeMap> {
        Self::ALL.into_iter().find(|map| map.to_string() == word).ok_or_else(|| UnknownEdgeMap(word.to_string()))
    }
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
        let levels = gray.detach().to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let levels: Vec<f32> = levels.iter().map(|v| (v * 255.0).floor()).collect();
        let mut edges = vec![0.0; levels.len()];
        match self {
            Self::Legacy => {
                add_second_difference(&mut edges, &levels, b, c * h * w);
                (0..b * c).for_each(|i| {
                    let plane = i * h * w..(i + 1) * h * w;
                    add_second_difference(&mut edges[plane.clone()], &levels[plane], h, w);
                });
                stretch(&mut edges);
            }
            Self::Spatial => edges.chunks_mut(h * w).zip(levels.chunks(h * w)).for_each(|(edges, levels)| {
                add_second_difference(edges, levels, h, w);
                edges.chunks_mut(w).zip(levels.chunks(w)).for_each(|(e, l)| add_second_difference(e, l, w, 1));
                stretch(edges);
            }),
        }
        Tensor::from_vec(edges, (b, c, h, w), &Device::Cpu)?.to_dtype(gray.dtype())?.to_device(gray.device())
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
