//! Multi-scale sliced Wasserstein distance between the patches of two images.

mod pyramid;

use crate::definition::Recipe;
use crate::pair::Planes;
use crate::{Best, Definition, Pair};
use pyramid::{COARSEST, laplacian};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

pub(crate) const MS_SWD: Recipe = Recipe {
    definition: Definition {
        spec: "ms-swd[laplacian,patch7,rgb,seed=0,patches=128,projections=128]",
        label: "MS-SWD",
        unit: "10⁻³",
        best: Best::Lowest,
        smallest_side: COARSEST,
    },
    value: distance,
};

const SEED: u64 = 0;
const SIDE: usize = 7;
const PATCHES: usize = 128;
const PROJECTIONS: usize = 128;
const VALUES: usize = 3 * SIDE * SIDE;
/// A spread below it is the rounding of a flat level.
const FLAT: f64 = 1e-9;

fn distance(pair: &Pair) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let [pred, target] = pair.images().map(|image| laplacian(image.planes()));
    let levels = pred.len() as f64;
    let sum: f64 = pred.iter().zip(&target).map(|(p, t)| level_distance(p, t, &mut rng)).sum();
    1000.0 * sum / levels
}

fn level_distance(pred: &Planes, target: &Planes, rng: &mut ChaCha8Rng) -> f64 {
    let (rows, columns) = (pred[0].height + 1 - SIDE, pred[0].width + 1 - SIDE);
    let corners: Vec<(usize, usize)> =
        (0..PATCHES).map(|_| (rng.random_range(0..rows), rng.random_range(0..columns))).collect();
    let directions = directions(rng);
    let [pred, target] = [pred, target].map(|level| projected(&patches(level, &corners), &directions));
    pred.iter().zip(&target).map(|(p, t)| transport(p, t)).sum::<f64>() / PROJECTIONS as f64
}

/// Directions on the unit sphere, component by component.
fn directions(rng: &mut ChaCha8Rng) -> Vec<[f64; PROJECTIONS]> {
    let mut components = vec![[0.0; PROJECTIONS]; VALUES];
    components.iter_mut().flatten().for_each(|v| *v = rng.sample(StandardNormal));
    let mut squares = [0.0f64; PROJECTIONS];
    for component in &components {
        squares.iter_mut().zip(component).for_each(|(sum, v)| *sum += v * v);
    }
    for component in &mut components {
        component.iter_mut().zip(&squares).for_each(|(v, square)| *v /= square.sqrt());
    }
    components
}

/// One row a patch, each channel with mean 0 and standard deviation 1 over all of them.
fn patches(level: &Planes, corners: &[(usize, usize)]) -> Vec<[f64; VALUES]> {
    let mut patches = vec![[0.0; VALUES]; corners.len()];
    for (c, plane) in level.iter().enumerate() {
        let channel = c * SIDE * SIDE..(c + 1) * SIDE * SIDE;
        for (patch, &(top, left)) in patches.iter_mut().zip(corners) {
            for (y, row) in patch[channel.clone()].chunks_exact_mut(SIDE).enumerate() {
                row.copy_from_slice(&plane.row(top + y)[left..left + SIDE]);
            }
        }
        let n = (corners.len() * SIDE * SIDE) as f64;
        let values = || patches.iter().flat_map(|patch| &patch[channel.clone()]);
        let mean = values().sum::<f64>() / n;
        let deviation = (values().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        let scale = if deviation < FLAT { 0.0 } else { 1.0 / deviation };
        patches.iter_mut().flat_map(|patch| &mut patch[channel.clone()]).for_each(|v| *v = (*v - mean) * scale);
    }
    patches
}

/// By direction: the patches' sorted positions along it.
fn projected(patches: &[[f64; VALUES]], directions: &[[f64; PROJECTIONS]]) -> Vec<Vec<f64>> {
    let mut lines = vec![vec![0.0; patches.len()]; PROJECTIONS];
    for (i, patch) in patches.iter().enumerate() {
        let mut positions = [0.0; PROJECTIONS];
        for (value, component) in patch.iter().zip(directions) {
            positions.iter_mut().zip(component).for_each(|(sum, d)| *sum += value * d);
        }
        lines.iter_mut().zip(positions).for_each(|(line, position)| line[i] = position);
    }
    lines.iter_mut().for_each(|line| line.sort_unstable_by(f64::total_cmp));
    lines
}

/// Wasserstein-1 distance of two sorted samples of one size.
fn transport(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64
}
