//! Criss-cross attention on a GPU: the rows attend as groups, and so do the rows of the transposed images, whose parts are
//! merged into one softmax.

use super::Sizes;
use crate::arrange::cuda::transpose;
use crate::attention::cuda::Groups;
use candle_core::{Result, Tensor};
use colormamba_cuda::DeviceMemory;

fn groups(Sizes { batch, k, c, h, w }: Sizes) -> [Groups; 2] {
    let rows = Groups { groups: batch * h, lines: h, d: k, key_rows: k, e: c, nq: w, nk: w, is_apart: false };
    [rows, Groups { groups: batch * w, lines: w, nq: h, nk: h, is_apart: true, ..rows }]
}

/// The attention, and each pixel's statistics.
pub(super) fn attend(arguments: [&Tensor; 3], sizes: Sizes) -> Result<(Tensor, Tensor)> {
    let [rows, columns] = groups(sizes);
    let [mut y, mut stats] = rows.part_buffers(arguments[0], 2)?;
    rows.attend_part(arguments, [&mut y, &mut stats], 0)?;
    let turned = arguments.map(|x| transposed(x, sizes));
    let [q, k, v] = turned;
    let [mut turned_y, mut turned_stats] = columns.part_buffers(arguments[0], 1)?;
    columns.attend_part([&q?, &k?, &v?], [&mut turned_y, &mut turned_stats], 0)?;
    for (turned, out) in [(turned_y, &mut y), (turned_stats, &mut stats)] {
        let n = turned.elements();
        transpose(&turned.tensor(n)?, [sizes.w, sizes.h], None, out, n / sizes.pixels())?;
    }
    let [parts, part_stats] = [y, stats].map(|buffer| {
        let n = buffer.elements();
        buffer.tensor(n)
    });
    let (y, stats) = rows.merge(arguments[0].dtype(), &parts?, &part_stats?, 2)?;
    let Sizes { batch, c, h, w, .. } = sizes;
    Ok((y.reshape((batch, c, h, w))?, stats.reshape((batch, 2, h, w))?))
}

/// Those gradients of queries, keys and values that are wanted.
pub(super) fn gradients(
    [q, k, v, y, stats]: [&Tensor; 5],
    grad: &Tensor,
    sizes: Sizes,
    [for_q, for_k, for_v]: [bool; 3],
) -> Result<[Option<Tensor>; 3]> {
    let [rows, columns] = groups(sizes);
    let delta = rows.delta(y, grad)?;
    let arguments = [q, k, v, grad, stats, &delta];
    let turned = arguments.iter().map(|x| transposed(x, sizes)).collect::<Result<Vec<_>>>()?;
    let turned: [&Tensor; 6] = std::array::from_fn(|i| &turned[i]);
    let sum = |of_rows: &Tensor, of_columns: &Tensor, like: &Tensor| {
        let mut out = DeviceMemory::statistics(of_rows, of_rows.elem_count())?;
        transpose(of_columns, [sizes.w, sizes.h], Some(of_rows), &mut out, 0)?;
        out.tensor(like.shape())?.to_dtype(like.dtype())
    };
    let dq = for_q.then(|| sum(&rows.query_gradient(arguments)?, &columns.query_gradient(turned)?, q)).transpose()?;
    if !for_k && !for_v {
        return Ok([dq, None, None]);
    }
    let ([dk, dv], [turned_dk, turned_dv]) = (rows.key_gradients(arguments)?, columns.key_gradients(turned)?);
    Ok([dq, for_k.then(|| sum(&dk, &turned_dk, k)).transpose()?, for_v.then(|| sum(&dv, &turned_dv, v)).transpose()?])
}

/// Every plane of `x` with rows and columns changed over.
fn transposed(x: &Tensor, Sizes { h, w, .. }: Sizes) -> Result<Tensor> {
    let mut out = DeviceMemory::like(x)?;
    transpose(x, [h, w], None, &mut out, 0)?;
    out.tensor(x.shape())
}
