//! Normalisations. The variance is the biased one, eps goes under the root.

use crate::cpu::{Real, buffer, tensor, vectorize};
use crate::pointwise::{
    CHUNK, add_up, fill_rows, fill_rows_with, over_pieces, rows_per_chunk, staggered, sum, sum_pairs, write_chunks,
};
use crate::{Activation, Node, OpError, with_slices};
use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;
use std::ops::Range;

/// Each plane of `x` `(B, C, H, W)` brought to mean 0 and variance 1, then `act`; no parameters.
///
/// A constant plane becomes 0 (and its gradient is finite, by `eps`).
///
/// # Errors
/// [`OpError::Shape`] unless of rank 4, [`OpError::DType`] unless f32 or f64.
///
/// Source: Ulyanov et al. 2016, arXiv 1607.08022.
pub fn instance_norm(x: impl Into<Node>, eps: f64, act: Activation) -> Result<Node> {
    let x = x.into().contiguous()?;
    let (_, plane) = check_image("instance_norm", &x)?;
    let slope = act.slope();
    let (y, stats) = normalised_planes(x.value(), plane, eps, slope)?;
    // The output is kept by whatever reads it anyway, the input by nothing else; but it has to tell the input.
    let invertible = slope >= LEAST_INVERTIBLE;
    let kept = if invertible { y.clone() } else { x.value().clone() };
    Ok(Node::new(y, [&x], move |grad| {
        Ok([Some(normalised_planes_gradient(&kept, &stats, grad, plane, slope, invertible)?)])
    }))
}

/// The least slope of a leaky ReLU that is undone by a division: with smaller ones, digits are lost below the normal numbers.
const LEAST_INVERTIBLE: f64 = 1e-3;

/// `act`(n · (1 + γ) + β), where n is `x` `(B, C, H, W)` with each plane brought to mean 0 and variance 1, and
/// `scale_shift` `(B, 2C, H, W)` holds γ in its first C channels and β in the others.
///
/// # Errors
/// [`OpError::Shape`] if the shapes do not fit, [`OpError::DType`] unless f32 or f64.
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
    let spade = Spade { c, plane, slope: act.slope() };
    let (xv, sv) = (x.value().clone(), scale_shift.value().clone());
    let (y, stats) = spade.forward(&xv, &sv, eps)?;
    let for_x = x.is_tracked();
    Ok(Node::new(y, [&x, &scale_shift], move |grad| spade.gradients(&xv, &sv, &stats, grad, for_x)))
}

/// Each row of `x` `(.., C)` brought to mean 0 and variance 1, times `w` `(C)`, plus `b` `(C)`.
///
/// # Errors
/// [`OpError::Shape`] if the shapes do not fit, [`OpError::DType`] unless f32 or f64.
///
/// Source: Ba et al. 2016, arXiv 1607.06450.
pub fn layer_norm(x: impl Into<Node>, w: &Tensor, b: &Tensor, eps: f64) -> Result<Node> {
    let x = x.into().contiguous()?;
    let Some(&c) = x.dims().last() else {
        return Err(OpError::shape("layer_norm", "(.., C)", x.shape()));
    };
    check_channels("layer_norm", c, &[w, b])?;
    let (w, b) = (Node::from(w).contiguous()?, Node::from(b).contiguous()?);
    let (xv, wv) = (x.value().clone(), w.value().clone());
    let (y, stats) = layer_forward(&xv, &wv, b.value(), eps)?;
    let (for_x, for_w, for_b) = (x.is_tracked(), w.is_tracked(), b.is_tracked());
    Ok(Node::new(y, [&x, &w, &b], move |grad| {
        let [dx, dw, db] = layer_gradients(&xv, &wv, &stats, grad, for_w || for_b)?;
        Ok([for_x.then_some(dx), for_w.then_some(dw), for_b.then_some(db)])
    }))
}

/// What a batch looked like, per channel; detached from the graph.
#[derive(Clone, Debug)]
pub struct BatchStats {
    /// Mean over batch and pixels, `(C)`.
    pub mean: Tensor,
    /// Biased variance over batch and pixels, `(C)`.
    pub var: Tensor,
}

