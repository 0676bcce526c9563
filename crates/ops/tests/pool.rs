//! Pooling against sums written out, and against finite differences.

use candle_core::{DType, Result, Tensor, Var};
use colormamba_ops::{Node, adaptive_avg_pool_tokens, avg_pool2d, blur_pool2d, max_filter2d, max_pool2d, max_pool3x3};
use colormamba_testkit::{assert_close, assert_gradients, device, noise_tensor};

const EXACT: f64 = 1e-15;
const SINGLE: f64 = 1e-7;

fn image(name: &str) -> Result<Tensor> {
    // Stored with height and width swapped: not contiguous.
    noise_tensor(name, (2, 3, 7, 5))?.to_dtype(DType::F64)?.transpose(2, 3)
}

/// Both precisions of `f` against `want(plane, i, j)` for every 2x2 block of a 5x7 image.
fn check_blocks(name: &str, f: fn(&Tensor) -> Result<Node>, want: fn([f64; 4]) -> f64) -> Result<()> {
    let x = image(name)?;
    let v = x.flatten_all()?.to_vec1::<f64>()?;
    let mut expected = Vec::new();
    for (plane, i, j) in (0..6).flat_map(|p| (0..2).flat_map(move |i| (0..3).map(move |j| (p, i, j)))) {
        let at = |di: usize, dj: usize| v[plane * 35 + (2 * i + di) * 7 + 2 * j + dj];
        expected.push(want([at(0, 0), at(0, 1), at(1, 0), at(1, 1)]));
    }
    let expected = Tensor::from_vec(expected, (2, 3, 2, 3), &device())?;
    assert_close(name, &f(&x)?, &expected, EXACT)?;
    assert_close(name, &f(&x.to_dtype(DType::F32)?)?, &expected, SINGLE)?;
    assert_gradients(name, &[x], 1e-8, |x| f(&x[0]))
}

#[test]
fn max_pool_takes_the_largest_of_each_block() -> Result<()> {
    check_blocks("max_pool2d", |x| max_pool2d(x), |b| b.into_iter().fold(f64::MIN, f64::max))
}

#[test]
fn avg_pool_takes_the_mean_of_each_block() -> Result<()> {
    check_blocks("avg_pool2d", |x| avg_pool2d(x), |b| b.iter().sum::<f64>() / 4.0)
}

