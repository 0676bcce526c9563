//! Layer norm.

use super::{check_channels, mean, pairs, rstd, squares};
use crate::memory::buffer;
use crate::pointwise::{add_up, rows_per_chunk, staggered, sum_pairs};
use crate::{Node, OpError};
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, tensor, vectorize, with_slices};
use colormamba_cuda::applies;
use rayon::prelude::*;

/// Each row of `x` `(.., C)` brought to mean 0 and variance 1, times `w` `(C)`, plus `b` `(C)`.
///
/// # Errors
/// [`OpError::Shape`] if the shapes do not fit, [`OpError::DType`] for [other types](crate#types).
///
/// Source: Ba et al. 2016, arXiv 1607.06450.
pub fn layer_norm(x: impl Into<Node>, w: &Tensor, b: &Tensor, eps: f64) -> Result<Node> {
    let x = x.into().contiguous()?;
    let Some(&c) = x.dims().last() else {
        return Err(OpError::shape("layer_norm", "(.., C)", x.shape()));
    };
    check_channels("layer_norm", &x, c, &[w, b])?;
    let (w, b) = (Node::from(w).contiguous()?, Node::from(b).contiguous()?);
    let (xv, wv) = (x.value().clone(), w.value().clone());
    let (y, stats) = layer_forward(&xv, &wv, b.value(), eps)?;
    let (for_x, for_w, for_b) = (x.is_tracked(), w.is_tracked(), b.is_tracked());
    Node::new(y, [&x, &w, &b], move |grad| {
        let [dx, dw, db] = layer_gradients(&xv, &wv, &stats, grad, for_w || for_b)?;
        Ok([for_x.then_some(dx), for_w.then_some(dw), for_b.then_some(db)])
    })
}

/// The value; mean and 1/std of each row, `(rows, 2)`.
fn layer_forward(x: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
    if applies(x) {
        return cuda::forward(x, w, b, eps);
    }
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
    if applies(x) {
        return cuda::gradients(x, w, stats, grad);
    }
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

mod cuda {
    use crate::kernels::ROWS;
    use crate::sums::cuda::normalised_sums;
    use candle_core::{Result, Tensor};
    use colormamba_cuda::{DeviceMemory, Launch};

    const WARP: usize = 32;
    const WARPS: usize = if cfg!(feature = "emulation") { 2 } else { 8 };

    /// One warp for each of `rows`.
    fn over_rows<'a>(kernel: &'static str, x: &Tensor, rows: usize) -> Launch<'a> {
        Launch::new(&ROWS, kernel, x).blocks([rows.div_ceil(WARPS), 1, 1], (WARP * WARPS) as u32)
    }

    pub(super) fn forward(x: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
        let (c, rows) = (w.elem_count(), x.elem_count() / w.elem_count().max(1));
        let (mut y, mut stats) = (DeviceMemory::like(x)?, DeviceMemory::statistics(x, 2 * rows)?);
        let launch = over_rows("layer_norm", x, rows).input(x).input(w).input(b).output(&mut y).output(&mut stats);
        launch.sizes([rows, c]).number(eps).run()?;
        Ok((y.tensor(x.shape())?, stats.tensor((rows, 2))?))
    }

    pub(super) fn gradients(x: &Tensor, w: &Tensor, stats: &Tensor, grad: &Tensor) -> Result<[Tensor; 3]> {
        let (c, rows) = (w.elem_count(), x.elem_count() / w.elem_count().max(1));
        let mut dx = DeviceMemory::like(x)?;
        let launch = over_rows("layer_norm_gradient", x, rows).input(x).input(w).input(stats).input(grad);
        launch.output(&mut dx).sizes([rows, c]).run()?;
        let [dw, db] = normalised_sums(grad, x, stats, c)?;
        Ok([dx.tensor(x.shape())?, dw, db])
    }
}