/// Each channel of `x` `(B, C, H, W)` brought to mean 0 and variance 1 over batch and pixels, times `w` `(C)`, plus `b` `(C)`.
///
/// The gradient goes through the statistics; those returned, for a running average, are detached.
///
/// # Errors
/// [`OpError::Shape`] if the shapes do not fit, [`OpError::DType`] unless f32 or f64.
///
/// Source: Ioffe & Szegedy 2015, arXiv 1502.03167.
pub fn batch_norm_train(x: impl Into<Node>, w: &Tensor, b: &Tensor, eps: f64) -> Result<(Node, BatchStats)> {
    let x = x.into().contiguous()?;
    let (c, plane) = check_image("batch_norm_train", &x)?;
    check_channels("batch_norm_train", c, &[w, b])?;
    let moments = channel_moments(x.value(), c, plane)?;
    let (mean, var): (Vec<f64>, Vec<f64>) = moments.iter().map(|m| (m.mean, m.variance())).unzip();
    let stats = BatchStats { mean: vector(&mean, x.dtype())?, var: vector(&var, x.dtype())? };
    let y = BatchNorm::new(mean, var, eps, plane, true).apply(&x, w, b)?;
    Ok((y, stats))
}

/// ([`batch_norm_train`]'s formula with given statistics) `x` `(B, C, H, W)`; `mean`, `var`, `w`, `b` `(C)`.
///
/// `mean` and `var` count as constants: no gradient reaches them.
///
/// # Errors
/// [`OpError::Shape`] if the shapes do not fit, [`OpError::DType`] unless f32 or f64.
pub fn batch_norm_eval(
    x: impl Into<Node>,
    mean: &Tensor,
    var: &Tensor,
    w: &Tensor,
    b: &Tensor,
    eps: f64,
) -> Result<Node> {
    let x = x.into().contiguous()?;
    let (c, plane) = check_image("batch_norm_eval", &x)?;
    check_channels("batch_norm_eval", c, &[mean, var, w, b])?;
    let wide = |x: &Tensor| x.to_dtype(DType::F64)?.to_vec1::<f64>();
    BatchNorm::new(wide(mean)?, wide(var)?, eps, plane, false).apply(&x, w, b)
}

/// Channels, and elements of a plane.
fn check_image(op: &'static str, x: &Node) -> Result<(usize, usize)> {
    match x.dims() {
        [_, c, h, w] => Ok((*c, h * w)),
        _ => Err(OpError::shape(op, "(B, C, H, W)", x.shape())),
    }
}

fn check_channels(op: &'static str, c: usize, vectors: &[&Tensor]) -> Result<()> {
    match vectors.iter().find(|v| v.dims() != [c]) {
        Some(v) => Err(OpError::shape(op, format!("({c}), one value a channel"), v.shape())),
        None => Ok(()),
    }
}

fn vector(values: &[f64], dtype: DType) -> Result<Tensor> {
    Tensor::new(values, &candle_core::Device::Cpu)?.to_dtype(dtype)
}

/// Of some values: their number, their mean, and the sum of the squares of their distances from it.
#[derive(Clone, Copy, Default)]
struct Moments {
    n: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// In two passes, so that a large mean cancels no digits.
    #[inline(always)]
    fn of<T: Real>(x: &[T]) -> Self {
        let mean = mean(x);
        Self { n: x.len() as f64, mean, squares: squares(x, T::of(mean)) }
    }

    /// Those of both together. Source: Chan et al. 1983, The American Statistician 37(3), equation 2.1.
    fn join(self, other: Self) -> Self {
        let n = self.n + other.n;
        let (apart, share) = (other.mean - self.mean, other.n / n);
        Self {
            n,
            mean: self.mean + apart * share,
            squares: self.squares + other.squares + apart * apart * self.n * share,
        }
    }

    #[inline(always)]
    fn variance(self) -> f64 {
        self.squares / self.n
    }
}

/// The differences from the first are summed: these are exact where values are close to each other.
#[inline(always)]
fn mean<T: Real>(x: &[T]) -> f64 {
    let first = x[0];
    let sum = sum(
        x,
        x,
        #[inline(always)]
        |x, _| x - first,
    );
    first.wide() + sum * (1.0 / x.len() as f64)
}

/// Σ (x − mean)²
#[inline(always)]
fn squares<T: Real>(x: &[T], mean: T) -> f64 {
    sum(
        x,
        x,
        #[inline(always)]
        |x, _| (x - mean) * (x - mean),
    )
}

/// 1/√(variance + eps)
#[inline(always)]
fn rstd<T: Real>(variance: f64, eps: f64) -> T {
    T::of(1.0 / (variance + eps).sqrt())
}

