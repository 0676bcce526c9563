//! Discriminators at several scales, and the penalty on their gradient.

use candle_core::{DType, Result, Tensor};
use colormamba::Discriminator;
use colormamba_layers::Params;
use colormamba_testkit::{device, noise_tensor, unit_image};
use std::collections::BTreeMap;

fn params(scales: usize) -> Result<(Params, Discriminator)> {
    let params = Params::new(3, DType::F64, &device());
    let discriminator = Discriminator::new(&params.root(), 4, scales)?;
    Ok((params, discriminator))
}

fn image(height: usize, width: usize) -> Result<Tensor> {
    unit_image("discriminator", (2, 3, height, width))?.to_dtype(DType::F64)
}

#[test]
fn every_scale_sees_the_image_at_half_the_size() -> Result<()> {
    let (params, discriminator) = params(3)?;
    let scores = discriminator.forward(&image(112, 96)?)?;
    let shapes: Vec<&[usize]> = scores.iter().map(|scores| scores.dims()).collect();
    assert_eq!(shapes, [[2, 1, 12, 10], [2, 1, 5, 4], [2, 1, 1, 1]]);
    assert_eq!(Discriminator::smallest_side(3), 96);
    let names = params.tensors();
    assert!(names.contains_key("scale0.model.0.weight") && names.contains_key("scale2.model.8.bias"));
    Ok(())
}

/// The sum of a discriminator's penalties, with its buffers as they are in `state`.
fn penalty(
    params: &Params,
    discriminator: &Discriminator,
    state: &BTreeMap<String, Tensor>,
    x: &Tensor,
) -> Result<f64> {
    params.load(state).map_err(candle_core::Error::wrap)?;
    discriminator.gradient_penalties(x)?.iter().map(|penalty| penalty.value().to_scalar::<f64>()).sum()
}

/// Every parameter's gradient along a random direction, against central differences.
#[test]
fn the_penalty_has_the_gradient_of_finite_differences() -> Result<()> {
    for scales in [1, 2] {
        let (params, discriminator) = params(scales)?;
        let x = image(25 * scales, 26 * scales)?;
        // No gradient passes through the power iterations. At singular vectors σ does not change with them to first order,
        // so there the differences, which move them, agree.
        for _ in 0..400 {
            discriminator.forward(&x)?;
        }
        let state: BTreeMap<_, _> =
            params.tensors().into_iter().map(|(name, t)| Ok((name, t.copy()?))).collect::<Result<_>>()?;
        let one = Tensor::new(1f64, &device())?;
        let penalties = discriminator.gradient_penalties(&x)?;
        let mut gradients = colormamba_ops::backward(penalties.into_iter().map(|p| (p, one.clone())).collect())?;
        for (name, var) in params.trainable() {
            let direction = noise_tensor(&name, var.shape())?.to_dtype(DType::F64)?;
            let got = match gradients.remove(&var) {
                Some(gradient) => (gradient * &direction)?.sum_all()?.to_scalar::<f64>()?,
                // A bias moves the scores but not their gradient.
                None => 0.0,
            };
            let at = |step: f64| {
                let mut moved = state.clone();
                moved.insert(name.clone(), (&state[&name] + (&direction * step)?)?);
                penalty(&params, &discriminator, &moved, &x)
            };
            // Small enough that hardly a leaky ReLU changes sides.
            const STEP: f64 = 1e-7;
            let want = (at(STEP)? - at(-STEP)?) / (2.0 * STEP);
            assert!((got - want).abs() <= 1e-4 * want.abs().max(1e-2), "{name}: {got}, not {want}");
        }
    }
    Ok(())
}

/// Against the gradient by central differences of the score itself.
#[test]
fn the_penalty_is_that_of_the_score_s_gradient() -> Result<()> {
    let (params, discriminator) = params(1)?;
    let x = image(24, 24)?.narrow(0, 0, 1)?;
    let state: BTreeMap<_, _> =
        params.tensors().into_iter().map(|(name, t)| Ok((name, t.copy()?))).collect::<Result<_>>()?;
    let score = |x: &Tensor| -> Result<f64> {
        params.load(&state).map_err(candle_core::Error::wrap)?;
        discriminator.forward(x)?[0].value().mean_all()?.to_scalar::<f64>()
    };
    let mut squares = 0.0;
    let values = x.flatten_all()?.to_vec1::<f64>()?;
    for i in 0..values.len() {
        let at = |step: f64| {
            let mut moved = values.clone();
            moved[i] += step;
            score(&Tensor::from_vec(moved, x.shape(), &device())?)
        };
        squares += ((at(1e-6)? - at(-1e-6)?) / 2e-6).powi(2);
    }
    let (got, want) = (penalty(&params, &discriminator, &state, &x)?, (squares.sqrt() - 1.0).powi(2));
    assert!((got - want).abs() < 1e-6, "{got}, not {want}");
    Ok(())
}
