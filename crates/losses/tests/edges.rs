//! Terms that compare edges.

use crate::common::{Outcome, check_golden, gradient, objective, value};
use candle_core::{DType, Tensor};
use colormamba_losses::{LossError, Networks, Term};
use colormamba_ops::Node;
use colormamba_testkit::{assert_close, assert_gradients, device, noise_tensor};

#[test]
fn sobel_is_the_golden_one() -> Outcome {
    check_golden("sobel_l1", &[(Term::Sobel {}, 1.0)], 1e-6, 1e-6)
}

#[test]
fn laplacian_is_the_golden_one() -> Outcome {
    check_golden("laplacian_l1", &[(Term::Laplacian {}, 1.0)], 1e-6, 1e-6)
}

#[test]
fn total_variation_is_the_golden_one() -> Outcome {
    check_golden("total_variation", &[(Term::TotalVariation {}, 1.0)], 1e-6, 1e-6)
}

const ALL: [Term; 3] = [Term::Sobel {}, Term::Laplacian {}, Term::TotalVariation {}];

fn pair(shape: (usize, usize, usize, usize)) -> candle_core::Result<[Tensor; 2]> {
    Ok([noise_tensor("edges p", shape)?.to_dtype(DType::F64)?, noise_tensor("edges t", shape)?.to_dtype(DType::F64)?])
}

/// The terms of [`ALL`] in plain loops.
fn plain(p: &Tensor, t: &Tensor) -> Result<[f64; 3], Box<dyn std::error::Error>> {
    let (b, c, h, w) = p.dims4()?;
    let (p, t) = (p.flatten_all()?.to_vec1::<f64>()?, t.flatten_all()?.to_vec1::<f64>()?);
    let d = |plane: usize, i: isize, j: isize| {
        let inside = (0..h as isize).contains(&i) && (0..w as isize).contains(&j);
        let at = plane * h * w + i as usize * w + j as usize;
        if inside { p[at] - t[at] } else { 0.0 }
    };
    let (mut sobel, mut laplacian, mut steps) = (0.0, 0.0, [0.0; 2]);
    for k in 0..b * c * h * w {
        let (plane, i, j) = (k / (h * w), (k / w % h) as isize, (k % w) as isize);
        let d = |y: isize, x: isize| d(plane, i + y, j + x);
        let right = d(-1, 1) + 2.0 * d(0, 1) + d(1, 1) - d(-1, -1) - 2.0 * d(0, -1) - d(1, -1);
        let down = d(1, -1) + 2.0 * d(1, 0) + d(1, 1) - d(-1, -1) - 2.0 * d(-1, 0) - d(-1, 1);
        sobel += right.abs() + down.abs();
        laplacian += (d(-1, 0) + d(1, 0) + d(0, -1) + d(0, 1) - 4.0 * d(0, 0)).abs();
        if k % w + 1 < w {
            steps[0] += (p[k + 1] - p[k]).abs();
        }
        if k / w % h + 1 < h {
            steps[1] += (p[k + w] - p[k]).abs();
        }
    }
    let (n, planes) = ((b * c * h * w) as f64, (b * c) as f64);
    let steps = steps[0] / (planes * (h * (w - 1)) as f64) + steps[1] / (planes * ((h - 1) * w) as f64);
    Ok([sobel / n, laplacian / n, steps])
}

#[test]
fn values_are_those_of_plain_loops() -> Outcome {
    // Fewer columns than a register has lanes, and more; several tasks.
    for shape in [(2, 3, 2, 3), (2, 3, 21, 13), (1, 3, 5, 37)] {
        let [p, t] = pair(shape)?;
        for (term, want) in ALL.iter().zip(plain(&p, &t)?) {
            let got = value(term, Networks::default(), &p, &t)?;
            assert!((got - want).abs() <= 1e-13 * want, "{term} at {shape:?}: {got}, not {want}");
        }
    }
    Ok(())
}

