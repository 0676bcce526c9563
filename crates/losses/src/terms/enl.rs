//! The term `enl`.

use crate::definition::{Definition, Family};
use crate::mean::sign;
use crate::scalar::{number, scalar};
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};
use candle_core::{Result as CandleResult, Tensor};
use colormamba_cpu::{Real, tensor, with_slices};
use colormamba_ops::Node;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

const ABOUT: About = About {
    name: "enl",
    formula: "mean over the windows that count and channels of |C²(p) − C²(t)|, averaged over the batch; C² = σ²/(μ² + 1e-6), σ² \
              and μ the variance and mean in windows side by side from the upper left corner, those that do not fit left out: \
              1/C² is the equivalent number of looks",
    range: "0 to window² − 1, reached where one pixel alone is not black; speckle of L looks has C² = 1/L",
    source: "equivalent number of looks μ²/σ² and coefficient of variation: Oliver & Quegan, Understanding Synthetic Aperture \
             Radar Images, SciTech 2004; as a loss, and its mask, this collection's",
    options: "window = 7: side of the windows in pixels, at least 2; mask = homogeneous: the windows that count, homogeneous: those \
              where the target's C², averaged over channels, is at most the image's median, or all",
};

/// Options of `enl`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnlOptions {
    /// Side of the square windows in pixels, at least 2.
    pub window: usize,
    /// Which windows count.
    pub mask: Mask,
}

/// Which windows count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mask {
    /// All.
    All,
    /// Those where the target's C², averaged over channels, is at most the image's median.
    Homogeneous,
}

impl Default for EnlOptions {
    fn default() -> Self {
        Self { window: 7, mask: Mask::Homogeneous }
    }
}

impl Definition for EnlOptions {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn family(&self) -> Family {
        Family::Speckle
    }

    fn channels(&self) -> Channels {
        Channels::Any
    }

    fn smallest_side(&self) -> usize {
        self.window
    }

    fn check(&self) -> Result<(), String> {
        if self.window < 2 { Err(format!("window is {}, it must be at least 2", self.window)) } else { Ok(()) }
    }

    fn against(&self, target: &View) -> Result<Comparison, LossError> {
        let image = target.image().value().contiguous()?;
        let grid = Grid::of(&image, self.window)?;
        let target = variations(&image, grid)?;
        let images = target.chunks((image.dim(1)? * grid.windows()).max(1));
        let batch = images.len() as f64;
        let weights = images.flat_map(|image| weights(image, grid, self.mask));
        let weights: Vec<f64> = weights.map(|weight| weight / batch).collect();
        Ok(Box::new(move |pred| Ok(variation_distance(pred.image(), &target, &weights, grid)?)))
    }
}

/// Keeps C² finite on black; less than the square of the smallest step of 8 bits.
const DARKEST: f64 = 1e-6;

/// Where windows lie in a plane.
#[derive(Clone, Copy)]
struct Grid {
    side: usize,
    width: usize,
    rows: usize,
    columns: usize,
}

impl Grid {
    fn of(image: &Tensor, side: usize) -> CandleResult<Self> {
        let (_, _, height, width) = image.dims4()?;
        Ok(Self { side, width, rows: height / side, columns: width / side })
    }

    fn windows(self) -> usize {
        self.rows * self.columns
    }

    /// Where the rows of a window start in its plane.
    fn starts(self, window: usize) -> impl Iterator<Item = usize> {
        let (row, column) = (window / self.columns, window % self.columns);
        (0..self.side).map(move |i| (row * self.side + i) * self.width + column * self.side)
    }

    /// Mean and variance of a window.
    fn moments<T: Real>(self, plane: &[T], window: usize) -> (f64, f64) {
        let values = || self.starts(window).flat_map(|start| &plane[start..start + self.side]).map(|x| x.wide());
        let count = (self.side * self.side) as f64;
        let mean = values().sum::<f64>() / count;
        (mean, values().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count)
    }
}

/// C² of all windows of all planes, in order.
fn variations(image: &Tensor, grid: Grid) -> CandleResult<Vec<f64>> {
    let plane = image.dims()[2..].iter().product();
    with_slices!("enl", [image], T => {
        let variation = |plane: &[T], window: usize| {
            let (mean, variance) = grid.moments(plane, window);
            variance / (mean * mean + DARKEST)
        };
        let planes = image.par_chunks(plane);
        Ok(planes.flat_map_iter(|plane| (0..grid.windows()).map(move |window| variation(plane, window))).collect())
    })
}

/// How much each window of each channel of an image counts, 1 in all.
fn weights(target: &[f64], grid: Grid, mask: Mask) -> Vec<f64> {
    let channels = target.len() / grid.windows();
    let means = (0..grid.windows()).map(|window| target.iter().skip(window).step_by(grid.windows()).sum::<f64>());
    let means: Vec<f64> = means.collect();
    let limit = match mask {
        Mask::All => f64::INFINITY,
        Mask::Homogeneous => {
            let mut sorted = means.clone();
            sorted.sort_by(f64::total_cmp);
            sorted[(sorted.len() - 1) / 2]
        }
    };
    let counted = means.iter().filter(|&&mean| mean <= limit).count() * channels;
    let weight = |mean: &f64| if *mean <= limit { 1.0 / counted as f64 } else { 0.0 };
    means.iter().map(weight).collect::<Vec<_>>().repeat(channels)
}

/// The weighted sum of |C² − target|.
fn variation_distance(p: &Node, target: &[f64], weights: &[f64], grid: Grid) -> CandleResult<Node> {
    let p = p.contiguous()?;
    let pv = p.value().clone();
    let differences = variations(&pv, grid)?.into_iter().zip(target).map(|(p, t)| p - t);
    let weighted: Vec<(f64, f64)> = differences.zip(weights.iter().copied()).collect();
    let sum = weighted.iter().map(|(difference, weight)| weight * difference.abs()).sum();
    Node::new(scalar(sum), [&p], move |grad| {
        let grad = number(grad)?;
        let scales: Vec<f64> = weighted.iter().map(|(difference, weight)| grad * weight * sign(*difference)).collect();
        Ok([Some(variation_slopes(&pv, &scales, grid)?)])
    })
}

/// The derivatives of Σ scale · C².
fn variation_slopes(image: &Tensor, scales: &[f64], grid: Grid) -> CandleResult<Tensor> {
    let (shape, size) = (image.shape(), image.dims()[2..].iter().product());
    let count = (grid.side * grid.side) as f64;
    with_slices!("enl", [image], T => {
        let mut out = vec![T::ZERO; image.len()];
        let planes = out.par_chunks_mut(size).zip(image.par_chunks(size)).zip(scales.par_chunks(grid.windows().max(1)));
        planes.for_each(|((out, plane), scales)| {
            for (window, scale) in scales.iter().enumerate().filter(|(_, scale)| **scale != 0.0) {
                let (mean, variance) = grid.moments(plane, window);
                let square = mean * mean + DARKEST;
                let (by_x, by_mean) = (2.0 * scale / (count * square), 2.0 * scale * variance * mean / (count * square * square));
                for start in grid.starts(window) {
                    for (out, x) in out[start..start + grid.side].iter_mut().zip(&plane[start..start + grid.side]) {
                        *out = T::of(by_x * (x.wide() - mean) - by_mean);
                    }
                }
            }
        });
        Ok(tensor(out, shape))
    })
}
