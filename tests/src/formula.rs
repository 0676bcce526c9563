//! Tensors that follow from a name and a shape (the rule of the golden files).

use crate::device;
use candle_core::{DType, Result, Shape, Tensor};

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

// Apart from the parameter store's own, on purpose: a test must not depend on what it tests.
fn fnv1a64(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3))
}

/// `n` values in `[-1, 1)`, exact in f32, from a SplitMix64 stream that starts at the FNV-1a hash of `name`.
pub fn noise(name: &str, n: usize) -> Vec<f64> {
    let start = fnv1a64(name);
    (1..=n as u64)
        .map(|i| {
            let mut z = start.wrapping_add(i.wrapping_mul(STEP));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            2.0 * (z >> 40) as f64 / (1u64 << 24) as f64 - 1.0
        })
        .collect()
}

fn tensor_f32(values: &[f64], shape: &Shape) -> Result<Tensor> {
    let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
    Tensor::from_vec(values, shape, &device())
}

/// [`noise`] as an f32 tensor.
pub fn noise_tensor(name: &str, shape: impl Into<Shape>) -> Result<Tensor> {
    let shape = shape.into();
    tensor_f32(&noise(name, shape.elem_count()), &shape)
}

/// The weight or buffer that the golden files use for `name`; the last dotted component picks the rule.
pub fn formula(name: &str, shape: impl Into<Shape>) -> Result<Tensor> {
    let shape = shape.into();
    let n = shape.elem_count();
    let last = name.rsplit('.').next().unwrap_or(name);
    if last == "num_batches_tracked" {
        return Tensor::zeros(&shape, DType::I64, &device());
    }
    let r = noise(name, n);
    let scaled = |offset: f64, scale: f64| r.iter().map(|v| offset + scale * v).collect::<Vec<_>>();
    let values = match last {
        "A_logs" => {
            let columns = shape.dims()[shape.rank() - 1];
            r.iter().enumerate().map(|(i, v)| ((i % columns) as f64 + 1.0).ln() + 0.1 * v).collect()
        }
        "dt_projs_bias" => scaled(-4.0, 1.5),
        "an_bias" | "na_bias" | "ah_bias" | "aw_bias" | "ha_bias" | "wa_bias" => scaled(0.0, 0.5),
        "gamma" if n == 1 => vec![0.5],
        "weight_u" | "weight_v" => {
            let norm = r.iter().map(|v| v * v).sum::<f64>().sqrt();
            r.iter().map(|v| v / norm).collect()
        }
        "running_mean" => scaled(0.0, 0.1),
        "running_var" | "Ds" | "skip_scale" | "skip_scale2" => scaled(1.0, 0.1),
        "weight" if shape.rank() == 1 => scaled(1.0, 0.1),
        _ if shape.rank() <= 1 => scaled(0.0, 0.1),
        _ => scaled(0.0, (3.0 / (n / shape.dims()[0]) as f64).sqrt()),
    };
    tensor_f32(&values, &shape)
}

/// An f32 image in `[0, 1)`: coarse noise, bilinearly enlarged 16 times, plus 10 % fine noise. `shape`: `(.., H, W)`.
pub fn unit_image(name: &str, shape: impl Into<Shape>) -> Result<Tensor> {
    let shape = shape.into();
    let dims = shape.dims();
    let (h, w) = (dims[dims.len() - 2], dims[dims.len() - 1]);
    let k = shape.elem_count() / (h * w);
    let (gh, gw) = (h / 16 + 2, w / 16 + 2);
    let coarse: Vec<f64> = noise(&format!("{name}.coarse"), k * gh * gw).iter().map(|v| (v + 1.0) / 2.0).collect();
    let fine = noise(&format!("{name}.fine"), k * h * w);
    let values: Vec<f64> = (0..k * h * w)
        .map(|i| {
            let (plane, y, x) = (i / (h * w), i / w % h, i % w);
            let (fy, fx) = ((y % 16) as f64 / 16.0, (x % 16) as f64 / 16.0);
            let at = |dy: usize, dx: usize| coarse[(plane * gh + y / 16 + dy) * gw + x / 16 + dx];
            let smooth =
                (at(0, 0) * (1.0 - fx) + at(0, 1) * fx) * (1.0 - fy) + (at(1, 0) * (1.0 - fx) + at(1, 1) * fx) * fy;
            0.9 * smooth + 0.1 * (fine[i] + 1.0) / 2.0
        })
        .collect();
    tensor_f32(&values, &shape)
}
