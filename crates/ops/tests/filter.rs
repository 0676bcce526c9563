//! The separable filter against the double sum, and against finite differences.

use candle_core::{DType, Result, Tensor};
use colormamba_ops::{Node, separable_filter};
use colormamba_testkit::{assert_close, assert_gradients, device, noise_tensor};

/// `(2, 3, h, w)`, stored with height and width swapped: not contiguous.
fn image(h: usize, w: usize) -> Result<Tensor> {
    noise_tensor("filter", (2, 3, w, h))?.to_dtype(DType::F64)?.transpose(2, 3)
}

#[test]
fn filter_is_the_valid_correlation() -> Result<()> {
    // Not symmetric, so that a flipped kernel is found; and as large as the image.
    for (h, w, taps) in [(9, 7, vec![0.5, -1.0, 2.0]), (5, 5, vec![1.0, 2.0, 3.0, 4.0, 5.0]), (3, 4, vec![2.0])] {
        let x = image(h, w)?;
        let v = x.flatten_all()?.to_vec1::<f64>()?;
        let n = taps.len();
        let (y_h, y_w) = (h - n + 1, w - n + 1);
        let pixel = |p: usize| {
            let (plane, i, j) = (p / (y_h * y_w), p / y_w % y_h, p % y_w);
            let at = |a: usize, b: usize| taps[a] * taps[b] * v[(plane * h + i + a) * w + j + b];
            (0..n * n).map(|t| at(t / n, t % n)).sum()
        };
        let want: Vec<f64> = (0..6 * y_h * y_w).map(pixel).collect();
        let want = Tensor::from_vec(want, (2, 3, y_h, y_w), &device())?;
        assert_close("filter", &separable_filter(&x, &taps)?, &want, 1e-14)?;
        assert_close("filter", &separable_filter(&x.to_dtype(DType::F32)?, &taps)?, &want, 1e-6)?;
        assert_gradients("filter", &[x], 1e-8, |x| separable_filter(&x[0], &taps))?;
    }
    Ok(())
}

fn is_op_error(op: &str, result: Result<Node>) -> bool {
    // Candle boxes an `OpError` so that only its message can be seen; it begins with the operation.
    result.is_err_and(|e| e.to_string().starts_with(&format!("{op}: ")))
}

#[test]
fn wrong_arguments_are_op_errors() -> Result<()> {
    let x = image(4, 5)?;
    assert!(is_op_error("separable_filter", separable_filter(&x, &[])));
    assert!(is_op_error("separable_filter", separable_filter(&x, &[0.2; 5])));
    assert!(is_op_error("separable_filter", separable_filter(&x.flatten(0, 1)?, &[1.0])));
    assert!(is_op_error("separable_filter", separable_filter(&x.to_dtype(DType::U8)?, &[1.0])));
    Ok(())
}