/// Mean and 1/√(variance + eps) of a plane.
fn plane_mean_rstd<T: Real>(x: &[T], eps: f64) -> [T; 2] {
    let moments = over_pieces(
        x.len(),
        #[inline(always)]
        |piece| Moments::of(&x[piece]),
        Moments::join,
    );
    [T::of(moments.mean), rstd(moments.variance(), eps)]
}

/// Pairs of sums, added.
fn add_pairs(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    (a.0 + b.0, a.1 + b.1)
}

/// `y` where positive, else `slope` · `y`.
#[inline(always)]
fn activated<T: Real>(y: T, slope: T) -> T {
    if y > T::ZERO { y } else { slope * y }
}

/// The gradient at the activation's input `y` from that at its output.
#[inline(always)]
fn through<T: Real>(g: T, y: T, slope: T) -> T {
    if y > T::ZERO { g } else { slope * g }
}

/// Each plane normalised and activated; mean and 1/std of each, `(planes, 2)`.
fn normalised_planes(x: &Tensor, plane: usize, eps: f64, slope: f64) -> Result<(Tensor, Tensor)> {
    let shape = x.shape();
    with_slices!("instance_norm", [x], T => {
        let slope = T::of(slope);
        let (out, stats) = fill_rows_with(x.len(), plane, |start, out: &mut [T]| {
            let x = &x[start..start + plane];
            let [mean, rstd] = plane_mean_rstd(x, eps);
            write_chunks(out, CHUNK, #[inline(always)] |at, out| {
                let (mean, rstd, slope) = (mean, rstd, slope);
                for (out, &x) in out.iter_mut().zip(&x[at..]) {
                    *out = activated((x - mean) * rstd, slope);
                }
            });
            [mean, rstd]
        });
        Ok((tensor(out, shape), pairs(stats)))
    })
}

/// A tensor `(n, 2)`.
fn pairs<T: Real>(pairs: Vec<[T; 2]>) -> Tensor {
    let n = pairs.len();
    tensor(pairs.into_flattened(), (n, 2))
}

/// The gradient of [`normalised_planes`] from its output if that is `invertible`, else from its input; `kept` is the one.
fn normalised_planes_gradient(
    kept: &Tensor,
    stats: &Tensor,
    grad: &Tensor,
    plane: usize,
    slope: f64,
    invertible: bool,
) -> Result<Tensor> {
    let shape = kept.shape();
    with_slices!("instance_norm", [kept, stats, grad], T => {
        let stats = stats.as_chunks::<2>().0;
        let out = fill_rows(kept.len(), plane, |start, out| {
            let range = start..start + plane;
            let [mean, rstd] = stats[start / plane];
            let normalised = if invertible {
                Normalised { offset: T::ZERO, scale: T::ONE, inverse: T::of(1.0 / slope) }
            } else {
                Normalised { offset: mean, scale: rstd, inverse: T::ONE }
            };
            plane_gradient(&kept[range.clone()], &grad[range], normalised, rstd, T::of(slope), out);
        });
        Ok(tensor(out, shape))
    })
}

/// How a normalised value follows from what was kept of it.
#[derive(Clone, Copy)]
struct Normalised<T> {
    offset: T,
    scale: T,
    /// Undoes the activation's slope.
    inverse: T,
}

impl<T: Real> Normalised<T> {
    #[inline(always)]
    fn of(self, kept: T) -> T {
        activated((kept - self.offset) * self.scale, self.inverse)
    }
}

