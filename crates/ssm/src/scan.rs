//! Selective scans as operations of the graph.

use crate::cuda::{self, Sequences};
use crate::lanes::Scalar;
use crate::layout::Groups;
use crate::map::{self, DIRECTIONS, Map};
use crate::rows::{self, Rows};
use candle_core::{Result, Storage, Tensor};
use colormamba_cpu::{Held, dispatch_real, hold, tensor};
use colormamba_ops::{Node, OpError, profile};
use std::ops::Deref;

const FOUR: &str = "four_direction_scan";
const ROWS: &str = "selective_scan";

/// The sum of four selective scans over a token map: row by row, column by column, and both backwards.
///
/// With t the step of a direction k and p its pixel,
/// `h_t = exp(δ_t A_k) h_{t-1} + δ_t B_t x_p`, `y_t = C_t · h_t + D_k x_p`, `A = -exp(a_logs)`,
/// `δ_t = softplus(dt_weight_k · low_t + dt_bias_k)`, where (low, B, C) stand in `x_dbl` at pixel p.
///
/// - `x`: `(B, H, W, D)`
/// - `x_dbl`: `(B, H, W, 4(R + 2N))`, for each direction R low-rank step sizes, N input weights, N output weights
/// - `dt_weight`: `(4, D, R)`; `dt_bias`: `(4, D)`; `a_logs`: `(4D, N)`; `ds`: `(4D)`
///
/// Returns `(B, H, W, D)`. The map is read in place in the order of each direction. The states at every 128th step are
/// kept for the backward pass, which recomputes the others. Results are the same for any number of threads.
///
/// # Errors
/// [`OpError::Shape`] if the shapes do not fit or one is empty, [`OpError::DType`] for [other types](colormamba_ops#types).
///
/// Source: Gu & Dao 2023, arXiv 2312.00752 (scan); Liu et al. 2024, arXiv 2401.10166 (four directions).
pub fn four_direction_scan(
    x: impl Into<Node>,
    x_dbl: impl Into<Node>,
    dt_weight: &Tensor,
    dt_bias: &Tensor,
    a_logs: &Tensor,
    ds: &Tensor,
) -> Result<Node> {
    let (x, x_dbl) = (x.into().contiguous()?, x_dbl.into().contiguous()?);
    let &[batch, height, width, channels] = x.dims() else {
        return Err(OpError::shape(FOUR, "x (B, H, W, D)", x.shape()));
    };
    let &[DIRECTIONS, _, rank] = dt_weight.dims() else {
        return Err(OpError::shape(FOUR, "dt_weight (4, D, R)", dt_weight.shape()));
    };
    let &[_, states] = a_logs.dims() else { return Err(OpError::shape(FOUR, "a_logs (4D, N)", a_logs.shape())) };
    let groups = Groups { count: DIRECTIONS, channels, rank, states };
    expect(FOUR, "x_dbl", x_dbl.value(), &[batch, height, width, 4 * (rank + 2 * states)])?;
    expect(FOUR, "dt_weight", dt_weight, &[4, channels, rank])?;
    expect(FOUR, "dt_bias", dt_bias, &[4, channels])?;
    expect(FOUR, "a_logs", a_logs, &[4 * channels, states])?;
    expect(FOUR, "ds", ds, &[4 * channels])?;
    expect_steps(FOUR, &x, height * width, states)?;
    let parameters = pack(&[dt_weight, dt_bias, &a_logs.exp()?.neg()?, ds])?;
    let (map, inputs) = (Map { batch, height, width, groups }, [x, x_dbl, parameters]);
    if colormamba_cuda::applies(inputs[0].value()) {
        return cuda::scan(Sequences { op: FOUR, batch, height, width, groups, map: true }, inputs);
    }
    dispatch_real!(FOUR, inputs[0], T => scan_map::<T>(map, inputs))
}

/// Selective scan of K groups of D channels over one sequence:
/// `δ = softplus(delta + delta_bias)`, `h_t = exp(δ_t a) h_{t-1} + δ_t b_t u_t`, `y_t = c_t · h_t + d u_t`.
///
/// - `u`, `delta`: `(B, K·D, L)`, the channels of a group being consecutive
/// - `a`: `(K·D, N)`, negative; `b`, `c`: `(B, K, N, L)`; `d`, `delta_bias`: `(K·D)`
///
/// Returns `(B, K·D, L)`. Memory and determinism as [`four_direction_scan`].
///
/// # Errors
/// [`OpError::Shape`] if the shapes do not fit or one is empty, [`OpError::DType`] for [other types](colormamba_ops#types).
///
/// Source: Gu & Dao 2023, arXiv 2312.00752.
pub fn selective_scan(
    u: impl Into<Node>,
    delta: impl Into<Node>,
    a: &Tensor,
    b: impl Into<Node>,
    c: impl Into<Node>,
    d: &Tensor,
    delta_bias: &Tensor,
) -> Result<Node> {
    let (u, delta, b, c) = (u.into(), delta.into(), b.into(), c.into());
    let &[batch, count, states, length] = b.dims() else {
        return Err(OpError::shape(ROWS, "b (B, K, N, L)", b.shape()));
    };
    let &[_, rows, _] = u.dims() else { return Err(OpError::shape(ROWS, "u (B, K·D, L)", u.shape())) };
    if count == 0 || rows % count != 0 {
        return Err(OpError::shape(ROWS, format!("u with a multiple of {count} channels"), u.shape()));
    }
    expect(ROWS, "u", u.value(), &[batch, rows, length])?;
    expect(ROWS, "delta", delta.value(), &[batch, rows, length])?;
    expect(ROWS, "a", a, &[rows, states])?;
    expect(ROWS, "c", c.value(), b.dims())?;
    expect(ROWS, "d", d, &[rows])?;
    expect(ROWS, "delta_bias", delta_bias, &[rows])?;
    expect_steps(ROWS, &u, length, states)?;
    let inputs = [u.contiguous()?, delta.contiguous()?, b.contiguous()?, c.contiguous()?, pack(&[delta_bias, a, d])?];
    let rows = Rows { batch, length, groups: Groups { count, channels: rows / count, rank: 0, states } };
    if colormamba_cuda::applies(inputs[0].value()) {
        let Rows { batch, length, groups } = rows;
        return cuda::scan(Sequences { op: ROWS, batch, height: 1, width: length, groups, map: false }, inputs);
    }
    dispatch_real!(ROWS, inputs[0], T => scan_rows::<T>(rows, inputs))
}

