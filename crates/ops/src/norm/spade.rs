//! SPADE's norm: scale and shift for each element, and an activation.

use super::{add_pairs, check_image, pairs, plane_mean_rstd};
use crate::activation::LeakyRelu;
use crate::memory::buffer;
use crate::operands::check_types;
use crate::pointwise::{CHUNK, fill_rows_with, sum, write_chunks};
use crate::{Activation, Node, OpError};
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, tensor, vectorize, with_slices};
use colormamba_cuda::applies;
use rayon::prelude::*;

/// `act`(n · (1 + γ) + β), where n is `x` `(B, C, H, W)` with each plane brought to mean 0 and variance 1, and
/// `scale_shift` `(B, 2C, H, W)` holds γ in its first C channels and β in the others.
///
/// # Errors
/// [`OpError::Shape`] if the shapes do not fit, [`OpError::DType`] for [other types](crate#types).
///
/// Source: Park et al. 2019, arXiv 1903.07291, equation 1.
pub fn spade_norm(x: impl Into<Node>, scale_shift: impl Into<Node>, eps: f64, act: Activation) -> Result<Node> {
    let (x, scale_shift) = (x.into().contiguous()?, scale_shift.into().contiguous()?);
    let (c, plane) = check_image("spade_norm", &x)?;
    let (b, h, w) = (x.dims()[0], x.dims()[2], x.dims()[3]);
    if scale_shift.dims() != [b, 2 * c, h, w] {
        let expected = format!("({b}, 2 · {c}, {h}, {w}), a scale and a shift for each element");
        return Err(OpError::shape("spade_norm", expected, scale_shift.shape()));
    }
    check_types("spade_norm", &[&x, &scale_shift])?;
    let spade = Spade { c, plane, ramp: act.ramp() };
    let (xv, sv) = (x.value().clone(), scale_shift.value().clone());
    let (y, stats) = spade.forward(&xv, &sv, eps)?;
    let for_x = x.is_tracked();
    Node::new(y, [&x, &scale_shift], move |grad| spade.gradients(&xv, &sv, &stats, grad, for_x))
}

/// Room for one plane's gradients: of x, if wanted, of the scale and of the shift.
type PlaneGradients<'a, T> = (Option<&'a mut [T]>, &'a mut [T], &'a mut [T]);

/// [`spade_norm`] of contiguous tensors.
#[derive(Clone, Copy)]
struct Spade {
    c: usize,
    plane: usize,
    ramp: LeakyRelu,
}