fn plane_gradient<T: Real>(kept: &[T], g: &[T], normalised: Normalised<T>, rstd: T, slope: T, out: &mut [T]) {
    let (sum, dot) = over_pieces(
        kept.len(),
        #[inline(always)]
        |piece| {
            let (normalised, slope) = (normalised, slope);
            sum_pairs(
                &kept[piece.clone()],
                &g[piece],
                #[inline(always)]
                |kept, g| {
                    let y = normalised.of(kept);
                    let g = through(g, y, slope);
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
            let (normalised, rstd, slope, sum, dot) = (normalised, rstd, slope, sum, dot);
            for ((out, &kept), &g) in out.iter_mut().zip(&kept[at..]).zip(&g[at..]) {
                let y = normalised.of(kept);
                *out = rstd * (through(g, y, slope) - sum - y * dot);
            }
        },
    );
}

/// Room for one plane's gradients: of x, if wanted, of the scale and of the shift.
type PlaneGradients<'a, T> = (Option<&'a mut [T]>, &'a mut [T], &'a mut [T]);

/// [`spade_norm`] of contiguous tensors.
#[derive(Clone, Copy)]
struct Spade {
    c: usize,
    plane: usize,
    slope: f64,
}

impl Spade {
    /// The value; mean and 1/std of each plane, `(planes, 2)`.
    fn forward(self, x: &Tensor, scale_shift: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
        let shape = x.shape();
        with_slices!("spade_norm", [x, scale_shift], T => {
            let slope = T::of(self.slope);
            let (out, stats) = fill_rows_with(x.len(), self.plane, |start, out: &mut [T]| {
                let x = &x[start..start + self.plane];
                let (gamma, beta) = self.modulation(scale_shift, start / self.plane);
                let [mean, rstd] = plane_mean_rstd(x, eps);
                write_chunks(out, CHUNK, #[inline(always)] |at, out| {
                    let (mean, rstd, slope) = (mean, rstd, slope);
                    for (((out, &x), &gamma), &beta) in out.iter_mut().zip(&x[at..]).zip(&gamma[at..]).zip(&beta[at..]) {
                        *out = activated(modulated((x - mean) * rstd, gamma, beta), slope);
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
        let (x_shape, s_shape) = (x.shape(), scale_shift.shape());
        with_slices!("spade_norm", [x, scale_shift, stats, grad], T => {
            let stats = stats.as_chunks::<2>().0;
            let mut dx = buffer(if for_x { x.len() } else { 0 });
            let mut ds = buffer(scale_shift.len());
            self.planes(&mut dx, &mut ds).into_par_iter().enumerate().for_each(|(i, (dx, dgamma, dbeta))| {
                let range = i * self.plane..(i + 1) * self.plane;
                let ((gamma, beta), [mean, rstd]) = (self.modulation(scale_shift, i), stats[i]);
                let plane = SpadePlane { x: &x[range.clone()], gamma, beta, mean, rstd };
                let sums = plane.modulation_gradients(&grad[range], T::of(self.slope), dgamma, dbeta);
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
    fn modulation_gradients(&self, g: &[T], slope: T, dgamma: &mut [T], dbeta: &mut [T]) -> (f64, f64) {
        let pieces = dgamma.par_chunks_mut(CHUNK).zip(dbeta.par_chunks_mut(CHUNK)).enumerate();
        let sums: Vec<(f64, f64)> = pieces
            .map(|(i, (dgamma, dbeta))| {
                vectorize(
                    #[inline(always)]
                    || self.modulation_gradients_from(i * CHUNK, &g[i * CHUNK..], slope, dgamma, dbeta),
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
        slope: T,
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
                *dbeta = through(g, modulated(y, gamma, beta), slope);
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

/// The value; mean and 1/std of each row, `(rows, 2)`.
fn layer_forward(x: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
    let shape = x.shape();
    with_slices!("layer_norm", [x, w, b], T => {
        let c = w.len();
        let mut stats = vec![[T::ZERO; 2]; x.len() / c.max(1)];
        let mut out = buffer(x.len());
        if !x.is_empty() {
            let rows = rows_per_chunk(c);
            let chunks = out.par_chunks_mut(rows * c).zip(x.par_chunks(rows * c)).zip(stats.par_chunks_mut(rows));
            chunks.for_each(|((out, x), stats)| vectorize(#[inline(always)] || {
                layer_rows::<T>(x, w, b, eps, out, stats);
            }));
        }
        Ok((tensor(out, shape), pairs(stats)))
    })
}

/// Some rows, in three steps.
#[inline(always)]
fn layer_rows<T: Real>(x: &[T], w: &[T], b: &[T], eps: f64, out: &mut [T], stats: &mut [[T; 2]]) {
    let c = w.len();
    staggered(
        stats.len(),
        c,
        3,
        #[inline(always)]
        |step, rows| {
            let elements = rows.start * c..rows.end * c;
            let rows = stats[rows].iter_mut().zip(x[elements.clone()].chunks_exact(c));
            match step {
                0 => {
                    for (stats, x) in rows {
                        stats[0] = T::of(mean(x));
                    }
                }
                1 => {
                    for (stats, x) in rows {
                        stats[1] = rstd(squares(x, stats[0]) * (1.0 / c as f64), eps);
                    }
                }
                _ => {
                    for ((&mut [mean, rstd], x), out) in rows.zip(out[elements].chunks_exact_mut(c)) {
                        for (((out, &x), &w), &b) in out.iter_mut().zip(x).zip(w).zip(b) {
                            *out = ((x - mean) * rstd).mul_add(w, b);
                        }
                    }
                }
            }
        },
    );
}

/// The gradients of x, w and b; the latter two are 0 unless `for_params`.
fn layer_gradients(x: &Tensor, w: &Tensor, stats: &Tensor, grad: &Tensor, for_params: bool) -> Result<[Tensor; 3]> {
    let shape = x.shape();
    with_slices!("layer_norm", [x, w, stats, grad], T => {
        let rows = LayerRows { x, w, stats: stats.as_chunks().0, g: grad };
        let (dx, mut dw) = rows.gradients(for_params);
        let db = dw.split_off(w.len());
        Ok([tensor(dx, shape), tensor(dw, w.len()), tensor(db, w.len())])
    })
}

/// What the gradients of a layer norm are computed from.
struct LayerRows<'a, T> {
    x: &'a [T],
    w: &'a [T],
    stats: &'a [[T; 2]],
    g: &'a [T],
}

impl<T: Real> LayerRows<'_, T> {
    /// The gradient of x; those of w and b, one after the other.
    fn gradients(&self, for_params: bool) -> (Vec<T>, Vec<T>) {
        let c = self.w.len();
        let (mut dx, mut params) = (buffer(self.x.len()), vec![T::ZERO; 2 * c]);
        if dx.is_empty() {
            return (dx, params);
        }
        let rows = rows_per_chunk(c);
        let gradients_of_chunk = |(i, dx): (usize, &mut [T])| {
            vectorize(
                #[inline(always)]
                || {
                    let mut sums = vec![T::ZERO; if for_params { 2 * c } else { 0 }];
                    for (j, dx) in dx.chunks_exact_mut(c).enumerate() {
                        self.row_gradients(i * rows + j, dx, &mut sums);
                    }
                    sums
                },
            )
        };
        let partials: Vec<Vec<T>> = dx.par_chunks_mut(rows * c).enumerate().map(gradients_of_chunk).collect();
        add_up(&partials, &mut params);
        (dx, params)
    }

    /// Writes the gradient of a row of x, and adds its part of those of w and b to `sums`, unless that is empty.
    #[inline(always)]
    fn row_gradients(&self, row: usize, dx: &mut [T], sums: &mut [T]) {
        let (c, w) = (dx.len(), self.w);
        let (x, g) = (&self.x[row * c..(row + 1) * c], &self.g[row * c..(row + 1) * c]);
        let [mean, rstd] = self.stats[row];
        // Until its sums are known, dx holds the gradient by the normalised row.
        for ((dx, &g), &w) in dx.iter_mut().zip(g).zip(w) {
            *dx = g * w;
        }
        let (sum, dot) = sum_pairs(
            x,
            dx,
            #[inline(always)]
            |x, g| (g, g * ((x - mean) * rstd)),
        );
        let (sum, dot) = (T::of(sum / c as f64), T::of(dot / c as f64));
        for (dx, &x) in dx.iter_mut().zip(x) {
            *dx = rstd * (*dx - sum - (x - mean) * rstd * dot);
        }
        let (dw, db) = sums.split_at_mut(sums.len() / 2);
        for (((dw, db), &x), &g) in dw.iter_mut().zip(db).zip(x).zip(g) {
            *dw = g.mul_add((x - mean) * rstd, *dw);
            *db += g;
        }
    }
}

/// What `f` makes of the pieces of each channel's planes (as ranges of all elements), joined in order.
fn per_channel<R: Copy + Default + Send>(
    n: usize,
    c: usize,
    plane: usize,
    f: impl Fn(Range<usize>) -> R + Sync,
    join: impl Fn(R, R) -> R + Sync,
) -> Vec<R> {
    let of_plane = |i: usize| {
        over_pieces(
            plane,
            #[inline(always)]
            |piece| f(i * plane + piece.start..i * plane + piece.end),
            &join,
        )
    };
    let planes: Vec<R> = (0..n / plane.max(1)).into_par_iter().map(of_plane).collect();
    let of_channel = |channel| planes.iter().skip(channel).step_by(c).copied().reduce(&join).unwrap_or_default();
    (0..c).map(of_channel).collect()
}

fn channel_moments(x: &Tensor, c: usize, plane: usize) -> Result<Vec<Moments>> {
    with_slices!("batch_norm_train", [x], T => {
        Ok(per_channel(x.len(), c, plane, #[inline(always)] |piece| Moments::of::<T>(&x[piece]), Moments::join))
    })
}

/// (x − mean) · rstd · w + b; in training, mean and variance are x's own, and its gradient knows that.
struct BatchNorm {
    mean: Vec<f64>,
    rstd: Vec<f64>,
    plane: usize,
    train: bool,
}

impl BatchNorm {
    fn new(mean: Vec<f64>, var: Vec<f64>, eps: f64, plane: usize, train: bool) -> Self {
        let rstd = var.into_iter().map(|var| 1.0 / (var + eps).sqrt()).collect();
        Self { mean, rstd, plane, train }
    }

    fn apply(self, x: &Node, w: &Tensor, b: &Tensor) -> Result<Node> {
        let (w, b) = (Node::from(w).contiguous()?, Node::from(b).contiguous()?);
        let (xv, wv) = (x.value().clone(), w.value().clone());
        let y = self.forward(&xv, &wv, b.value())?;
        let (for_x, for_w, for_b) = (x.is_tracked(), w.is_tracked(), b.is_tracked());
        Ok(Node::new(y, [x, &w, &b], move |grad| {
            let [dx, dw, db] = self.gradients(&xv, &wv, grad)?;
            Ok([for_x.then_some(dx), for_w.then_some(dw), for_b.then_some(db)])
        }))
    }

    fn forward(&self, x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
        let shape = x.shape();
        with_slices!("batch_norm", [x, w, b], T => {
            let out = fill_rows(x.len(), self.plane, #[inline(always)] |start, out| {
                let channel = start / self.plane % w.len();
                let (mean, b) = (T::of(self.mean[channel]), b[channel]);
                let scale = T::of(self.rstd[channel]) * w[channel];
                for (out, &x) in out.iter_mut().zip(&x[start..]) {
                    *out = (x - mean).mul_add(scale, b);
                }
            });
            Ok(tensor(out, shape))
        })
    }

    /// Those of x, w and b.
    fn gradients(&self, x: &Tensor, w: &Tensor, grad: &Tensor) -> Result<[Tensor; 3]> {
        let shape = x.shape();
        with_slices!("batch_norm", [x, w, grad], T => {
            let sums = self.gradient_sums::<T>(x, grad, w.len());
            let dx = self.input_gradient(x, w, grad, &sums);
            let (db, dw): (Vec<T>, Vec<T>) = sums.iter().map(|s| (T::of(s.0), T::of(s.1))).unzip();
            Ok([tensor(dx, shape), tensor(dw, w.len()), tensor(db, w.len())])
        })
    }

    /// For each channel, the sums of the gradient and of its products with the normalised x.
    fn gradient_sums<T: Real>(&self, x: &[T], g: &[T], c: usize) -> Vec<(f64, f64)> {
        per_channel(
            x.len(),
            c,
            self.plane,
            #[inline(always)]
            |piece| {
                let channel = piece.start / self.plane % c;
                let (mean, rstd) = (T::of(self.mean[channel]), T::of(self.rstd[channel]));
                sum_pairs(
                    &x[piece.clone()],
                    &g[piece],
                    #[inline(always)]
                    |x, g| (g, g * ((x - mean) * rstd)),
                )
            },
            add_pairs,
        )
    }

    fn input_gradient<T: Real>(&self, x: &[T], w: &[T], g: &[T], sums: &[(f64, f64)]) -> Vec<T> {
        let c = w.len();
        // Given statistics do not move with x.
        let share = if self.train { c as f64 / x.len() as f64 } else { 0.0 };
        fill_rows(
            x.len(),
            self.plane,
            #[inline(always)]
            |start, dx| {
                let channel = start / self.plane % c;
                let (mean, rstd) = (T::of(self.mean[channel]), T::of(self.rstd[channel]));
                let (sum, dot) = (T::of(sums[channel].0 * share), T::of(sums[channel].1 * share));
                let scale = rstd * w[channel];
                for ((dx, &x), &g) in dx.iter_mut().zip(&x[start..]).zip(&g[start..]) {
                    *dx = scale * (g - sum - (x - mean) * rstd * dot);
                }
            },
        )
    }
}
