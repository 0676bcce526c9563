//! Functions of single pixels, over whole images.

use crate::colour::dual::{Differentiable, Dual};
use crate::mean::CHUNK;
use crate::scalar::{number, scalar};
use candle_core::{DType, Result, Tensor};
use colormamba_cpu::{Real, hold, tensor, vectorize, with_slices};
use colormamba_cuda::applies;
use colormamba_ops::Node;
use rayon::prelude::*;

/// The distances, as `pixelwise.cu` counts them.
#[derive(Clone, Copy)]
pub(crate) enum DistanceKind {
    Cosine,
    Hue,
    Ciede2000,
}

/// The maps, as `pixelwise.cu` counts them.
#[derive(Clone, Copy)]
pub(crate) enum MapKind {
    Hsv,
    Lab,
    UnitLab,
}

/// From linear RGB to XYZ divided by that of the white point.
pub(crate) type Rows = [[f64; 3]; 3];

/// A distance of two pixels.
pub(crate) trait PixelDistance: Copy + Send + Sync + 'static {
    /// How far the pixel p is from t, three channels each.
    fn of<N: Differentiable>(self, p: [N; 3], t: [f64; 3]) -> N;
    /// What `pixelwise.cu` calls it, and the rows by which that comes from RGB to XYZ if it does.
    fn kernel(self) -> (DistanceKind, Option<Rows>);
}

/// A map of pixels.
pub(crate) trait PixelMap: Copy + Send + Sync + 'static {
    /// What becomes of the pixel p.
    fn of<N: Differentiable>(self, p: [N; 3]) -> [N; 3];
    /// What `pixelwise.cu` calls it, and the rows by which that comes from RGB to XYZ if it does.
    fn kernel(self) -> (MapKind, Option<Rows>);
}

/// The mean distance over all pixels of `p` and `t`, both `(B, 3, H, W)`, an f64 scalar; `t` is f64 and takes no gradient.
pub(crate) fn mean_over_pixels(p: &Node, t: &Tensor, distance: impl PixelDistance) -> Result<Node> {
    let p = p.contiguous()?;
    let (pv, t) = (p.value().clone(), t.clone());
    if applies(&pv) {
        let mean = cuda::mean(&pv, &t, distance)?;
        return Node::new(mean, [&p], move |grad| Ok([Some(cuda::gradient(&pv, &t, grad, distance)?)]));
    }
    let pixels = (pv.elem_count() / 3) as f64;
    let sum = sum_pixels(
        &pv,
        &t,
        #[inline(always)]
        |p, t| distance.of(p, t),
    )?;
    Node::new(scalar(sum / pixels), [&p], move |grad| {
        let weight = number(grad)? / pixels;
        let slopes = zip_pixels(
            &pv,
            &t,
            #[inline(always)]
            |p, t| distance.of(Dual::pixel(p), t).slopes.map(|slope| weight * slope),
        )?;
        Ok([Some(slopes)])
    })
}

/// Every pixel of an image `(B, 3, H, W)` through a map.
pub(crate) fn map_pixels(x: &Node, map: impl PixelMap) -> Result<Node> {
    let x = x.contiguous()?;
    let xv = x.value().clone();
    if applies(&xv) {
        let y = cuda::map("pixel_map", &[&xv], map)?;
        return Node::new(y, [&x], move |grad| Ok([Some(cuda::map("pixel_map_gradient", &[&xv, grad], map)?)]));
    }
    let y = zip_pixels(
        &xv,
        &xv.to_dtype(DType::F64)?,
        #[inline(always)]
        |p, _| map.of(p),
    )?;
    Node::new(y, [&x], move |grad| {
        // The Jacobian's transpose times the gradient.
        let grad = zip_pixels(
            &xv,
            &grad.to_dtype(DType::F64)?,
            #[inline(always)]
            |p, grad| {
                let [a, b, c] = map.of(Dual::pixel(p)).map(|channel| channel.slopes);
                [0, 1, 2].map(|by| grad[0] * a[by] + grad[1] * b[by] + grad[2] * c[by])
            },
        )?;
        Ok([Some(grad)])
    })
}

fn sum_pixels(p: &Tensor, t: &Tensor, f: impl Fn([f64; 3], [f64; 3]) -> f64 + Sync) -> Result<f64> {
    let (_, _, h, w) = p.dims4()?;
    let image = 3 * h * w;
    let t = hold("pixelwise", t);
    let t = t.slice::<f64>()?;
    with_slices!("pixelwise", [p], T => {
        let sum_chunk = |(p, t): ([&[T]; 3], [&[f64]; 3])| -> f64 {
            vectorize(
                #[inline(always)]
                || (0..p[0].len()).map(|i| f(p.map(|p| p[i].wide()), t.map(|t| t[i]))).sum(),
            )
        };
        let sums = p.par_chunks(image).zip(t.par_chunks(image));
        let sums: Vec<f64> = sums.flat_map(|(p, t)| chunks(p).zip(chunks(t)).map(sum_chunk)).collect();
        Ok(sums.iter().sum())
    })
}

