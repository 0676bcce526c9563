//! Borders.

use super::cuda::{self, Size};
use candle_core::{Result, Tensor};
use colormamba_cpu::{Real, dispatch_real, hold, tensor};
use colormamba_cuda::applies;
use colormamba_ops::Node;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

const OP: &str = "padding";

/// What a window sees beyond the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Padding {
    /// Windows stay inside the image.
    Valid,
    /// Zeros.
    Zero,
    /// The image mirrored at its outermost pixels, which are not repeated.
    Reflect,
}

/// `image` `(B, C, H, W)` with `border` pixels more on every side, if windows reach beyond it.
pub(crate) fn padded(image: &Node, border: usize, padding: Padding) -> Result<Node> {
    if padding == Padding::Valid {
        return image.contiguous();
    }
    let image = image.contiguous()?;
    let (b, c, height, width) = image.dims4()?;
    if applies(image.value()) {
        let size = Size { planes: b * c, height, width, border, mirrored: padding == Padding::Reflect };
        let value = cuda::enlarged(image.value(), size)?.reshape((b, c, height + 2 * border, width + 2 * border))?;
        let fold = move |grad: &Tensor| cuda::folded(grad, size)?.reshape((b, c, height, width));
        return Node::new(value, [&image], move |grad| Ok([Some(fold(grad)?)]));
    }
    let plan = Plan { height: sources(height, border, padding), width: sources(width, border, padding) };
    let value = enlarged(image.value(), &plan, (b, c))?;
    Node::new(value, [&image], move |grad| Ok([Some(folded(grad, &plan, (b, c, height, width))?)]))
}

/// Which row and column every row and column of the padded image repeats; none for zeros.
struct Plan {
    height: Vec<Option<usize>>,
    width: Vec<Option<usize>>,
}

fn sources(size: usize, border: usize, padding: Padding) -> Vec<Option<usize>> {
    let source = |i: usize| match padding {
        Padding::Reflect => Some((size - 1) - (size - 1).abs_diff(i.abs_diff(border))),
        Padding::Valid | Padding::Zero => (border..border + size).contains(&i).then(|| i - border),
    };
    (0..size + 2 * border).map(source).collect()
}

impl Plan {
    /// The places of a padded plane with the places of the plane they repeat, `width` pixels a row.
    fn places(&self, width: usize) -> impl Iterator<Item = (usize, usize)> {
        let rows = self.height.iter().enumerate().filter_map(|(i, from)| from.map(|from| (i, from)));
        rows.flat_map(move |(i, row)| {
            let columns = self.width.iter().enumerate();
            columns.filter_map(move |(j, from)| from.map(|from| (i * self.width.len() + j, row * width + from)))
        })
    }
}

fn enlarged(image: &Tensor, plan: &Plan, (b, c): (usize, usize)) -> Result<Tensor> {
    let (_, _, height, width) = image.dims4()?;
    let (tall, wide) = (plan.height.len(), plan.width.len());
    dispatch_real!(OP, image, T => {
        let held = hold(OP, image);
        let mut out = vec![T::ZERO; b * c * tall * wide];
        let planes = out.par_chunks_mut(tall * wide).zip(held.slice::<T>()?.par_chunks(height * width));
        planes.for_each(|(out, image)| plan.places(width).for_each(|(to, from)| out[to] = image[from]));
        Ok(tensor(out, (b, c, tall, wide)))
    })
}

/// The gradient of the image, given that of the padded one.
fn folded(grad: &Tensor, plan: &Plan, (b, c, height, width): (usize, usize, usize, usize)) -> Result<Tensor> {
    dispatch_real!(OP, grad, T => {
        let held = hold(OP, grad);
        let mut out = vec![T::ZERO; b * c * height * width];
        let planes = out.par_chunks_mut(height * width);
        let planes = planes.zip(held.slice::<T>()?.par_chunks(plan.height.len() * plan.width.len()));
        planes.for_each(|(out, grad)| plan.places(width).for_each(|(from, to)| out[to] += grad[from]));
        Ok(tensor(out, (b, c, height, width)))
    })
}
