//! Selective scans against golden files, a plain recurrence in f64, and finite differences.

use candle_core::{DType, Result, Tensor, Var};
use colormamba_ops::Node;
use colormamba_ssm::{four_direction_scan, selective_scan};
use colormamba_testkit::{
    Fixture, Map, assert_close, assert_gradients, assert_maps_close, gradients, noise_tensor, takes_bf16,
};

/// Errors seen are up to 3e-7.
const TOLERANCE: f64 = 1e-6;

#[test]
fn selective_scan_matches_the_golden_file() -> Result<()> {
    let fixture = Fixture::load("scan")?;
    let inputs = fixture.under("in.");
    let vars = inputs.iter().map(|(k, v)| Ok((k.clone(), Var::from_tensor(v)?))).collect::<Result<Vec<_>>>()?;
    let get = |name: &str| vars.iter().find(|(k, _)| k == name).unwrap().1.as_tensor();
    let [u, delta, a, b, c, d, bias] = ["u", "delta", "A", "B", "C", "D", "delta_bias"].map(get);
    let out = selective_scan(u, delta, a, b, c, d, bias)?;
    assert_close("out.0", &out, fixture.get("out.0")?, TOLERANCE)?;
    let grads = fixture.gradients(&[out])?;
    let got: Map = vars.iter().map(|(k, v)| (k.clone(), grads.get(v).unwrap().clone())).collect();
    assert_maps_close("grad.in", &got, &fixture.under("grad.in."), TOLERANCE)
}

fn noise(name: &str, shape: &[usize], offset: f64, scale: f64) -> Tensor {
    noise_tensor(name, shape).unwrap().to_dtype(DType::F64).unwrap().affine(scale, offset).unwrap()
}

/// Inputs of [`selective_scan`], f64.
fn rows(batch: usize, groups: usize, channels: usize, states: usize, length: usize) -> Vec<Tensor> {
    let all = groups * channels;
    vec![
        noise("u", &[batch, all, length], 0.0, 1.0),
        noise("delta", &[batch, all, length], 0.0, 1.0),
        noise("a", &[all, states], -2.0, 1.5),
        noise("b", &[batch, groups, states, length], 0.0, 1.0),
        noise("c", &[batch, groups, states, length], 0.0, 1.0),
        noise("d", &[all], 1.0, 0.5),
        noise("bias", &[all], -1.0, 1.0),
    ]
}

/// Inputs of [`four_direction_scan`], f64.
fn map(dims: [usize; 4], rank: usize, states: usize) -> Vec<Tensor> {
    let [batch, height, width, channels] = dims;
    vec![
        noise("x", &dims, 0.0, 1.0),
        noise("x_dbl", &[batch, height, width, 4 * (rank + 2 * states)], 0.0, 1.0),
        noise("dt_weight", &[4, channels, rank], 0.0, 0.7),
        noise("dt_bias", &[4, channels], -1.0, 1.0),
        noise("a_logs", &[4 * channels, states], 0.0, 1.0),
        noise("ds", &[4 * channels], 1.0, 0.5),
    ]
}

fn scan_rows(x: &[Tensor]) -> Result<Node> {
    selective_scan(&x[0], &x[1], &x[2], &x[3], &x[4], &x[5], &x[6])
}

fn scan_map(x: &[Tensor]) -> Result<Node> {
    four_direction_scan(&x[0], &x[1], &x[2], &x[3], &x[4], &x[5])
}

/// The recurrence of [`selective_scan`], one step at a time in plain tensor operations.
fn plain_rows(x: &[Tensor]) -> Result<Tensor> {
    let [u, delta, a, b, c, d, bias] = x else { panic!("seven inputs") };
    let (batch, all, length) = u.dims3()?;
    let (_, groups, states, _) = b.dims4()?;
    let rows = all / groups;
    let spread = |x: &Tensor| {
        x.unsqueeze(2)?.broadcast_as((batch, groups, rows, states, length))?.reshape((batch, all, states, length))
    };
    let (b, c) = (spread(b)?, spread(c)?);
    let delta = ((delta.broadcast_add(&bias.reshape((1, all, 1))?)?.exp()? + 1.0)?).log()?;
    let mut h = Tensor::zeros((batch, all, states), u.dtype(), u.device())?;
    let mut ys = vec![];
    for t in 0..length {
        let at = |x: &Tensor| x.narrow(x.rank() - 1, t, 1);
        let (step, input) = (at(&delta)?, at(u)?);
        let decay = step.broadcast_mul(&a.unsqueeze(0)?)?.exp()?;
        h = ((decay * h)? + at(&b)?.squeeze(3)?.broadcast_mul(&(&step * &input)?)?)?;
        ys.push(((&h * at(&c)?.squeeze(3)?)?.sum_keepdim(2)? + d.reshape((1, all, 1))?.broadcast_mul(&input)?)?);
    }
    Tensor::cat(&ys, 2)
}

