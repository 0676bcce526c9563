//! Instance norm with an activation.

use super::{add_pairs, check_image, pairs, plane_mean_rstd};
use crate::activation::LeakyRelu;
use crate::pointwise::{CHUNK, fill_rows, fill_rows_with, over_pieces, sum_pairs, write_chunks};
use crate::{Activation, Node};
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, tensor, with_slices};
use colormamba_cuda::applies;

/// Each plane of `x` `(B, C, H, W)` brought to mean 0 and variance 1, then `act`; no parameters.
///
/// A constant plane becomes 0 (and its gradient is finite, by `eps`).
///
/// # Errors
/// [`Shape`](crate::OpError::Shape) unless of rank 4, [`DType`](crate::OpError::DType) for [other types](crate#types).
///
/// Source: Ulyanov et al. 2016, arXiv 1607.08022.
pub fn instance_norm(x: impl Into<Node>, eps: f64, act: Activation) -> Result<Node> {
    let x = x.into().contiguous()?;
    let (_, plane) = check_image("instance_norm", &x)?;
    let ramp = act.ramp();
    let (y, stats) = normalised_planes(x.value(), plane, eps, ramp)?;
    // The output is kept by whatever reads it anyway, the input by nothing else; but it has to tell the input.
    let invertible = ramp.slope >= LEAST_INVERTIBLE && ramp.cap == f64::INFINITY;
    let kept = if invertible { y.clone() } else { x.value().clone() };
    Node::new(y, [&x], move |grad| {
        Ok([Some(normalised_planes_gradient(&kept, &stats, grad, plane, ramp, invertible)?)])
    })
}

/// The least slope of a leaky ReLU that is undone by a division: with smaller ones, digits are lost below the normal numbers.
const LEAST_INVERTIBLE: f64 = 1e-3;

/// Each plane normalised and activated; mean and 1/std of each, `(planes, 2)`.
fn normalised_planes(x: &Tensor, plane: usize, eps: f64, ramp: LeakyRelu) -> Result<(Tensor, Tensor)> {
    if applies(x) {
        return cuda::normalised_planes(x, plane, eps, ramp);
    }
    let shape = x.shape();
    with_slices!("instance_norm", [x], T => {
        let ramp = ramp.of::<T>();
        let (out, stats) = fill_rows_with(x.len(), plane, |start, out: &mut [T]| {
            let x = &x[start..start + plane];
            let [mean, rstd] = plane_mean_rstd(x, eps);
            write_chunks(out, CHUNK, #[inline(always)] |at, out| {
                let (mean, rstd, ramp) = (mean, rstd, ramp);
                for (out, &x) in out.iter_mut().zip(&x[at..]) {
                    *out = ramp.at((x - mean) * rstd);
                }
            });
            [mean, rstd]
        });
        Ok((tensor(out, shape), pairs(stats)))
    })
}

/// The gradient of [`normalised_planes`] from its output if that is `invertible`, else from its input; `kept` is the one.
fn normalised_planes_gradient(
    kept: &Tensor,
    stats: &Tensor,
    grad: &Tensor,
    plane: usize,
    ramp: LeakyRelu,
    invertible: bool,
) -> Result<Tensor> {
    if applies(kept) {
        return cuda::normalised_planes_gradient(kept, stats, grad, plane, ramp, invertible);
    }
    let shape = kept.shape();
    with_slices!("instance_norm", [kept, stats, grad], T => {
        let stats = stats.as_chunks::<2>().0;
        let out = fill_rows(kept.len(), plane, |start, out| {
            let range = start..start + plane;
            let [mean, rstd] = stats[start / plane];
            let normalised = if invertible {
                let inverse = LeakyRelu { slope: 1.0 / ramp.slope, ..ramp }.of();
                Normalised { offset: T::ZERO, scale: T::ONE, inverse }
            } else {
                Normalised { offset: mean, scale: rstd, inverse: LeakyRelu::IDENTITY.of() }
            };
            plane_gradient(&kept[range.clone()], &grad[range], normalised, rstd, ramp.of(), out);
        });
        Ok(tensor(out, shape))
    })
}

/// How a normalised value follows from what was kept of it.
#[derive(Clone, Copy)]
struct Normalised<T> {
    offset: T,
    scale: T,
    /// Undoes the activation.
    inverse: LeakyRelu<T>,
}

impl<T: Real> Normalised<T> {
    #[inline(always)]
    fn of(self, kept: T) -> T {
        self.inverse.at((kept - self.offset) * self.scale)
    }
}

fn plane_gradient<T: Real>(kept: &[T], g: &[T], normalised: Normalised<T>, rstd: T, ramp: LeakyRelu<T>, out: &mut [T]) {
    let (sum, dot) = over_pieces(
        kept.len(),
        #[inline(always)]
        |piece| {
            let (normalised, ramp) = (normalised, ramp);
            sum_pairs(
                &kept[piece.clone()],
                &g[piece],
                #[inline(always)]
                |kept, g| {
                    let y = normalised.of(kept);
                    let g = ramp.through(g, y);
                    (g, g * y)
                },
            )
        },
        add_pairs,
    );
    let n = kept.len() as f64;
    let (sum, dot) = (T::of(sum / n), T::of(dot / n));
    write_chunks(
        out,
        CHUNK,
        #[inline(always)]
        |at, out| {
            let (normalised, rstd, ramp, sum, dot) = (normalised, rstd, ramp, sum, dot);
            for ((out, &kept), &g) in out.iter_mut().zip(&kept[at..]).zip(&g[at..]) {
                let y = normalised.of(kept);
                *out = rstd * (ramp.through(g, y) - sum - y * dot);
            }
        },
    );
}

mod cuda {
    use crate::activation::LeakyRelu;
    use crate::kernels::INSTANCE_NORM;
    use candle_core::{Result, Tensor};
    use colormamba_cuda::{DeviceMemory, Launch, threads_for};

    pub(super) fn normalised_planes(x: &Tensor, plane: usize, eps: f64, ramp: LeakyRelu) -> Result<(Tensor, Tensor)> {
        let planes = x.elem_count() / plane.max(1);
        let (mut y, mut stats) = (DeviceMemory::like(x)?, DeviceMemory::statistics(x, 2 * planes)?);
        let launch = Launch::new(&INSTANCE_NORM, "instance_norm", x).blocks([planes, 1, 1], threads_for(plane));
        ramp.pass(launch.input(x).output(&mut y).output(&mut stats).size(plane).number(eps)).run()?;
        Ok((y.tensor(x.shape())?, stats.tensor((planes, 2))?))
    }

    pub(super) fn normalised_planes_gradient(
        kept: &Tensor,
        stats: &Tensor,
        grad: &Tensor,
        plane: usize,
        ramp: LeakyRelu,
        invertible: bool,
    ) -> Result<Tensor> {
        let planes = kept.elem_count() / plane.max(1);
        let mut dx = DeviceMemory::like(kept)?;
        let launch =
            Launch::new(&INSTANCE_NORM, "instance_norm_gradient", kept).blocks([planes, 1, 1], threads_for(plane));
        let launch = launch.input(kept).input(stats).input(grad).output(&mut dx);
        ramp.pass(launch.size(plane).size(usize::from(invertible))).run()?;
        dx.tensor(kept.shape())
    }
}