/// The image that `f` makes of pairs of pixels, of the type of `p`; `t` is f64.
fn zip_pixels(p: &Tensor, t: &Tensor, f: impl Fn([f64; 3], [f64; 3]) -> [f64; 3] + Sync) -> Result<Tensor> {
    let (_, _, h, w) = p.dims4()?;
    let (image, shape) = (3 * h * w, p.shape());
    let t = hold("pixelwise", t);
    let t = t.slice::<f64>()?;
    with_slices!("pixelwise", [p], T => {
        let mut out = vec![T::ZERO; p.len()];
        let images = out.par_chunks_mut(image).zip(p.par_chunks(image)).zip(t.par_chunks(image));
        images.for_each(|((out, p), t)| {
            chunks_mut(out).zip(chunks(p)).zip(chunks(t)).for_each(|(([r, g, b], p), t)| {
                vectorize(
                    #[inline(always)]
                    || {
                        for i in 0..r.len() {
                            [r[i], g[i], b[i]] = f(p.map(|p| p[i].wide()), t.map(|t| t[i])).map(T::of);
                        }
                    },
                );
            });
        });
        Ok(tensor(out, shape))
    })
}

/// The pixels of an image of three planes, [`CHUNK`] at a time.
fn chunks<T: Sync>(image: &[T]) -> impl IndexedParallelIterator<Item = [&[T]; 3]> {
    let (r, rest) = image.split_at(image.len() / 3);
    let (g, b) = rest.split_at(r.len());
    r.par_chunks(CHUNK).zip(g.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK)).map(|((r, g), b)| [r, g, b])
}

/// [`chunks`] to write to.
fn chunks_mut<T: Send>(image: &mut [T]) -> impl IndexedParallelIterator<Item = [&mut [T]; 3]> {
    let (r, rest) = image.split_at_mut(image.len() / 3);
    let (g, b) = rest.split_at_mut(r.len());
    r.par_chunks_mut(CHUNK).zip(g.par_chunks_mut(CHUNK)).zip(b.par_chunks_mut(CHUNK)).map(|((r, g), b)| [r, g, b])
}

mod cuda {
    use super::{PixelDistance, PixelMap, Rows};
    use crate::kernels::PIXELWISE;
    use crate::mean::cuda::add_up;
    use candle_core::{DType, Result, Tensor};
    use colormamba_cuda::{DeviceMemory, Launch, threads_for};

    const THREADS: u32 = 256;
    /// Pixels whose distances a block adds up.
    const CHUNK: usize = 1 << 10;

    /// The kernel's last arguments.
    fn with_rows<'a>(launch: Launch<'a>, rows: Option<Rows>) -> Launch<'a> {
        rows.unwrap_or_default().into_iter().flatten().fold(launch, Launch::number)
    }

    /// The mean over all pixels.
    pub(super) fn mean(p: &Tensor, t: &Tensor, distance: impl PixelDistance) -> Result<Tensor> {
        let (b, _, h, w) = p.dims4()?;
        let (chunks, (kind, rows)) = ((h * w).div_ceil(CHUNK), distance.kernel());
        let mut partial = DeviceMemory::new(p, DType::F64, b * chunks)?;
        let threads = threads_for((h * w).min(CHUNK)).min(THREADS);
        let launch = Launch::new(&PIXELWISE, "pixel_sums", p).blocks([chunks, b, 1], threads);
        let launch = launch.input(p).input(t).output(&mut partial).sizes([h * w, CHUNK, kind as usize]);
        with_rows(launch, rows).run()?;
        add_up(partial, p, (1, b * chunks), b * h * w)?.reshape(())
    }

    pub(super) fn gradient(p: &Tensor, t: &Tensor, grad: &Tensor, distance: impl PixelDistance) -> Result<Tensor> {
        let (b, _, h, w) = p.dims4()?;
        let (mut dp, (kind, rows)) = (DeviceMemory::like(p)?, distance.kernel());
        let launch = Launch::new(&PIXELWISE, "pixel_gradient", p).over(b * h * w, THREADS);
        let launch = launch.input(p).input(t).input(grad).output(&mut dp).sizes([b * h * w, h * w, kind as usize]);
        with_rows(launch, rows).run()?;
        dp.tensor(p.shape())
    }

    /// A map of the first image, or its gradient given that of its result.
    pub(super) fn map(kernel: &'static str, images: &[&Tensor], map: impl PixelMap) -> Result<Tensor> {
        let (first, (kind, rows)) = (images[0], map.kernel());
        let (b, _, h, w) = first.dims4()?;
        let mut y = DeviceMemory::like(first)?;
        let launch = Launch::new(&PIXELWISE, kernel, first).over(b * h * w, THREADS);
        let launch = images.iter().fold(launch, |launch, image| launch.input(image)).output(&mut y);
        with_rows(launch.sizes([b * h * w, h * w, kind as usize]), rows).run()?;
        y.tensor(first.shape())
    }
}
