//! Matrix products on strided views.

use colormamba_cpu::{Real, Shared};
use std::ops::Range;

/// A strided matrix: element `(r, c)` is `data[r * strides.0 + c * strides.1]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    /// From element `(0, 0)` on.
    pub data: &'a [T],
    /// Distance between rows, and between columns.
    pub strides: (usize, usize),
}

impl<T> Matrix<'_, T> {
    fn holds(&self, rows: usize, columns: usize) -> bool {
        last(rows, columns, self.strides) < self.data.len()
    }
}

fn last(rows: usize, columns: usize, strides: (usize, usize)) -> usize {
    (rows - 1) * strides.0 + (columns - 1) * strides.1
}

/// `dst = lhs (m, k) · rhs (k, n)`, or `dst += …` if `accumulate`, where `dst` is the `(m, n)` matrix of the given strides
/// that starts at an element of `shared`. On the calling thread.
///
/// # Safety
/// No other task or live borrow may use the elements of `dst` meanwhile.
pub(crate) unsafe fn multiply<T: Real>(
    (shared, at): (Shared<T>, usize),
    strides: (usize, usize),
    (m, k, n): (usize, usize, usize),
    lhs: Matrix<T>,
    rhs: Matrix<T>,
    accumulate: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(at + last(m, n, strides) < shared.len());
    assert!(k == 0 || (lhs.holds(m, k) && rhs.holds(k, n)));
    // SAFETY: all elements are in bounds by the assertions, and those of `dst` unaliased by the caller's promise.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            shared.as_mut_ptr().add(at),
            strides.1 as isize,
            strides.0 as isize,
            accumulate,
            lhs.data.as_ptr(),
            lhs.strides.1 as isize,
            lhs.strides.0 as isize,
            rhs.data.as_ptr(),
            rhs.strides.1 as isize,
            rhs.strides.0 as isize,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// `total` cut into at most `parts` ranges of equal length (the last may be shorter), each at least `least` long where
/// `total` is.
pub(crate) fn split(total: usize, parts: usize, least: usize) -> Vec<Range<usize>> {
    let length = total.div_ceil(parts.max(1)).max(least).max(1);
    (0..total).step_by(length).map(|start| start..(start + length).min(total)).collect()
}
