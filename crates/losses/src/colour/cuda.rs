//! Histograms and their distances as kernels.

use crate::colour::bins::{Bins, NEAR};
use crate::colour::divergence::HistogramDistance;
use crate::kernels::HISTOGRAM;
use crate::mean::cuda::add_up;
use candle_core::{DType, Result, Tensor};
use colormamba_cuda::{DeviceMemory, Launch, applies, threads_for};
use colormamba_ops::Node;

const THREADS: u32 = 256;
/// Elements for each thread of the kernels that go over elements.
const EACH: usize = 4;
/// Pixels that a block counts.
const CHUNK: usize = 1 << 13;
/// Bins for which a block has room.
const MOST_BINS: usize = 1 << 11;

/// The bins of three channels where kernels read them. Further channels have those of the first three again.
#[derive(Clone)]
pub(crate) struct HistogramKernels {
    centres: Tensor,
    bins: usize,
    /// A bit for each channel whose bins lie on a circle.
    circles: usize,
}

impl HistogramKernels {
    /// None if kernels do not count pixels of images such as `image` in so many bins.
    pub(crate) fn new(image: &Tensor, bins: &[Bins; 3]) -> Result<Option<Self>> {
        let count = bins[0].len();
        if !applies(image) || count > MOST_BINS {
            return Ok(None);
        }
        let centres: Vec<f64> = bins.iter().flat_map(Bins::for_kernels).collect();
        let circles = bins.iter().enumerate().map(|(channel, bins)| usize::from(bins.circular) << channel).sum();
        Ok(Some(Self { centres: Tensor::new(centres, image.device())?, bins: count, circles }))
    }

    /// The histograms of all channels of `x` `(B, C, H, W)` as shares of the pixels: f64 `(B, C, bins)`.
    pub(crate) fn histograms(&self, x: &Node) -> Result<Node> {
        let x = x.contiguous()?;
        let (kernels, xv) = (self.clone(), x.value().clone());
        Node::new(self.count(&xv)?, [&x], move |grad| Ok([Some(kernels.gradient(&xv, grad)?)]))
    }

    fn count(&self, x: &Tensor) -> Result<Tensor> {
        let (b, c, h, w) = x.dims4()?;
        let (planes, plane, slots) = (b * c, h * w, self.bins + NEAR - 1);
        let chunks = plane.div_ceil(CHUNK);
        let mut partial = DeviceMemory::new(x, DType::F64, planes * chunks * slots)?;
        let launch = Launch::new(&HISTOGRAM, "count", x).blocks([chunks, planes, 1], threads(plane.min(CHUNK)));
        let launch = launch.shared(16 * slots).input(x).input(&self.centres).output(&mut partial);
        launch.sizes([plane, CHUNK, self.bins, self.circles]).run()?;
        let (n, partial) = (planes * self.bins, partial.tensor(planes * chunks * slots)?);
        let mut shares = DeviceMemory::new(x, DType::F64, n)?;
        let launch = Launch::new(&HISTOGRAM, "join", x).over(n, THREADS).input(&partial).output(&mut shares);
        launch.sizes([n, chunks, plane, self.bins, self.circles]).run()?;
        shares.tensor((b, c, self.bins))
    }

    fn gradient(&self, x: &Tensor, by_shares: &Tensor) -> Result<Tensor> {
        let (_, _, h, w) = x.dims4()?;
        let (n, mut dx) = (x.elem_count(), DeviceMemory::like(x)?);
        let launch = Launch::new(&HISTOGRAM, "count_gradient", x).over(n.div_ceil(EACH), THREADS);
        let launch = launch.input(x).input(&self.centres).input(by_shares).output(&mut dx);
        launch.sizes([n, h * w, self.bins, self.circles]).run()?;
        dx.tensor(x.shape())
    }

    /// The mean distance of the histograms `p` `(B, C, bins)` from `t`, which takes no gradient.
    pub(crate) fn mean_distance(&self, p: &Node, t: &Tensor, distance: HistogramDistance) -> Result<Node> {
        let pv = p.value();
        let count = pv.elem_count() / self.bins;
        let (mut values, mut slopes) = (DeviceMemory::new(pv, DType::F64, count)?, DeviceMemory::like(pv)?);
        let threads = threads(self.bins);
        let launch = Launch::new(&HISTOGRAM, "divergence", pv).blocks([count, 1, 1], threads);
        let launch = launch.shared(8 * (2 * self.bins + threads as usize)).input(pv).input(t);
        let launch = launch.output(&mut values).output(&mut slopes);
        launch.sizes([self.bins, self.circles, distance as usize]).run()?;
        let (mean, slopes) = (add_up(values, pv, (1, count), count)?.reshape(())?, slopes.tensor(pv.shape())?);
        Node::new(mean, [p], move |grad| Ok([Some(slopes.broadcast_mul(&grad.affine(1.0 / count as f64, 0.0)?)?)]))
    }
}

fn threads(n: usize) -> u32 {
    threads_for(n).min(THREADS)
}
