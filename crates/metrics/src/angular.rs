//! Angular error, in its published and its exact form.

use crate::definition::Recipe;
use crate::{Best, Definition, Pair};

pub(crate) const PUBLISHED: Recipe = recipe("ae[published,deg]", "AE", |pair| mean(pair, published));
pub(crate) const EXACT: Recipe = recipe("ae[exact,deg]", "AE exact", |pair| mean(pair, exact));

const fn recipe(spec: &'static str, label: &'static str, value: fn(&Pair) -> f64) -> Recipe {
    Recipe { definition: Definition { spec, label, unit: "°", best: Best::Lowest, smallest_side: 1 }, value }
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
