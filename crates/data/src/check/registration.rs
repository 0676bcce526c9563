//! How far the two images of a pair are off.
//!
//! What is compared is the direction of edges, as a doubled angle weighted by their strength: `(gx + i·gy)² / |g|`. It is
//! the same for an edge from dark to bright as for one from bright to dark, which near infrared and colour do not share.
//! The correlation, `Re Σ a·conj(b) / √(Σ|a|² Σ|b|²)` over the overlap, is 1 for equal images; its largest value over all
//! shifts tells the offset. It is sought on the image at half its size first, then around the best place at full size.

use super::plane::{Plane, Sums, overlap};
use image::GrayImage;
use serde::Serialize;

/// Shifts are sought up to this many pixels in each direction.
pub const FARTHEST: u32 = 12;
/// Blur before the gradient, in pixels: noise has edges too.
const SIGMA: f32 = 1.0;

/// Where the NIR image lies relative to the RGB image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Offset {
    /// Pixels that the NIR image's content is to the right of the RGB image's.
    pub right: i32,
    /// Pixels that it is below.
    pub down: i32,
    /// Correlation of the edges there, up to 1.
    pub score: f64,
    /// The same without a shift.
    pub unshifted: f64,
}

impl Offset {
    /// Length of the shift in pixels.
    pub fn pixels(&self) -> f64 {
        f64::from(self.right).hypot(f64::from(self.down))
    }
}

/// `None` if the images are too small to tell, differ in size or have no edges.
pub(super) fn offset(nir: &GrayImage, luma: &GrayImage) -> Option<Offset> {
    let far = FARTHEST as isize;
    if nir.dimensions() != luma.dimensions() || nir.width().min(nir.height()) < 4 * FARTHEST {
        return None;
    }
    let (nir, luma) = (Plane::of(nir), Plane::of(luma));
    let half = (Edges::of(&nir.shrunk(2)), Edges::of(&luma.shrunk(2)));
    let coarse = best(&half.0, &half.1, window((0, 0), far / 2, far / 2))?;
    let whole = (Edges::of(&nir), Edges::of(&luma));
    let around = window((2 * coarse.0, 2 * coarse.1), 2, far);
    let (right, down, score) = best(&whole.0, &whole.1, around)?;
    let unshifted = whole.0.correlation(&whole.1, 0, 0)?;
    // A better place than none, or none: an edge of the window is no reason to move.
    if unshifted >= score {
        return Some(Offset { right: 0, down: 0, score: unshifted, unshifted });
    }
    Some(Offset { right: right as i32, down: down as i32, score, unshifted })
}

/// Shifts up to `reach` around a place, none beyond `far`.
fn window(centre: (isize, isize), reach: isize, far: isize) -> impl Iterator<Item = (isize, isize)> {
    let range = move |at: isize| (at - reach).max(-far)..=(at + reach).min(far);
    range(centre.1).flat_map(move |down| range(centre.0).map(move |right| (right, down)))
}

/// The shift with the largest correlation, the first of equals.
fn best(a: &Edges, b: &Edges, shifts: impl Iterator<Item = (isize, isize)>) -> Option<(isize, isize, f64)> {
    let mut best: Option<(isize, isize, f64)> = None;
    for (right, down) in shifts {
        let score = a.correlation(b, right, down)?;
        if best.is_none_or(|(_, _, most)| score > most) {
            best = Some((right, down, score));
        }
    }
    best
}

/// The field of edge directions.
struct Edges {
    re: Plane,
    im: Plane,
    energy: Sums,
}

impl Edges {
    fn of(image: &Plane) -> Self {
        let smooth = image.blurred(SIGMA);
        let (mut re, mut im) = (smooth.clone().map(|_| 0.0), smooth.clone().map(|_| 0.0));
        for y in 1..smooth.height - 1 {
            for x in 1..smooth.width - 1 {
                let gx = smooth.at(x + 1, y) - smooth.at(x - 1, y);
                let gy = smooth.at(x, y + 1) - smooth.at(x, y - 1);
                let strength = gx.hypot(gy).max(f32::MIN_POSITIVE);
                re.values[y * smooth.width + x] = (gx * gx - gy * gy) / strength;
                im.values[y * smooth.width + x] = 2.0 * gx * gy / strength;
            }
        }
        let energy = Sums::of(&re.clone().zip(&im, |re, im| re * re + im * im));
        Self { re, im, energy }
    }

    /// With `other`, whose place `(x, y)` is compared with `(x + right, y + down)` here. `None` without any edge.
    fn correlation(&self, other: &Edges, right: isize, down: isize) -> Option<f64> {
        let (width, height) = (self.re.width, self.re.height);
        let (columns, rows) = (overlap(width, width, right), overlap(height, height, down));
        let there = |(from, to): (usize, usize), shift: isize| {
            let moved = |at: usize| (at as isize - shift) as usize;
            (moved(from), moved(to))
        };
        let (columns_there, rows_there) = (there(columns, right), there(rows, down));
        let energy = self.energy.over(columns, rows) * other.energy.over(columns_there, rows_there);
        let product = |a: &Plane, b: &Plane| -> f64 {
            let row = |(y, v): (usize, usize)| {
                let a = &a.values[y * width + columns.0..y * width + columns.1];
                let b = &b.values[v * width + columns_there.0..v * width + columns_there.1];
                f64::from(dot(a, b))
            };
            (rows.0..rows.1).zip(rows_there.0..rows_there.1).map(row).sum()
        };
        (energy > 0.0).then(|| (product(&self.re, &other.re) + product(&self.im, &other.im)) / energy.sqrt())
    }
}

/// In eight partial sums, which run side by side.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        (0..8).for_each(|lane| sums[lane] += a[lane] * b[lane]);
    }
    sums.iter().sum::<f32>() + rest
}
