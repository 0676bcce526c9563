//! Selective scans as fused autograd operations.

use crate::plan::{Inputs, Kind, Plan};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Storage, Tensor, WithDType};
use colormamba_ops::cpu::{Real, slice};
use colormamba_ops::{OpError, dispatch_real};

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
    x: &Tensor,
    x_dbl: &Tensor,
    dt_weight: &Tensor,
    dt_bias: &Tensor,
    a_logs: &Tensor,
    ds: &Tensor,
) -> Result<Tensor> {
    let &[batch, height, width, channels] = x.dims() else {
        return Err(OpError::shape(FOUR, "x (B, H, W, D)", x.shape()));
    };
    let &[4, _, rank] = dt_weight.dims() else {
        return Err(OpError::shape(FOUR, "dt_weight (4, D, R)", dt_weight.shape()));
    };
    let &[_, states] = a_logs.dims() else { return Err(OpError::shape(FOUR, "a_logs (4D, N)", a_logs.shape())) };
    let kind = Kind::Map { height, width };
    let plan = Plan { kind, batch, length: height * width, groups: 4, channels, rank, states };
    expect(FOUR, "x_dbl", x_dbl, &[batch, height, width, plan.projected_width()])?;
    expect(FOUR, "dt_weight", dt_weight, &[4, channels, rank])?;
    expect(FOUR, "dt_bias", dt_bias, &[4, channels])?;
    expect(FOUR, "a_logs", a_logs, &[4 * channels, states])?;
    expect(FOUR, "ds", ds, &[4 * channels])?;
    let parameters = pack(&[dt_weight, dt_bias, &a_logs.exp()?.neg()?, ds])?;
    apply(FOUR, plan, x.shape().clone(), [x, x_dbl, &parameters])
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
) -> Result<Tensor> {
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
    apply(ROWS, plan, Shape::from((batch, length, rows)), [&x, &projected, &parameters])?.transpose(1, 2)?.contiguous()
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

fn apply(name: &'static str, plan: Plan, shape: Shape, [x, projected, parameters]: [&Tensor; 3]) -> Result<Tensor> {
    if plan.states == 0 || shape.elem_count() == 0 || u32::try_from(plan.length).is_err() {
        return Err(OpError::shape(name, "non-empty tensors of at most 2^32 steps", &shape));
    }
    x.contiguous()?.apply_op3(&projected.contiguous()?, parameters, Scan { name, plan, shape })
}

/// Inputs as [`Plan`] wants them, all contiguous.
struct Scan {
    name: &'static str,
    plan: Plan,
    shape: Shape,
}

impl Scan {
    fn gradients<T: Real>(&self, args: [&Tensor; 3], dy: &Tensor) -> Result<[Tensor; 3]> {
        let guards = [args[0], args[1], args[2], dy].map(Tensor::storage_and_layout);
        let read = |i: usize| match &*guards[i].0 {
            Storage::Cpu(storage) => slice::<T>(self.name, storage, guards[i].1),
            _ => Err(OpError::argument(self.name, "only CPU tensors are supported")),
        };
        let inputs = Inputs { x: read(0)?, projected: read(1)?, parameters: read(2)? };
        let [x, projected, parameters] = self.plan.backward(&inputs, read(3)?);
        let tensor = |data: Vec<T>, like: &Tensor| Tensor::from_vec(data, like.shape(), like.device());
        Ok([tensor(x, args[0])?, tensor(projected, args[1])?, tensor(parameters, args[2])?])
    }
}

impl CustomOp3 for Scan {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        projected: &CpuStorage,
        projected_layout: &Layout,
        parameters: &CpuStorage,
        parameters_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        dispatch_real!(self.name, x, T => {
            let inputs = Inputs {
                x: slice::<T>(self.name, x, x_layout)?,
                projected: slice(self.name, projected, projected_layout)?,
                parameters: slice(self.name, parameters, parameters_layout)?,
            };
            Ok((T::to_cpu_storage_owned(self.plan.forward(&inputs)), self.shape.clone()))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        projected: &Tensor,
        parameters: &Tensor,
        _res: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (args, dy) = ([x, projected, parameters], dy.contiguous()?);
        let gradients = dispatch_real!(self.name, x, T => self.gradients::<T>(args, &dy))?;
        let mut tracked = args.into_iter().zip(gradients).map(|(arg, gradient)| arg.track_op().then_some(gradient));
        let mut next = || tracked.next().flatten();
        Ok((next(), next(), next()))
    }
}
