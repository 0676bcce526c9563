//! What `cosine` and `hue` share.

use crate::colour::dual::Differentiable;

/// The length of a vector.
#[inline(always)]
pub(crate) fn length<N: Differentiable>([x, y, z]: [N; 3]) -> N {
    (x * x + y * y + z * z).sqrt()
}

/// |p||t| − p·t, which is |p||t| (1 − cos) of the angle between them.
#[inline(always)]
pub(crate) fn gap<N: Differentiable>([x, y, z]: [N; 3], [tx, ty, tz]: [f64; 3]) -> N {
    let lengths = length([x, y, z]) * length([tx, ty, tz]);
    let dot = x * tx + y * ty + z * tz;
    if dot.value() <= 0.0 {
        return lengths - dot;
    }
    // Of nearly parallel vectors the difference has no digits; |p|²|t|² − (p·t)² = |p × t|² has.
    let cross = [y * tz - z * ty, z * tx - x * tz, x * ty - y * tx];
    let [a, b, c] = cross;
    (a * a + b * b + c * c) / (lengths + dot)
}
