//! Selective scans as fused autograd operations.

use crate::plan::{Inputs, Kind, Plan};
use candle_core::{Result, Shape, Tensor};
use colormamba_ops::cpu::tensor;
use colormamba_ops::{Node, OpError, with_slices};

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
/// Returns `(B, H, W, D)`. The map is read in place in the order of each direction. The backward pass recomputes the states
/// from those at every 64th step. Results are the same for any number of threads.
///
/// # Errors
/// [`OpError::Shape`] if the shapes do not fit or one is empty, [`OpError::DType`] for types other than `f32` and `f64`.
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
    let (x, x_dbl) = (x.into(), x_dbl.into());
    let &[batch, height, width, channels] = x.dims() else {
        return Err(OpError::shape(FOUR, "x (B, H, W, D)", x.shape()));
    };
    let &[4, _, rank] = dt_weight.dims() else {
        return Err(OpError::shape(FOUR, "dt_weight (4, D, R)", dt_weight.shape()));
    };
    let &[_, states] = a_logs.dims() else { return Err(OpError::shape(FOUR, "a_logs (4D, N)", a_logs.shape())) };
    let kind = Kind::Map { height, width };
    let plan = Plan { kind, batch, length: height * width, groups: 4, channels, rank, states };
    expect(FOUR, "x_dbl", x_dbl.value(), &[batch, height, width, plan.projected_width()])?;
    expect(FOUR, "dt_weight", dt_weight, &[4, channels, rank])?;
    expect(FOUR, "dt_bias", dt_bias, &[4, channels])?;
    expect(FOUR, "a_logs", a_logs, &[4 * channels, states])?;
    expect(FOUR, "ds", ds, &[4 * channels])?;
    let parameters = pack(&[dt_weight, dt_bias, &a_logs.exp()?.neg()?, ds])?;
    apply(FOUR, plan, x.shape().clone(), [x, x_dbl], &parameters)
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
/// [`OpError::Shape`] if the shapes do not fit or one is empty, [`OpError::DType`] for types other than `f32` and `f64`.
///
/// Source: Gu & Dao 2023, arXiv 2312.00752.
pub fn selective_scan(
    u: &Tensor,
    delta: &Tensor,
    a: &Tensor,
    b: &Tensor,
    c: &Tensor,
    d: &Tensor,
    delta_bias: &Tensor,
) -> Result<Node> {
    let &[batch, groups, states, length] = b.dims() else {
        return Err(OpError::shape(ROWS, "b (B, K, N, L)", b.shape()));
    };
    let &[_, rows, _] = u.dims() else { return Err(OpError::shape(ROWS, "u (B, K·D, L)", u.shape())) };
    if groups == 0 || rows % groups != 0 {
        return Err(OpError::shape(ROWS, format!("u with a multiple of {groups} channels"), u.shape()));
    }
    let channels = rows / groups;
    expect(ROWS, "u", u, &[batch, rows, length])?;
    expect(ROWS, "delta", delta, &[batch, rows, length])?;
    expect(ROWS, "a", a, &[rows, states])?;
    expect(ROWS, "c", c, b.dims())?;
    expect(ROWS, "d", d, &[rows])?;
    expect(ROWS, "delta_bias", delta_bias, &[rows])?;
    let plan = Plan { kind: Kind::Rows, batch, length, groups, channels, rank: 0, states };
    let grouped = |x: &Tensor| x.reshape((batch, groups, channels, length));
    let x = Tensor::cat(&[grouped(u)?, grouped(delta)?], 2)?.flatten(1, 2)?.transpose(1, 2)?;
    let projected = Tensor::cat(&[b, c], 2)?.flatten(1, 2)?.transpose(1, 2)?;
    let parameters = pack(&[delta_bias, a, d])?;
    let y = apply(ROWS, plan, Shape::from((batch, length, rows)), [Node::from(&x), Node::from(&projected)], &parameters)?;
    let value = y.value().transpose(1, 2)?.contiguous()?;
    Ok(Node::new(value, [&y], |grad| Ok([Some(grad.transpose(1, 2)?.contiguous()?)])))
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

fn pack(parameters: &[&Tensor]) -> Result<Tensor> {
    Tensor::cat(&parameters.iter().map(|x| x.flatten_all()).collect::<Result<Vec<_>>>()?, 0)
}

fn apply(name: &'static str, plan: Plan, shape: Shape, [x, projected]: [Node; 2], parameters: &Tensor) -> Result<Node> {
    if plan.states == 0 || shape.elem_count() == 0 || u32::try_from(plan.length).is_err() {
        return Err(OpError::shape(name, "non-empty tensors of at most 2^32 steps", &shape));
    }
    let (x, projected, parameters) = (x.contiguous()?, projected.contiguous()?, Node::from(parameters));
    let args = [&x, &projected, &parameters].map(|node| node.value().clone());
    let [xv, pv, rv] = &args;
    let y = with_slices!(name, [xv, pv, rv], T => {
        Ok(tensor(plan.forward(&Inputs::<T> { x: xv, projected: pv, parameters: rv }), shape))
    })?;
    Ok(Node::new(y, [&x, &projected, &parameters], move |dy| {
        let [xv, pv, rv] = &args;
        let shapes = [xv.shape(), pv.shape(), rv.shape()];
        with_slices!(name, [xv, pv, rv, dy], T => {
            let inputs = Inputs::<T> { x: xv, projected: pv, parameters: rv };
            let [x, projected, parameters] = plan.backward(&inputs, dy);
            let [a, b, c] = shapes;
            Ok([Some(tensor(x, a)), Some(tensor(projected, b)), Some(tensor(parameters, c))])
        })
    }))
}
