//! Angular error, in its published and its exact form.

use crate::{Best, Definition, Measure, Pair};

impl Measure {
    /// Angle between the RGB vectors of prediction and target, `acos(a·b / (|a||b| + 1e-6))`, averaged over pixels: the form
    /// of published tables. The offset makes equal dark pixels differ by 0.1° to 2°, and counts a black pixel as 90°.
    ///
    /// In degrees, `[0, 90]`, lower is better. It compares colour regardless of brightness. Symmetric.
    ///
    /// Source: IEEE VCIP 2020 grand challenge on NIR image colorization.
    pub const ANGULAR_PUBLISHED: Self =
        Self { definition: &definition("ae[published,deg]", "ae", "AE"), value: |pair| mean(pair, published) };

    /// Angle between the RGB vectors, `atan2(|a×b|, a·b)`, averaged over pixels: accurate for small angles too. A pixel where
    /// either colour is black has no angle and counts as 0.
    ///
    /// In degrees, `[0, 90]`, lower is better. Symmetric.
    pub const ANGULAR_EXACT: Self =
        Self { definition: &definition("ae[exact,deg]", "ae[exact]", "AE exact"), value: |pair| mean(pair, exact) };
}

const fn definition(spec: &'static str, name: &'static str, label: &'static str) -> Definition {
    Definition { spec, name, label, unit: "°", best: Best::Lowest, smallest_side: 1 }
}

fn mean(pair: &Pair, angle: fn([f64; 3], [f64; 3]) -> f64) -> f64 {
    let sum: f64 = pair.pixels().map(|(pred, target)| angle(pred, target)).sum();
    (sum / (pair.height() * pair.width()) as f64).to_degrees()
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn published(a: [f64; 3], b: [f64; 3]) -> f64 {
    let cosine = dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt() + 1e-6);
    cosine.clamp(-1.0, 1.0).acos()
}

fn exact(a: [f64; 3], b: [f64; 3]) -> f64 {
    // atan2(0, 0) is 0: a black pixel needs no case of its own.
    let cross = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
    dot(cross, cross).sqrt().atan2(dot(a, b))
}