/// [`four_direction_scan`] by unfolding the map into four sequences.
fn plain_map(x: &[Tensor]) -> Result<Tensor> {
    let [x, x_dbl, dt_weight, dt_bias, a_logs, ds] = x else { panic!("six inputs") };
    let (batch, height, width, channels) = x.dims4()?;
    let (rank, states, length) = (dt_weight.dim(2)?, a_logs.dim(1)?, height * width);
    let flip = |x: &Tensor| {
        let last: Vec<u32> = (0..length as u32).rev().collect();
        x.index_select(&Tensor::new(last, x.device())?, 2)
    };
    let mut sum = Tensor::zeros((batch, channels, length), x.dtype(), x.device())?;
    for k in 0..4 {
        // Channel-first sequence of direction k.
        let unfold = |x: &Tensor| {
            let x = if k % 2 == 0 { x.permute((0, 3, 1, 2))? } else { x.permute((0, 3, 2, 1))? }.flatten_from(2)?;
            if k < 2 { Ok(x) } else { flip(&x) }
        };
        let own = |x: &Tensor| x.narrow(0, k * channels, channels);
        let projected = unfold(&x_dbl.narrow(3, k * (rank + 2 * states), rank + 2 * states)?)?;
        let low = projected.narrow(1, 0, rank)?;
        let delta = dt_weight.get(k)?.broadcast_left(batch)?.matmul(&low.contiguous()?)?;
        let part = |i: usize| projected.narrow(1, rank + i * states, states)?.unsqueeze(1);
        let a = own(a_logs)?.exp()?.neg()?;
        let y = plain_rows(&[unfold(x)?, delta, a, part(0)?, part(1)?, own(ds)?, dt_bias.get(k)?])?;
        let y = if k < 2 { y } else { flip(&y)? };
        let y = if k % 2 == 0 {
            y
        } else {
            y.reshape((batch, channels, width, height))?.transpose(2, 3)?.flatten_from(2)?
        };
        sum = (sum + y)?;
    }
    sum.reshape((batch, channels, height, width))?.permute((0, 2, 3, 1))
}

