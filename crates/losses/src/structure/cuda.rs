//! The terms as kernels.

use super::Part;
use super::pyramid::{Formula, Pooling};
use crate::kernels::STRUCTURE;
use candle_core::{DType, Result, Tensor};
use colormamba_cuda::{DeviceMemory, Launch, threads_for};
use colormamba_ops::Node;
use std::sync::Arc;

const THREADS: u32 = 256;
/// Elements for each thread of the kernels that go over elements.
const EACH: usize = 4;
/// A tile of windows, as in `structure.cu`.
const BREADTH: usize = 32;
const HEIGHT: usize = 16;
/// What all GPUs give a block; a part of it is for the sums.
const SHARED: usize = 47 << 10;
/// Elements of which a block looks how far they reach.
const CHUNK: usize = 1 << 14;
/// As many scales as the kernels have room for.
const MOST_SCALES: usize = 5;

/// Whether kernels compare images such as `target` in windows of `size` pixels: those whose tiles fit.
pub(super) fn applies(target: &Tensor, size: usize) -> bool {
    colormamba_cuda::applies(target) && shared(target, 3, size) <= SHARED
}

/// Bytes for a tile with `numbers` numbers a pixel, three rows to work in and the taps.
fn shared(x: &Tensor, numbers: usize, size: usize) -> usize {
    let pitch = BREADTH + size - 1;
    let bytes = if x.dtype() == DType::F64 { 8 } else { 4 };
    bytes * (numbers * pitch * (HEIGHT + size - 1) + 3 * HEIGHT * pitch + size)
}

/// A target at all scales.
pub(super) struct Pyramid {
    taps: Tensor,
    scales: Vec<Scale>,
}

/// A target at one scale, and its statistics in windows.
struct Scale {
    height: usize,
    width: usize,
    image: Tensor,
    mean: Tensor,
    variance: Tensor,
}

/// What the gradient needs of a comparison: the prediction and the slopes at every scale, and the term's derivatives by the
/// means of planes.
struct Pass {
    preds: Vec<Tensor>,
    slopes: Vec<Tensor>,
    by_means: Tensor,
}

impl Pyramid {
    pub(super) fn new(target: &Tensor, taps: &[f64], scales: usize) -> Result<Self> {
        let dtype = if target.dtype() == DType::BF16 { DType::F32 } else { target.dtype() };
        let taps = Tensor::new(taps, target.device())?.to_dtype(dtype)?;
        let images = halved_often(target, scales)?;
        let scales = images.into_iter().map(|image| Scale::new(image, &taps)).collect::<Result<_>>()?;
        Ok(Self { taps, scales })
    }

    pub(super) fn compare(self: &Arc<Self>, pred: &Node, pooling: &impl Pooling) -> Result<Node> {
        let pred = pred.contiguous()?;
        let (value, pass) = self.run(pred.value(), pooling)?;
        let pyramid = self.clone();
        Node::new(value, [&pred], move |grad| Ok([Some(pyramid.gradient(pass, grad)?)]))
    }

    fn run(&self, pred: &Tensor, pooling: &impl Pooling) -> Result<(Tensor, Pass)> {
        let planes = pred.dim(0)? * pred.dim(1)?;
        let formula = pooling.formula();
        let preds = halved_often(pred, self.scales.len())?;
        let tiles: Vec<usize> = self.scales.iter().map(|scale| scale.window_tiles(&self.taps)).collect();
        let mut partial = DeviceMemory::new(pred, DType::F64, planes * tiles.iter().sum::<usize>())?;
        let (mut slopes, mut first) = (Vec::new(), 0);
        for (index, (scale, pred)) in self.scales.iter().zip(&preds).enumerate() {
            let range = matches!(formula, Formula::ProductOfMeans(_)).then(|| guessed_range(pred)).transpose()?;
            let sums = (&mut partial, first);
            slopes.push(scale.compare(pred, &self.taps, range.as_ref(), pooling.part(index), sums)?);
            first += planes * tiles[index];
        }
        let means = self.means(partial.tensor(first)?, pred, &tiles)?;
        let (value, by_means) = combined(&means, pred, formula)?;
        Ok((value, Pass { preds, slopes, by_means }))
    }