impl Spade {
    /// The value; mean and 1/std of each plane, `(planes, 2)`.
    fn forward(self, x: &Tensor, scale_shift: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
        if applies(x) {
            return cuda::forward(self, x, scale_shift, eps);
        }
        let shape = x.shape();
        with_slices!("spade_norm", [x, scale_shift], T => {
            let ramp = self.ramp.of::<T>();
            let (out, stats) = fill_rows_with(x.len(), self.plane, |start, out: &mut [T]| {
                let x = &x[start..start + self.plane];
                let (gamma, beta) = self.modulation(scale_shift, start / self.plane);
                let [mean, rstd] = plane_mean_rstd(x, eps);
                write_chunks(out, CHUNK, #[inline(always)] |at, out| {
                    let (mean, rstd, ramp) = (mean, rstd, ramp);
                    for (((out, &x), &gamma), &beta) in out.iter_mut().zip(&x[at..]).zip(&gamma[at..]).zip(&beta[at..]) {
                        *out = ramp.at(modulated((x - mean) * rstd, gamma, beta));
                    }
                });
                [mean, rstd]
            });
            Ok((tensor(out, shape), pairs(stats)))
        })
    }

    /// γ and β of a plane of x.
    fn modulation<T>(self, scale_shift: &[T], index: usize) -> (&[T], &[T]) {
        let (batch, channel) = (index / self.c, index % self.c);
        let gamma = (2 * batch * self.c + channel) * self.plane;
        let beta = gamma + self.c * self.plane;
        (&scale_shift[gamma..gamma + self.plane], &scale_shift[beta..beta + self.plane])
    }

    /// The gradients of x, if wanted, and of the scale and shift.
    fn gradients(
        self,
        x: &Tensor,
        scale_shift: &Tensor,
        stats: &Tensor,
        grad: &Tensor,
        for_x: bool,
    ) -> Result<[Option<Tensor>; 2]> {
        if applies(x) {
            return cuda::gradients(self, x, scale_shift, stats, grad, for_x);
        }
        let (x_shape, s_shape) = (x.shape(), scale_shift.shape());
        with_slices!("spade_norm", [x, scale_shift, stats, grad], T => {
            let stats = stats.as_chunks::<2>().0;
            let mut dx = buffer(if for_x { x.len() } else { 0 });
            let mut ds = buffer(scale_shift.len());
            self.planes(&mut dx, &mut ds).into_par_iter().enumerate().for_each(|(i, (dx, dgamma, dbeta))| {
                let range = i * self.plane..(i + 1) * self.plane;
                let ((gamma, beta), [mean, rstd]) = (self.modulation(scale_shift, i), stats[i]);
                let plane = SpadePlane { x: &x[range.clone()], gamma, beta, mean, rstd };
                let sums = plane.modulation_gradients(&grad[range], self.ramp.of(), dgamma, dbeta);
                if let Some(dx) = dx {
                    plane.gradient(dbeta, sums, dx);
                }
            });
            Ok([for_x.then(|| tensor(dx, x_shape)), Some(tensor(ds, s_shape))])
        })
    }

    /// For each plane of x: its part of `dx`, if that is not empty, and those of the scale and of the shift in `ds`.
    fn planes<'a, T>(self, dx: &'a mut [T], ds: &'a mut [T]) -> Vec<PlaneGradients<'a, T>> {
        let size = self.c * self.plane;
        if size == 0 {
            return Vec::new();
        }
        let mut dx = dx.chunks_exact_mut(self.plane);
        let mut planes = Vec::with_capacity(ds.len() / size / 2 * self.c);
        for image in ds.chunks_exact_mut(2 * size) {
            let (gamma, beta) = image.split_at_mut(size);
            for (gamma, beta) in gamma.chunks_exact_mut(self.plane).zip(beta.chunks_exact_mut(self.plane)) {
                planes.push((dx.next(), gamma, beta));
            }
        }
        planes
    }
}

/// `y` · (1 + `gamma`) + `beta`
#[inline(always)]
fn modulated<T: Real>(y: T, gamma: T, beta: T) -> T {
    y.mul_add(T::ONE + gamma, beta)
}

/// One plane, for its gradients.
struct SpadePlane<'a, T> {
    x: &'a [T],
    gamma: &'a [T],
    beta: &'a [T],
    mean: T,
    rstd: T,
}