#[test]
fn gradients_are_those_of_finite_differences() -> Outcome {
    for shape in [(2, 3, 3, 5), (2, 3, 19, 23)] {
        let [p, t] = pair(shape)?;
        for term in ALL {
            let objective = objective(&[(term.clone(), 1.0)], Networks::default())?;
            let target = objective.target(&t)?;
            assert_gradients(term.name(), std::slice::from_ref(&p), 1e-7, |x| {
                let values = objective.values(&Node::from(&x[0]), &target);
                Ok(values.map_err(candle_core::Error::wrap)?.remove(0))
            })?;
        }
    }
    Ok(())
}

#[test]
fn values_known_in_closed_form() -> Outcome {
    let of = |term: &Term, p: &Tensor, t: &Tensor| value(term, Networks::default(), p, t);
    let zeros = Tensor::zeros((1, 3, 5, 6), DType::F64, &device())?;
    // 0.125 brighter with every column, 0.25 with every row.
    let ramp = |i: usize| (i % 6) as f64 * 0.125 + (i / 6 % 5) as f64 * 0.25;
    let ramp = Tensor::from_iter((0..90).map(ramp), &device())?.reshape((1, 3, 5, 6))?;
    assert_eq!(of(&Term::TotalVariation {}, &ramp, &zeros)?, 0.375);
    // A single pixel has four neighbours of 0, and none that differ from those opposite.
    let one = Tensor::full(0.5, (1, 3, 1, 1), &device())?;
    let none = one.zeros_like()?;
    assert_eq!(of(&Term::Laplacian {}, &one, &none)?, 2.0);
    assert_eq!(of(&Term::Sobel {}, &one, &none)?, 0.0);
    Ok(())
}

#[test]
fn total_variation_does_not_look_at_the_target() -> Outcome {
    let [p, t] = pair((2, 3, 6, 7))?;
    let of = |t: &Tensor| value(&Term::TotalVariation {}, Networks::default(), &p, t);
    assert_eq!(of(&t)?, of(&p)?);
    assert!(of(&p)? > 0.1);
    Ok(())
}

/// Responses that are 0 in numbers are 0 in rounded ones too, whatever the constant by which the images differ.
#[test]
fn the_gradient_at_a_kink_is_zero() -> Outcome {
    for (dtype, apart) in [DType::F32, DType::F64].into_iter().flat_map(|dtype| (1..20).map(move |n| (dtype, n))) {
        let t = Tensor::zeros((1, 3, 9, 40), dtype, &device())?;
        let p = (&t + f64::from(apart) / 21.0)?;
        for term in ALL {
            let objective = objective(&[(term.clone(), 1.0)], Networks::default())?;
            let (_, same) = gradient(&objective, &t, &t)?;
            let (_, apart) = gradient(&objective, &p, &t)?;
            // Next to the border the zeros beyond it make an edge.
            let inner = apart.narrow(2, 2, 5)?.narrow(3, 2, 36)?;
            for grad in [same, inner] {
                assert_eq!(grad.dtype(), dtype);
                assert_eq!(grad.abs()?.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?, 0.0, "{term}");
            }
        }
    }
    Ok(())
}

#[test]
fn single_precision_agrees_with_double() -> Outcome {
    let [p, t] = pair((2, 3, 33, 47))?;
    for term in ALL {
        let objective = objective(&[(term.clone(), 1.0)], Networks::default())?;
        let (value, grad) = gradient(&objective, &p, &t)?;
        let (value_32, grad_32) = gradient(&objective, &p.to_dtype(DType::F32)?, &t.to_dtype(DType::F32)?)?;
        assert!((value - value_32).abs() <= 1e-7 * value, "{term}: {value_32}, not {value}");
        assert_close(term.name(), &grad_32, &grad, 1e-6)?;
    }
    Ok(())
}

#[test]
fn total_variation_needs_two_pixels() -> Outcome {
    let x = Tensor::zeros((1, 3, 1, 5), DType::F32, &device())?;
    let got = value(&Term::TotalVariation {}, Networks::default(), &x, &x);
    assert!(matches!(got, Err(LossError::TooSmall { smallest: 2, .. })), "{got:?}");
    Ok(())
}