fn expect(op: &'static str, name: &str, x: &Tensor, dims: &[usize]) -> Result<()> {
    if !x.dtype().is_float() {
        return Err(candle_core::Error::wrap(OpError::DType { op, dtype: x.dtype() }));
    }
    if x.dims() != dims {
        return Err(OpError::shape(op, format!("{name} {dims:?}"), x.shape()));
    }
    Ok(())
}

fn expect_steps(op: &'static str, x: &Node, steps: usize, states: usize) -> Result<()> {
    if states == 0 || x.shape().elem_count() == 0 || u32::try_from(steps).is_err() {
        return Err(OpError::shape(op, "non-empty tensors of at most 2^32 steps", x.shape()));
    }
    Ok(())
}

/// The parameters one after the other. They are small: candle may do it, and take their gradients apart.
fn pack(parameters: &[&Tensor]) -> Result<Node> {
    let flat = parameters.iter().map(|x| x.flatten_all()).collect::<Result<Vec<_>>>()?;
    Ok(Node::from(&Tensor::cat(&flat, 0)?))
}

fn scan_map<T: Scalar>(map: Map, nodes: [Node; 3]) -> Result<Node> {
    let tracked = nodes.each_ref().map(Node::is_tracked);
    let args = nodes.each_ref().map(|node| node.value().clone());
    let (y, kept) = map.forward(&map_inputs::<T, _>(&args.each_ref().map(|x| hold(FOUR, x)))?, tracked.contains(&true));
    let y = tensor(y, args[0].shape());
    profile::work(FOUR, work(map.batch * map.height * map.width, map.groups));
    Node::new(y, nodes.each_ref(), move |dy| {
        let held = args.each_ref().map(|x| hold(FOUR, x));
        let grads = map.backward(&map_inputs(&held)?, &kept, hold(FOUR, dy).slice::<T>()?);
        Ok(wanted(grads, &args, tracked))
    })
}

fn map_inputs<'a, T: Scalar, G: Deref<Target = Storage>>(held: &'a [Held<G>; 3]) -> Result<map::Inputs<'a, T>> {
    let [x, projected, parameters] = held;
    Ok(map::Inputs { x: x.slice()?, projected: projected.slice()?, parameters: parameters.slice()? })
}

fn scan_rows<T: Scalar>(rows: Rows, nodes: [Node; 5]) -> Result<Node> {
    let tracked = nodes.each_ref().map(Node::is_tracked);
    let args = nodes.each_ref().map(|node| node.value().clone());
    let (y, kept) =
        rows.forward(&row_inputs::<T, _>(&args.each_ref().map(|x| hold(ROWS, x)))?, tracked.contains(&true));
    let y = tensor(y, args[0].shape());
    profile::work(ROWS, work(rows.batch * rows.length, rows.groups));
    Node::new(y, nodes.each_ref(), move |dy| {
        let held = args.each_ref().map(|x| hold(ROWS, x));
        let grads = rows.backward(&row_inputs(&held)?, &kept, hold(ROWS, dy).slice::<T>()?);
        Ok(wanted(grads, &args, tracked))
    })
}

fn row_inputs<'a, T: Scalar, G: Deref<Target = Storage>>(held: &'a [Held<G>; 5]) -> Result<rows::Inputs<'a, T>> {
    let [u, delta, b, c, parameters] = held;
    let (u, delta, parameters) = (u.slice()?, delta.slice()?, parameters.slice()?);
    Ok(rows::Inputs { u, delta, b: b.slice()?, c: c.slice()?, parameters })
}

/// Floating-point operations of so many steps: 9 a state, an exponential being one, and the step sizes' projection.
fn work(steps: usize, Groups { count, channels, rank, states }: Groups) -> usize {
    steps * count * channels * (9 * states + 2 * rank)
}

/// The gradients of tracked arguments as tensors of their shapes.
fn wanted<T: Scalar, const N: usize>(
    grads: [Vec<T>; N],
    args: &[Tensor; N],
    tracked: [bool; N],
) -> [Option<Tensor>; N] {
    let mut wanted =
        args.iter().zip(tracked).zip(grads).map(|((arg, tracked), grad)| tracked.then(|| tensor(grad, arg.shape())));
    std::array::from_fn(|_| wanted.next().flatten())
}