#[test]
fn max_pool_gradient_goes_to_the_first_of_equal_maxima_unscaled() -> Result<()> {
    let x = Var::new(&[[[[1f32, 1.0, 0.0], [1.0, 1.0, 9.0], [5.0, 5.0, 5.0]]]], &device())?;
    let grads = max_pool2d(x.as_tensor())?.backward(&Tensor::new(&[[[[3f32]]]], &device())?)?;
    let grad = grads.get(&x).expect("tracked").flatten_all()?.to_vec1::<f32>()?;
    assert_eq!(grad, [3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    Ok(())
}

#[test]
fn max_pool_lets_a_nan_through() -> Result<()> {
    let x = Tensor::new(&[[[[f32::NAN, 1.0], [2.0, 3.0]]]], &device())?;
    assert!(max_pool2d(&x)?.value().flatten_all()?.to_vec1::<f32>()?[0].is_nan());
    Ok(())
}

/// Bins that divide the map, overlap, equal it, and outnumber its tokens.
#[test]
fn adaptive_pool_averages_pytorchs_bins() -> Result<()> {
    let (b, h, w, c) = (2, 9, 5, 3);
    let x = noise_tensor("adaptive", (b, c, h, w))?.to_dtype(DType::F64)?.permute((0, 2, 3, 1))?;
    let v = x.flatten_all()?.to_vec1::<f64>()?;
    for side in [1, 3, 5, 7] {
        let mut expected = Vec::new();
        for n in 0..b {
            for (i, j, ch) in (0..side).flat_map(|i| (0..side).flat_map(move |j| (0..c).map(move |ch| (i, j, ch)))) {
                let (y0, y1) = (i * h / side, ((i + 1) * h).div_ceil(side));
                let (x0, x1) = (j * w / side, ((j + 1) * w).div_ceil(side));
                let bin = (y0..y1).flat_map(|y| (x0..x1).map(move |x| ((n * h + y) * w + x) * c + ch));
                expected.push(bin.map(|p| v[p]).sum::<f64>() / ((y1 - y0) * (x1 - x0)) as f64);
            }
        }
        let expected = Tensor::from_vec(expected, (b, side * side, c), &device())?;
        assert_close("adaptive", &adaptive_avg_pool_tokens(&x, side)?, &expected, EXACT)?;
        assert_close("adaptive", &adaptive_avg_pool_tokens(&x.to_dtype(DType::F32)?, side)?, &expected, SINGLE)?;
        assert_gradients("adaptive", std::slice::from_ref(&x), 1e-8, |x| adaptive_avg_pool_tokens(&x[0], side))?;
    }
    Ok(())
}

/// Odd and even sizes, with and without windows that reach beyond the image; values and gradients.
#[test]
fn max_pool3x3_takes_the_largest_of_pytorchs_windows() -> Result<()> {
    // Input, output, output with `ceil`.
    for (n, floor, ceil) in [(3, 1, 1), (4, 1, 2), (5, 2, 2), (6, 2, 3), (7, 3, 3), (8, 3, 4)] {
        let (h, w) = (n, 11 - n);
        // Stored with height and width swapped: not contiguous.
        let x = noise_tensor("pool3x3", (2, 3, w, h))?.to_dtype(DType::F64)?.transpose(2, 3)?;
        let v = x.flatten_all()?.to_vec1::<f64>()?;
        for (up, rows) in [(false, floor), (true, ceil)] {
            let columns = if up { (w - 3).div_ceil(2) } else { (w - 3) / 2 } + 1;
            let mut expected = Vec::new();
            for (plane, i, j) in (0..6).flat_map(|p| (0..rows).flat_map(move |i| (0..columns).map(move |j| (p, i, j))))
            {
                let window = (2 * i..(2 * i + 3).min(h)).flat_map(|y| (2 * j..(2 * j + 3).min(w)).map(move |x| (y, x)));
                expected.push(window.map(|(y, x)| v[(plane * h + y) * w + x]).fold(f64::MIN, f64::max));
            }
            let expected = Tensor::from_vec(expected, (2, 3, rows, columns), &device())?;
            assert_close("max_pool3x3", &max_pool3x3(&x, up)?, &expected, EXACT)?;
            assert_close("max_pool3x3", &max_pool3x3(&x.to_dtype(DType::F32)?, up)?, &expected, SINGLE)?;
            assert_gradients("max_pool3x3", std::slice::from_ref(&x), 1e-8, |x| max_pool3x3(&x[0], up))?;
        }
    }
    Ok(())
}

#[test]
fn max_pool3x3_gradient_goes_to_the_first_of_equal_maxima_once_a_window() -> Result<()> {
    // The one in the middle is the maximum of both windows, the first of the equal ones in the second.
    let x = Var::new(&[[[[0f32, 0.0, 1.0, 0.0, 1.0], [0.0; 5], [0.0; 5]]]], &device())?;
    let grads = max_pool3x3(x.as_tensor(), false)?.backward(&Tensor::new(&[[[[3f32, 4.0]]]], &device())?)?;
    let grad = grads.get(&x).expect("tracked").flatten_all()?.to_vec1::<f32>()?;
    assert_eq!(grad[..5], [0.0, 0.0, 7.0, 0.0, 0.0]);
    assert!(grad[5..].iter().all(|g| *g == 0.0));
    let x = Tensor::new(&[[[[1f32, f32::NAN], [2.0, 3.0]]]], &device())?;
    assert!(max_pool3x3(&x, true)?.value().flatten_all()?.to_vec1::<f32>()?[0].is_nan());
    Ok(())
}

#[test]
fn max_filter_takes_the_largest_of_every_window() -> Result<()> {
    let (h, w) = (5, 7);
    let x = noise_tensor("filter", (2, 3, w, h))?.to_dtype(DType::F64)?.transpose(2, 3)?;
    let v = &x.flatten_all()?.to_vec1::<f64>()?;
    for side in [1, 2, 3, 5] {
        let (rows, columns) = (h + 1 - side, w + 1 - side);
        let largest = |(plane, i, j): (usize, usize, usize)| {
            let window = (i..i + side).flat_map(|y| (j..j + side).map(move |x| v[(plane * h + y) * w + x]));
            window.fold(f64::MIN, f64::max)
        };
        let places = (0..6).flat_map(|p| (0..rows).flat_map(move |i| (0..columns).map(move |j| (p, i, j))));
        let expected = Tensor::from_vec(places.map(largest).collect(), (2, 3, rows, columns), &device())?;
        assert_close("max_filter2d", &max_filter2d(&x, side)?, &expected, EXACT)?;
        assert_close("max_filter2d", &max_filter2d(&x.to_dtype(DType::F32)?, side)?, &expected, SINGLE)?;
        assert_gradients("max_filter2d", std::slice::from_ref(&x), 1e-8, |x| max_filter2d(&x[0], side))?;
    }
    let x = Tensor::new(&[[[[1f32, f32::NAN], [2.0, 3.0]]]], &device())?;
    assert!(max_filter2d(&x, 2)?.value().flatten_all()?.to_vec1::<f32>()?[0].is_nan());
    Ok(())
}

/// Mirrored, blurred and thinned out one after the other, with the nine weights of both axes at once.
#[test]
fn blur_pool_blurs_the_mirrored_image_and_keeps_every_second_pixel() -> Result<()> {
    let mirrored = |at: usize, n: usize| match at as isize - 2 {
        at if at < 0 => at.unsigned_abs(),
        at => {
            if (at as usize) < n {
                at as usize
            } else {
                2 * (n - 1) - at as usize
            }
        }
    };
    for (h, w) in [(3, 4), (4, 3), (5, 8), (8, 5)] {
        let x = noise_tensor("blur", (2, 3, w, h))?.to_dtype(DType::F64)?.transpose(2, 3)?;
        let v = x.flatten_all()?.to_vec1::<f64>()?;
        let (rows, columns) = (h.div_ceil(2) + 1, w.div_ceil(2) + 1);
        let blurred = |(plane, i, j): (usize, usize, usize)| {
            let taps = (0..3).flat_map(|dy| (0..3).map(move |dx| (dy, dx)));
            let at = |(dy, dx)| v[(plane * h + mirrored(2 * i + dy, h)) * w + mirrored(2 * j + dx, w)];
            taps.map(|(dy, dx)| [1.0, 2.0, 1.0][dy] * [1.0, 2.0, 1.0][dx] / 16.0 * at((dy, dx))).sum::<f64>()
        };
        let places = (0..6).flat_map(|p| (0..rows).flat_map(move |i| (0..columns).map(move |j| (p, i, j))));
        let expected = Tensor::from_vec(places.map(blurred).collect(), (2, 3, rows, columns), &device())?;
        assert_close("blur_pool2d", &blur_pool2d(&x)?, &expected, EXACT)?;
        assert_close("blur_pool2d", &blur_pool2d(&x.to_dtype(DType::F32)?)?, &expected, SINGLE)?;
        assert_gradients("blur_pool2d", std::slice::from_ref(&x), 1e-8, |x| blur_pool2d(&x[0]))?;
    }
    Ok(())
}

fn is_op_error(op: &str, result: Result<Node>) -> bool {
    // Candle boxes an `OpError` so that only its message can be seen; it begins with the operation.
    result.is_err_and(|e| e.to_string().starts_with(&format!("{op}: ")))
}

#[test]
fn wrong_arguments_are_op_errors() -> Result<()> {
    let image = |shape: (usize, usize, usize, usize)| Tensor::zeros(shape, DType::F32, &device());
    for op in ["max_pool2d", "avg_pool2d"] {
        let f = |x: &Tensor| if op == "max_pool2d" { max_pool2d(x) } else { avg_pool2d(x) };
        assert!(is_op_error(op, f(&image((1, 1, 1, 4))?)));
        assert!(is_op_error(op, f(&image((1, 1, 4, 1))?)));
        assert!(is_op_error(op, f(&image((1, 1, 4, 4))?.flatten(0, 1)?)));
        assert!(is_op_error(op, f(&image((1, 1, 4, 4))?.to_dtype(DType::U8)?)));
    }
    assert!(is_op_error("max_pool3x3", max_pool3x3(&image((1, 1, 2, 4))?, false)));
    assert!(is_op_error("max_pool3x3", max_pool3x3(&image((1, 1, 1, 4))?, true)));
    assert!(is_op_error("max_filter2d", max_filter2d(&image((1, 1, 2, 4))?, 3)));
    assert!(is_op_error("max_filter2d", max_filter2d(&image((1, 1, 20, 20))?, 0)));
    assert!(is_op_error("max_filter2d", max_filter2d(&image((1, 1, 20, 20))?, 17)));
    assert!(is_op_error("blur_pool2d", blur_pool2d(&image((1, 1, 2, 4))?)));
    assert!(is_op_error("blur_pool2d", blur_pool2d(&image((1, 1, 4, 2))?)));
    assert!(is_op_error("adaptive_avg_pool_tokens", adaptive_avg_pool_tokens(&image((1, 4, 4, 2))?, 0)));
    assert!(is_op_error("adaptive_avg_pool_tokens", adaptive_avg_pool_tokens(&image((1, 0, 4, 2))?, 2)));
    Ok(())
}
