//! A picture as a near-infrared image of which each pixel and colour is shifted and stretched.

use crate::activation::logistic;
use crate::operands::check_types;
use crate::pointwise::{CHUNK, fill_chunks, fill_rows};
use crate::{Node, OpError};
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, tensor, with_slices};
use colormamba_cuda::applies;

const OP: &str = "offset_gain";
const COLOURS: usize = 3;

/// `sigmoid(offset + gain · logit(nir))`: colours that vary as the near-infrared image does, where offset and gain may
/// be smooth. With offset 0 and gain 1 the result is the image itself.
///
/// `nir (B, 1, H, W)` with values from 0 to 1, of which those outside `[eps, 1 − eps]` count as its ends, and no
/// gradient; `coefficients (B, 6, H, W)`, the offsets of three colours and then their gains → `(B, 3, H, W)` with
/// values from 0 to 1.
///
/// # Errors
/// [`OpError::Shape`] if the shapes do not fit, [`OpError::Argument`] unless `0 < eps < 1/2`, and for
/// [other types](crate#types).
pub fn offset_gain(nir: &Tensor, coefficients: impl Into<Node>, eps: f64) -> Result<Node> {
    let (nir, coefficients) = (Node::from(nir).detach().contiguous()?, coefficients.into().contiguous()?);
    let &[b, 1, h, w] = nir.dims() else {
        return Err(OpError::shape(OP, "a near-infrared image (B, 1, H, W)", nir.shape()));
    };
    if coefficients.dims() != [b, 2 * COLOURS, h, w] {
        let expected = format!("({b}, {}, {h}, {w}), an offset and a gain for each colour", 2 * COLOURS);
        return Err(OpError::shape(OP, expected, coefficients.shape()));
    }
    if !(0.0 < eps && eps < 0.5) {
        return Err(OpError::argument(OP, format!("eps must be between 0 and 1/2, not {eps}")));
    }
    check_types(OP, &[&nir, &coefficients])?;
    let y = forward(nir.value(), coefficients.value(), eps)?;
    let kept = y.clone();
    Node::new(y, [&coefficients], move |grad| Ok([Some(gradient(nir.value(), &kept, grad, eps)?)]))
}

fn forward(nir: &Tensor, coefficients: &Tensor, eps: f64) -> Result<Tensor> {
    if applies(nir) {
        return cuda::forward(nir, coefficients, eps);
    }
    let (b, _, h, w) = nir.dims4()?;
    with_slices!(OP, [nir, coefficients], T => {
        let (area, logits) = (h * w, logits::<T>(nir, eps));
        let out = fill_rows(b * COLOURS * area, w, #[inline(always)] |start, out: &mut [T]| {
            let (plane, at) = (start / area, start % area);
            let (image, colour) = (plane / COLOURS, plane % COLOURS);
            let offsets = &coefficients[(image * 2 * COLOURS + colour) * area + at..][..out.len()];
            let gains = &coefficients[(image * 2 * COLOURS + COLOURS + colour) * area + at..][..out.len()];
            let logits = &logits[image * area + at..][..out.len()];
            for (((out, &offset), &gain), &logit) in out.iter_mut().zip(offsets).zip(gains).zip(logits) {
                *out = logistic(gain.mul_add(logit, offset));
            }
        });
        Ok(tensor(out, (b, COLOURS, h, w)))
    })
}

/// The gradient of the coefficients, from the result `y` and its gradient.
fn gradient(nir: &Tensor, y: &Tensor, grad: &Tensor, eps: f64) -> Result<Tensor> {
    if applies(nir) {
        return cuda::gradient(nir, y, grad, eps);
    }
    let (b, _, h, w) = nir.dims4()?;
    with_slices!(OP, [nir, y, grad], T => {
        let (area, logits) = (h * w, logits::<T>(nir, eps));
        let out = fill_rows(b * 2 * COLOURS * area, w, #[inline(always)] |start, out: &mut [T]| {
            let (plane, at) = (start / area, start % area);
            let (image, channel) = (plane / (2 * COLOURS), plane % (2 * COLOURS));
            let of_colour = (image * COLOURS + channel % COLOURS) * area + at;
            let (y, grad) = (&y[of_colour..][..out.len()], &grad[of_colour..][..out.len()]);
            for ((out, &y), &grad) in out.iter_mut().zip(y).zip(grad) {
                *out = grad * y * (T::ONE - y);
            }
            if channel >= COLOURS {
                for (out, &logit) in out.iter_mut().zip(&logits[image * area + at..]) {
                    *out *= logit;
                }
            }
        });
        Ok(tensor(out, (b, 2 * COLOURS, h, w)))
    })
}

/// `ln(x / (1 − x))` of `x` within `[eps, 1 − eps]`, as [`offset_gain`] takes it; NaN stays NaN.
pub fn logits<T: Real>(nir: &[T], eps: f64) -> Vec<T> {
    fill_chunks(nir.len(), CHUNK, |start, out| {
        for (out, x) in out.iter_mut().zip(&nir[start..]) {
            let x = x.wide().clamp(eps, 1.0 - eps);
            *out = T::of((x / (1.0 - x)).ln());
        }
    })
}

mod cuda {
    use super::COLOURS;
    use crate::pointwise::cuda::over;
    use candle_core::{Result, Tensor};
    use colormamba_cuda::DeviceMemory;

    pub(super) fn forward(nir: &Tensor, coefficients: &Tensor, eps: f64) -> Result<Tensor> {
        let (b, _, h, w) = nir.dims4()?;
        let mut y = DeviceMemory::new(nir, nir.dtype(), COLOURS * nir.elem_count())?;
        // Over the elements of a tensor of the result's size.
        let of_colours = coefficients.narrow(1, 0, COLOURS)?;
        let launch = over("offset_gain", &of_colours).input(nir).input(coefficients).output(&mut y);
        launch.sizes([of_colours.elem_count(), h * w]).number(eps).run()?;
        y.tensor((b, COLOURS, h, w))
    }

    pub(super) fn gradient(nir: &Tensor, y: &Tensor, grad: &Tensor, eps: f64) -> Result<Tensor> {
        let (b, _, h, w) = nir.dims4()?;
        let mut dcoefficients = DeviceMemory::new(nir, nir.dtype(), 2 * y.elem_count())?;
        let launch = over("offset_gain_gradient", y).input(nir).input(y).input(grad).output(&mut dcoefficients);
        launch.sizes([y.elem_count(), h * w]).number(eps).run()?;
        dcoefficients.tensor((b, 2 * COLOURS, h, w))
    }
}
