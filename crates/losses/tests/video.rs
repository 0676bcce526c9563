//! Losses between frames of a video.

use crate::common::Outcome;
use candle_core::{DType, Tensor, Var};
use colormamba_losses::{LossError, temporal_feature_loss, warp, warp_loss};
use colormamba_ops::Node;
use colormamba_testkit::{assert_gradients, device, noise_tensor, unit_image};

fn f64s(x: &Tensor) -> candle_core::Result<Vec<f64>> {
    x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

fn doubled(x: Tensor) -> candle_core::Result<Tensor> {
    x.to_dtype(DType::F64)
}

/// The same motion for every pixel.
fn motion(x: f64, y: f64, (b, h, w): (usize, usize, usize)) -> candle_core::Result<Tensor> {
    Tensor::new(&[x, y], &device())?.reshape((1, 2, 1, 1))?.broadcast_as((b, 2, h, w))
}

/// Pixel by pixel; the flow `[channel][row][column]`.
fn sampled(plane: &[Vec<f64>], flow: &[Vec<Vec<f64>>], i: usize, j: usize) -> f64 {
    let (h, w) = (plane.len() as i64, plane[0].len() as i64);
    let (y, x) = (i as f64 + flow[1][i][j], j as f64 + flow[0][i][j]);
    let (y, x) = (y.clamp(0.0, (h - 1) as f64), x.clamp(0.0, (w - 1) as f64));
    let mut sum = 0.0;
    for (row, line) in plane.iter().enumerate() {
        for (column, value) in line.iter().enumerate() {
            sum += (1.0 - (y - row as f64).abs()).max(0.0) * (1.0 - (x - column as f64).abs()).max(0.0) * value;
        }
    }
    sum
}

#[test]
fn no_motion_changes_nothing() -> Outcome {
    let image = unit_image("video.still", (2, 5, 9, 7))?;
    let warped = warp(&Node::from(&image), &motion(0.0, 0.0, (2, 9, 7))?)?;
    assert_eq!(f64s(warped.value())?, f64s(&image)?);
    Ok(())
}

#[test]
fn whole_pixels_are_moved_and_the_border_repeated() -> Outcome {
    let image = unit_image("video.shift", (1, 2, 6, 8))?;
    // Three to the right and one up: the image moves to the left and down.
    let warped = warp(&Node::from(&image), &motion(3.0, -1.0, (1, 6, 8))?)?.value().clone();
    assert_eq!(f64s(&warped.narrow(2, 1, 5)?.narrow(3, 0, 5)?)?, f64s(&image.narrow(2, 0, 5)?.narrow(3, 3, 5)?)?);
    for column in 5..8 {
        let border = image.narrow(3, 7, 1)?.narrow(2, 0, 5)?;
        assert_eq!(f64s(&warped.narrow(3, column, 1)?.narrow(2, 1, 5)?)?, f64s(&border)?);
    }
    assert_eq!(f64s(&warped.narrow(2, 0, 1)?)?, f64s(&warped.narrow(2, 1, 1)?)?);
    Ok(())
}

#[test]
fn warping_is_what_the_formula_says() -> Outcome {
    let image = doubled(unit_image("video.image", (2, 3, 9, 11))?)?;
    let flow = doubled((noise_tensor("video.flow", (2, 2, 9, 11))? * 4.0)?)?;
    let got = warp(&Node::from(&image), &flow)?.value().clone();
    for b in 0..2 {
        let flow = flow.get(b)?.to_vec3::<f64>()?;
        for (plane, got) in image.get(b)?.to_vec3::<f64>()?.iter().zip(got.get(b)?.to_vec3::<f64>()?) {
            for (i, j) in (0..9).flat_map(|i| (0..11).map(move |j| (i, j))) {
                let want = sampled(plane, &flow, i, j);
                assert!((got[i][j] - want).abs() < 1e-14, "{i} {j}: {}, not {want}", got[i][j]);
            }
        }
    }
    let single = warp(&Node::from(&image.to_dtype(DType::F32)?), &flow.to_dtype(DType::F32)?)?;
    assert!((doubled(single.value().clone())? - got)?.abs()?.max_all()?.to_scalar::<f64>()? < 1e-6);
    Ok(())
}

/// 1 where noise is positive.
fn mask(name: &str, shape: (usize, usize, usize, usize)) -> candle_core::Result<Tensor> {
    noise_tensor(name, shape)?.gt(0.0)?.to_dtype(DType::F64)
}

#[test]
fn the_loss_is_a_mean_over_visible_pixels() -> Outcome {
    let shape = (2, 3, 7, 10);
    let [pred, previous] = [doubled(unit_image("video.p", shape)?)?, doubled(unit_image("video.q", shape)?)?];
    let flow = doubled((noise_tensor("video.flow", (2, 2, 7, 10))? * 2.0)?)?;
    let visible = mask("video.visible", (2, 1, 7, 10))?;
    let mut want = 0.0;
    for b in 0..2 {
        let (flow, visible) = (flow.get(b)?.to_vec3::<f64>()?, visible.get(b)?.to_vec3::<f64>()?);
        let (mut sum, mut count) = (0.0, 0.0);
        for (p, q) in pred.get(b)?.to_vec3::<f64>()?.iter().zip(previous.get(b)?.to_vec3::<f64>()?) {
            for (i, j) in (0..7).flat_map(|i| (0..10).map(move |j| (i, j))) {
                sum += visible[0][i][j] * (p[i][j] - sampled(&q, &flow, i, j)).abs();
                count += visible[0][i][j];
            }
        }
        want += sum / count / 2.0;
    }
    let loss = |visible: &Tensor| warp_loss(&Node::from(&pred), &Node::from(&previous), &flow, visible);
    let got = loss(&visible)?.value().to_scalar::<f64>()?;
    assert!((got - want).abs() < 1e-14, "{got}, not {want}");
    assert_eq!(loss(&visible.zeros_like()?)?.value().to_scalar::<f64>()?, 0.0);
    // Of a warped frame to itself there is no difference.
    let warped = warp(&Node::from(&previous), &flow)?;
    assert_eq!(warp_loss(&warped, &Node::from(&previous), &flow, &visible)?.value().to_scalar::<f64>()?, 0.0);
    Ok(())
}

#[test]
fn gradients_are_those_of_finite_differences() -> Outcome {
    let shape = (2, 3, 7, 10);
    let frames = [unit_image("video.p", shape)?, unit_image("video.q", shape)?];
    // Far enough to leave the image.
    let flow = (noise_tensor("video.flow", (2, 2, 7, 10))? * 5.0)?;
    let visible = mask("video.visible", (2, 1, 7, 10))?;
    let of = |loss: Result<Node, LossError>| loss.map_err(candle_core::Error::wrap);
    assert_gradients("warp", &frames[..1], 1e-9, |x| of(warp(&Node::from(&x[0]), &flow)))?;
    assert_gradients("warp_loss", &frames, 1e-8, |x| {
        of(warp_loss(&Node::from(&x[0]), &Node::from(&x[1]), &flow, &visible))
    })?;
    let (flow, visible) = (noise_tensor("video.flow", (2, 2, 21, 19))?, mask("video.visible", (2, 1, 21, 19))?);
    assert_gradients("temporal_feature_loss", &frames, 1e-8, |x| {
        of(temporal_feature_loss(&Node::from(&x[0]), &Node::from(&x[1]), &flow, &visible))
    })?;
    Ok(())
}

/// Images that moved by 8 pixels have feature maps of an eighth of their size that moved by 1, and of their own size by 8.
#[test]
fn features_move_by_their_share_of_the_flow() -> Outcome {
    let previous = unit_image("video.features", (1, 4, 5, 6))?;
    let moved = warp(&Node::from(&previous), &motion(1.0, -2.0, (1, 5, 6))?)?;
    let (flow, visible) = (motion(8.0, -12.0, (1, 30, 48))?, Tensor::ones((1, 1, 30, 48), DType::F64, &device())?);
    let loss = |features: &Node| temporal_feature_loss(features, &Node::from(&previous), &flow, &visible);
    assert_eq!(loss(&moved)?.value().to_scalar::<f64>()?, 0.0);
    assert!(loss(&Node::from(&previous))?.value().to_scalar::<f64>()? > 0.01);

    // At the frames' own size it is warp_loss; a feature whose pixels are half visible counts half.
    let (flow, visible) = (noise_tensor("video.flow", (1, 2, 5, 6))?, mask("video.visible", (1, 1, 5, 6))?);
    let nodes = (Node::from(&unit_image("video.other", (1, 4, 5, 6))?), Node::from(&previous));
    let at_features = temporal_feature_loss(&nodes.0, &nodes.1, &flow, &visible)?.value().to_scalar::<f64>()?;
    assert_eq!(at_features, warp_loss(&nodes.0, &nodes.1, &flow, &visible)?.value().to_scalar::<f64>()?);

    let still = Tensor::zeros((1, 2, 2, 4), DType::F64, &device())?;
    let visible = Tensor::new(&[[1.0, 0.0, 1.0, 1.0], [1.0, 0.0, 1.0, 1.0]], &device())?.reshape((1, 1, 2, 4))?;
    let features = |values: &[f64; 2]| Tensor::new(values, &device())?.reshape((1, 1, 1, 2));
    let (one, other) = (features(&[0.3, 0.0])?, features(&[0.0, 0.6])?);
    let got =
        temporal_feature_loss(&Node::from(&one), &Node::from(&other), &still, &visible)?.value().to_scalar::<f64>()?;
    assert!((got - (0.5 * 0.3 + 0.6) / 1.5).abs() < 1e-15, "{got}");
    Ok(())
}

/// A warped pixel gives its gradient to those that it comes from: their sum is the same.
#[test]
fn gradients_are_shared_out_whole() -> Outcome {
    let image = Var::from_tensor(&unit_image("video.image", (2, 3, 40, 33))?)?;
    let flow = (noise_tensor("video.flow", (2, 2, 40, 33))? * 9.0)?;
    let warped = warp(&Node::from(&image), &flow)?;
    let ones = warped.value().ones_like()?;
    let mut grads = warped.backward(&ones)?;
    let sum = f64s(&grads.remove(&image).expect("a gradient"))?.iter().sum::<f64>();
    assert!((sum - 2.0 * 3.0 * 40.0 * 33.0).abs() < 1e-2, "{sum}");
    Ok(())
}

#[test]
fn shapes_that_do_not_fit_are_errors() -> Outcome {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &device());
    let node = |shape: &[usize]| Ok::<_, candle_core::Error>(Node::from(&zeros(shape)?));
    let image = node(&[2, 3, 4, 5])?;
    for flow in [&[2, 2, 4, 4][..], &[1, 2, 4, 5], &[2, 3, 4, 5], &[2, 4, 5]] {
        assert!(matches!(warp(&image, &zeros(flow)?), Err(LossError::Flow { .. })), "{flow:?}");
    }
    assert!(matches!(warp(&node(&[0, 3, 4, 5])?, &zeros(&[0, 2, 4, 5])?), Err(LossError::Flow { .. })));
    let (flow, visible) = (zeros(&[2, 2, 4, 5])?, zeros(&[2, 1, 4, 5])?);
    for losses in [warp_loss, temporal_feature_loss] {
        for frame in [&[2, 3, 4, 4][..], &[1, 3, 4, 5], &[2, 3, 20]] {
            assert!(
                matches!(losses(&image, &node(frame)?, &flow, &visible), Err(LossError::Frames { .. })),
                "{frame:?}"
            );
        }
        for visible in [&[2, 2, 4, 5][..], &[1, 1, 4, 5], &[2, 1, 5, 4], &[2, 4, 5]] {
            assert!(
                matches!(losses(&image, &image, &flow, &zeros(visible)?), Err(LossError::Visible { .. })),
                "{visible:?}"
            );
        }
        assert!(matches!(losses(&image, &image, &zeros(&[1, 2, 4, 5])?, &visible), Err(LossError::Flow { .. })));
    }
    let nothing = temporal_feature_loss(&image, &image, &zeros(&[2, 2, 0, 5])?, &zeros(&[2, 1, 0, 5])?);
    assert!(matches!(nothing, Err(LossError::Flow { .. })));
    Ok(())
}