    /// The mean dissimilarity of every plane at every scale.
    fn means(&self, partial: Tensor, pred: &Tensor, tiles: &[usize]) -> Result<Tensor> {
        let (planes, scales) = (pred.dim(0)? * pred.dim(1)?, self.scales.len());
        let mut means = DeviceMemory::new(pred, DType::F64, scales * planes)?;
        let most = tiles.iter().copied().max().unwrap_or(1);
        let launch = Launch::new(&STRUCTURE, "plane_means", pred).blocks([planes, scales, 1], threads(most));
        let launch = launch.input(&partial).output(&mut means);
        let at = |all: &[usize], scale: usize| all.get(scale).copied().unwrap_or(0);
        let windows: Vec<usize> = self.scales.iter().map(|scale| scale.mean.elem_count() / planes).collect();
        let launch = (0..MOST_SCALES).fold(launch, |launch, scale| launch.size(at(tiles, scale)));
        (0..MOST_SCALES).fold(launch, |launch, scale| launch.number(at(&windows, scale) as f64)).run()?;
        means.tensor((scales, planes))
    }

    fn gradient(&self, pass: Pass, grad: &Tensor) -> Result<Tensor> {
        let Pass { mut preds, mut slopes, by_means } = pass;
        let mut gradient: Option<Tensor> = None;
        for (index, scale) in self.scales.iter().enumerate().rev() {
            let (Some(pred), Some(slopes)) = (preds.pop(), slopes.pop()) else { break };
            let planes = pred.dim(0)? * pred.dim(1)?;
            let (mut finer, tiles) = (DeviceMemory::like(&pred)?, tiles(scale.height, scale.width));
            let launch = Launch::new(&STRUCTURE, "spread", &pred).blocks([tiles[0], tiles[1], planes], tile_threads());
            let launch = launch.shared(shared(&pred, 3, self.taps.elem_count()));
            let launch = launch.input(&pred).input(&scale.image).input(&self.taps).input(&slopes).input(&by_means);
            let launch = launch.input(grad).maybe(gradient.as_ref()).output(&mut finer);
            launch.sizes([scale.height, scale.width, self.taps.elem_count(), index * planes]).run()?;
            gradient = Some(finer.tensor(pred.shape())?);
        }
        gradient.map_or_else(|| grad.zeros_like(), Ok)
    }
}

impl Scale {
    fn new(image: Tensor, taps: &Tensor) -> Result<Self> {
        let (b, c, height, width) = image.dims4()?;
        let (size, planes) = (taps.elem_count(), b * c);
        let (rows, columns) = (height + 1 - size, width + 1 - size);
        let windows = planes * rows * columns;
        let (mut mean, mut variance) =
            (DeviceMemory::statistics(&image, windows)?, DeviceMemory::statistics(&image, windows)?);
        let [x, y] = tiles(rows, columns);
        let launch = Launch::new(&STRUCTURE, "describe", &image).blocks([x, y, planes], tile_threads());
        let launch = launch.shared(shared(&image, 1, size)).input(&image).input(taps);
        launch.output(&mut mean).output(&mut variance).sizes([height, width, size]).run()?;
        let (mean, variance) = (mean.tensor(windows)?, variance.tensor(windows)?);
        Ok(Self { height, width, image, mean, variance })
    }

    /// The tiles that the windows of a plane lie in.
    fn window_tiles(&self, taps: &Tensor) -> usize {
        let size = taps.elem_count();
        tiles(self.height + 1 - size, self.width + 1 - size).iter().product()
    }

    /// The slopes; the dissimilarities' sums in tiles go to a buffer, from a place on.
    fn compare(
        &self,
        pred: &Tensor,
        taps: &Tensor,
        range: Option<&Tensor>,
        part: Part,
        (sums, first): (&mut DeviceMemory, usize),
    ) -> Result<Tensor> {
        let (size, planes) = (taps.elem_count(), pred.dim(0)? * pred.dim(1)?);
        let count = 3 * self.mean.elem_count();
        let mut slopes = DeviceMemory::statistics(pred, count)?;
        let [x, y] = tiles(self.height + 1 - size, self.width + 1 - size);
        let launch = Launch::new(&STRUCTURE, "compare", pred).blocks([x, y, planes], tile_threads());
        let launch = launch.shared(shared(pred, 2, size)).input(pred).input(&self.image).input(taps);
        let launch = launch.input(&self.mean).input(&self.variance).maybe(range).output(&mut slopes).output(sums);
        launch.sizes([self.height, self.width, size, part as usize, first]).run()?;
        slopes.tensor(count)
    }
}