impl<T: Real> SpadePlane<'_, T> {
    /// Writes the gradients of γ and β. Returns the sums of the gradient by the normalised x, and of its products with that.
    fn modulation_gradients(&self, g: &[T], ramp: LeakyRelu<T>, dgamma: &mut [T], dbeta: &mut [T]) -> (f64, f64) {
        let pieces = dgamma.par_chunks_mut(CHUNK).zip(dbeta.par_chunks_mut(CHUNK)).enumerate();
        let sums: Vec<(f64, f64)> = pieces
            .map(|(i, (dgamma, dbeta))| {
                vectorize(
                    #[inline(always)]
                    || self.modulation_gradients_from(i * CHUNK, &g[i * CHUNK..], ramp, dgamma, dbeta),
                )
            })
            .collect();
        sums.into_iter().fold((0.0, 0.0), add_pairs)
    }

    #[inline(always)]
    fn modulation_gradients_from(
        &self,
        start: usize,
        g: &[T],
        ramp: LeakyRelu<T>,
        dgamma: &mut [T],
        dbeta: &mut [T],
    ) -> (f64, f64) {
        // What is summed is still in the nearest cache.
        const BLOCK: usize = 1024;
        let (mean, rstd, mut sums) = (self.mean, self.rstd, (0.0, 0.0));
        let blocks = dgamma.chunks_mut(BLOCK).zip(dbeta.chunks_mut(BLOCK)).zip(g.chunks(BLOCK));
        for (i, ((dgamma, dbeta), g)) in blocks.enumerate() {
            let range = start + i * BLOCK..start + i * BLOCK + dgamma.len();
            let (x, gamma, beta) = (&self.x[range.clone()], &self.gamma[range.clone()], &self.beta[range]);
            for ((((dgamma, dbeta), &g), &x), (&gamma, &beta)) in
                dgamma.iter_mut().zip(dbeta.iter_mut()).zip(g).zip(x).zip(gamma.iter().zip(beta))
            {
                let y = (x - mean) * rstd;
                *dbeta = ramp.through(g, modulated(y, gamma, beta));
                *dgamma = *dbeta * y;
            }
            sums = add_pairs(sums, (scaled_sum(dbeta, gamma), scaled_sum(dgamma, gamma)));
        }
        sums
    }

    /// Writes the gradient of x, given that of β and what [`SpadePlane::modulation_gradients`] returned.
    fn gradient(&self, dbeta: &[T], sums: (f64, f64), dx: &mut [T]) {
        let n = dx.len() as f64;
        let (sum, dot) = (T::of(sums.0 / n), T::of(sums.1 / n));
        write_chunks(
            dx,
            CHUNK,
            #[inline(always)]
            |at, dx| {
                let (mean, rstd, sum, dot) = (self.mean, self.rstd, sum, dot);
                let inputs = self.x[at..].iter().zip(&self.gamma[at..]).zip(&dbeta[at..]);
                for (dx, ((&x, &gamma), &dbeta)) in dx.iter_mut().zip(inputs) {
                    let y = (x - mean) * rstd;
                    *dx = rstd * (dbeta * (T::ONE + gamma) - sum - y * dot);
                }
            },
        );
    }
}

/// Σ `g` · (1 + `gamma`)
#[inline(always)]
fn scaled_sum<T: Real>(g: &[T], gamma: &[T]) -> f64 {
    sum(
        g,
        gamma,
        #[inline(always)]
        |g, gamma| g * (T::ONE + gamma),
    )
}

mod cuda {
    use super::Spade;
    use crate::kernels::PLANES;
    use candle_core::{Result, Tensor};
    use colormamba_cuda::{DeviceMemory, Launch, threads_for};

    fn over_planes<'a>(spade: Spade, kernel: &'static str, x: &Tensor) -> (Launch<'a>, usize) {
        let planes = x.elem_count() / spade.plane.max(1);
        (Launch::new(&PLANES, kernel, x).blocks([planes, 1, 1], threads_for(spade.plane)), planes)
    }

    pub(super) fn forward(spade: Spade, x: &Tensor, scale_shift: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
        let (launch, planes) = over_planes(spade, "spade", x);
        let (mut y, mut stats) = (DeviceMemory::like(x)?, DeviceMemory::statistics(x, 2 * planes)?);
        let launch = launch.input(x).input(scale_shift).output(&mut y).output(&mut stats);
        spade.ramp.pass(launch.sizes([spade.c, spade.plane]).number(eps)).run()?;
        Ok((y.tensor(x.shape())?, stats.tensor((planes, 2))?))
    }

    pub(super) fn gradients(
        spade: Spade,
        x: &Tensor,
        scale_shift: &Tensor,
        stats: &Tensor,
        grad: &Tensor,
        for_x: bool,
    ) -> Result<[Option<Tensor>; 2]> {
        let mut dx = for_x.then(|| DeviceMemory::like(x)).transpose()?;
        let mut ds = DeviceMemory::like(scale_shift)?;
        let launch = over_planes(spade, "spade_gradient", x).0.input(x).input(scale_shift).input(stats).input(grad);
        let launch = launch.maybe_output(dx.as_mut()).output(&mut ds);
        spade.ramp.pass(launch.sizes([spade.c, spade.plane])).run()?;
        Ok([dx.map(|dx| dx.tensor(x.shape())).transpose()?, Some(ds.tensor(scale_shift.shape())?)])
    }
}