/// Forward and every gradient of `f` and `plain` at the same inputs.
fn assert_same(
    what: &str,
    inputs: &[Tensor],
    dtype: DType,
    tolerance: f64,
    f: impl Fn(&[Tensor]) -> Result<Node>,
    plain: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<()> {
    let run = |dtype: DType, f: &dyn Fn(&[Tensor]) -> Result<Node>| -> Result<Map> {
        let vars = inputs.iter().map(|x| Var::from_tensor(&x.to_dtype(dtype)?)).collect::<Result<Vec<_>>>()?;
        let out = f(&vars.iter().map(|v| v.as_tensor().clone()).collect::<Vec<_>>())?;
        let output = ("output".to_string(), out.value().clone());
        let grads = gradients(what, out)?;
        let grad = |(i, v)| (format!("gradient {i}"), grads.get(v).unwrap().clone());
        Ok(vars.iter().map(Var::as_tensor).enumerate().map(grad).chain([output]).collect())
    };
    let plain = |x: &[Tensor]| Ok(Node::from(&plain(x)?));
    assert_maps_close(what, &run(dtype, &f)?, &run(DType::F64, &plain)?, tolerance)
}

#[test]
fn scans_match_the_plain_recurrence() -> Result<()> {
    for dtype in [DType::F64, DType::F32] {
        let tolerance = if dtype == DType::F64 { 1e-13 } else { TOLERANCE };
        let inputs = rows(2, 2, 19, 16, 131);
        assert_same("rows", &inputs, dtype, tolerance, scan_rows, plain_rows)?;
        for dims in [[2, 9, 15, 20], [1, 1, 70, 16], [1, 65, 1, 3], [3, 1, 1, 5], [1, 8, 8, 150]] {
            assert_same(&format!("map {dims:?}"), &map(dims, 3, 5), dtype, tolerance, scan_map, plain_map)?;
        }
        assert_same("ranks", &map([2, 5, 7, 36], 9, 16), dtype, tolerance, scan_map, plain_map)?;
        assert_same("states", &map([2, 9, 7, 6], 5, 21), dtype, tolerance, scan_map, plain_map)?;
        assert_same("states of parts", &rows(1, 1, 3, 21, 150), dtype, tolerance, scan_rows, plain_rows)?;
        assert_same("states of rows", &rows(1, 2, 5, 64, 75), dtype, tolerance, scan_rows, plain_rows)?;
    }
    Ok(())
}

#[test]
fn gradients_match_finite_differences() -> Result<()> {
    assert_gradients("rows", &rows(2, 2, 3, 4, 133), 1e-8, scan_rows)?;
    assert_gradients("map", &map([2, 12, 11, 5], 2, 3), 1e-8, scan_map)?;
    assert_gradients("one pixel", &map([1, 1, 1, 17], 1, 16), 1e-8, scan_map)
}

/// Only kernels take bf16: maps of it, and parameters in f32.
#[test]
fn bf16_is_as_close_as_it_can_be() -> Result<()> {
    if !takes_bf16()? {
        return Ok(());
    }
    let run = |dtype: DType| -> Result<Vec<Tensor>> {
        let cast = |(i, x): (usize, &Tensor)| {
            let x = if i < 2 { x.to_dtype(DType::BF16)?.to_dtype(dtype)? } else { x.to_dtype(DType::F32)? };
            Var::from_tensor(&x)
        };
        let vars = map([2, 12, 13, 20], 4, 16).iter().enumerate().map(cast).collect::<Result<Vec<_>>>()?;
        let out = scan_map(&vars.iter().map(|v| v.as_tensor().clone()).collect::<Vec<_>>())?;
        let value = out.value().to_dtype(DType::F32)?;
        let grads = gradients("bf16", out)?;
        let grad = |v: &Var| grads.get(v).unwrap().to_dtype(DType::F32);
        vars.iter().map(grad).chain([Ok(value)]).collect()
    };
    for (i, (bf16, f32)) in run(DType::BF16)?.iter().zip(&run(DType::F32)?).enumerate() {
        assert_close(&format!("result {i}"), bf16, f32, 4e-3)?;
    }
    Ok(())
}

#[test]
#[cfg(feature = "emulation")]
fn more_states_or_ranks_than_kernels_have_are_errors() {
    let message = |inputs: &[Tensor]| scan_map(inputs).err().unwrap().to_string();
    assert!(message(&map([1, 2, 2, 3], 2, 65)).contains("up to 64 states"));
    assert!(message(&map([1, 2, 2, 3], 129, 4)).contains("up to 64 states and 128 low-rank step sizes, not 4 and 129"));
}

#[test]
fn layout_does_not_matter() -> Result<()> {
    let inputs = map([2, 5, 6, 7], 2, 4);
    let strided = |x: &Tensor| {
        let last = x.rank() - 1;
        Tensor::stack(&[x, x], 0)?.transpose(0, last)?.contiguous()?.transpose(0, last)?.narrow(0, 1, 1)?.squeeze(0)
    };
    let moved = inputs.iter().map(strided).collect::<Result<Vec<_>>>()?;
    assert!(moved.iter().any(|x| !x.is_contiguous()));
    assert_close("strided", &scan_map(&moved)?, &scan_map(&inputs)?, 0.0)
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() -> Result<()> {
    let run = |threads: usize, dims: [usize; 4]| -> Result<Vec<Vec<f32>>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let inputs = map(dims, 2, 16);
            let single = |x: &Tensor| Var::from_tensor(&x.to_dtype(DType::F32)?);
            let vars = inputs.iter().map(single).collect::<Result<Vec<_>>>()?;
            let out = scan_map(&vars.iter().map(|v| v.as_tensor().clone()).collect::<Vec<_>>())?;
            let value = out.value().clone();
            let grads = gradients("threads", out)?;
            let all = vars.iter().map(|v| grads.get(v).unwrap().clone()).chain([value]);
            all.map(|x| x.flatten_all()?.to_vec1()).collect()
        })
    };
    for dims in [[3, 12, 9, 40], [1, 12, 13, 40]] {
        let one = run(1, dims)?;
        assert_eq!(one, run(2, dims)?);
        assert_eq!(one, run(5, dims)?);
    }
    Ok(())
}

#[test]
fn wrong_shapes_are_errors_that_name_the_argument() {
    let message = |inputs: &[Tensor]| scan_map(inputs).err().unwrap().to_string();
    let good = map([1, 4, 4, 6], 2, 4);
    let with = |i: usize, shape: &[usize]| {
        let mut inputs = good.clone();
        inputs[i] = noise("wrong", shape, 0.0, 1.0);
        message(&inputs)
    };
    assert!(with(0, &[4, 4, 6]).contains("x (B, H, W, D)"));
    assert!(with(1, &[1, 4, 4, 41]).contains("x_dbl [1, 4, 4, 40]"));
    assert!(with(2, &[4, 5, 2]).contains("dt_weight [4, 6, 2]"));
    assert!(with(3, &[6, 4]).contains("dt_bias [4, 6]"));
    assert!(with(4, &[6, 4]).contains("a_logs [24, 4]"));
    assert!(with(5, &[6]).contains("ds [24]"));
    assert!(message(&map([1, 0, 4, 6], 2, 4)).contains("non-empty"));
    assert!(with(0, &[2, 4, 4, 6]).contains("x_dbl [2, 4, 4, 40]"));
    let integers: Vec<Tensor> = good.iter().map(|x| x.to_dtype(DType::U32).unwrap()).collect();
    assert!(message(&integers).contains("only f32 and f64"));
}