fn threads(n: usize) -> u32 {
    threads_for(n).min(THREADS)
}

fn tile_threads() -> u32 {
    threads(BREADTH * HEIGHT * 2)
}

/// Tiles along and down.
fn tiles(rows: usize, columns: usize) -> [usize; 2] {
    [columns.div_ceil(BREADTH), rows.div_ceil(HEIGHT)]
}

/// An image and its halves, of which each is the means of the 2x2 blocks of the one before it.
fn halved_often(image: &Tensor, scales: usize) -> Result<Vec<Tensor>> {
    let mut all = vec![image.clone()];
    for finer in 1..scales {
        let image = &all[finer - 1];
        let (b, c, height, width) = image.dims4()?;
        let n = b * c * (height / 2) * (width / 2);
        let mut half = DeviceMemory::new(image, image.dtype(), n)?;
        let launch = Launch::new(&STRUCTURE, "halve", image).over(n.div_ceil(EACH), THREADS);
        launch.input(image).output(&mut half).sizes([n, height, width]).run()?;
        all.push(half.tensor((b, c, height / 2, width / 2))?);
    }
    Ok(all)
}

/// The range that the published code takes the values to have.
fn guessed_range(x: &Tensor) -> Result<Tensor> {
    let n = x.elem_count();
    let blocks = n.div_ceil(CHUNK);
    let (mut parts, mut range) = (DeviceMemory::new(x, DType::U32, 2 * blocks)?, DeviceMemory::new(x, DType::F64, 1)?);
    let launch = Launch::new(&STRUCTURE, "reach", x).blocks([blocks, 1, 1], threads(n.min(CHUNK)));
    launch.input(x).output(&mut parts).sizes([n, CHUNK]).run()?;
    let parts = parts.tensor(2 * blocks)?;
    let launch = Launch::new(&STRUCTURE, "guess", x).blocks([1; 3], threads(blocks));
    launch.input(&parts).output(&mut range).size(blocks).run()?;
    range.tensor(1)
}

/// The term, a scalar, and its derivatives by the means `(scales, planes)`.
fn combined(means: &Tensor, like: &Tensor, formula: Formula) -> Result<(Tensor, Tensor)> {
    let (scales, planes) = means.dims2()?;
    let (kind, weights) = match formula {
        Formula::Mean(weight) => (0, [weight; MOST_SCALES]),
        Formula::ProductOfPlane(exponents) => (1, exponents),
        Formula::ProductOfMeans(exponents) => (2, exponents),
    };
    let (mut value, mut by_means) = (DeviceMemory::new(like, DType::F64, 1)?, DeviceMemory::like(means)?);
    let launch = Launch::new(&STRUCTURE, "combine", like).blocks([1; 3], threads(planes));
    let launch = launch.input(means).output(&mut value).output(&mut by_means).sizes([planes, kind]);
    weights.into_iter().fold(launch, Launch::number).run()?;
    Ok((value.tensor(())?, by_means.tensor((scales, planes))?))
}

/// Planes that get a border.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) planes: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) border: usize,
    /// Of the plane mirrored about its outermost pixels; else of zeros.
    pub(super) mirrored: bool,
}

impl Size {
    fn run(self, kernel: &'static str, x: &Tensor, n: usize) -> Result<Tensor> {
        let mut y = DeviceMemory::new(x, x.dtype(), n)?;
        let launch = Launch::new(&STRUCTURE, kernel, x).over(n.div_ceil(EACH), THREADS).input(x).output(&mut y);
        launch.sizes([n, self.height, self.width, self.border, usize::from(self.mirrored)]).run()?;
        y.tensor(n)
    }
}

/// Planes with a border.
pub(super) fn enlarged(x: &Tensor, size: Size) -> Result<Tensor> {
    size.run("enlarge", x, size.planes * (size.height + 2 * size.border) * (size.width + 2 * size.border))
}

/// The gradient of the planes, given that of [`enlarged`].
pub(super) fn folded(grad: &Tensor, size: Size) -> Result<Tensor> {
    size.run("fold", grad, size.planes * size.height * size.width)
}
