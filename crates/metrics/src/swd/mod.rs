//! Multi-scale sliced Wasserstein distance between the patches of two images.

mod pyramid;

use crate::plane::Planes;
use crate::simd::vectorize;
use crate::{Best, Definition, Measure, Pair};
use pyramid::{COARSEST, laplacian};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

impl Measure {
    /// Multi-scale sliced Wasserstein distance: 7x7 patches at 128 places of each level of the Laplacian pyramids (down to a
    /// shorter side of 16 pixels), the same places in both images; each channel of an image's patches brought to mean 0
    /// and standard deviation 1; 128 random directions; the mean over directions and levels, times 1000. Places and
    /// directions are the same for every pair of one size.
    ///
    /// In thousandths, lower is better, 0 for equal images. It compares textures wherever they lie, and not a channel's mean
    /// or contrast. Symmetric. From 16x16 pixels.
    ///
    /// Source: Karras, Aila, Laine, Lehtinen, ICLR 2018, arXiv:1710.10196, section 5, there between sets of images.
    pub const MS_SWD: Self = Self {
        definition: &Definition {
            spec: "ms-swd[laplacian,patch7,rgb,seed=0,patches=128,projections=128]",
            name: "ms-swd",
            label: "MS-SWD",
            unit: "10⁻³",
            best: Best::Lowest,
            smallest_side: COARSEST,
        },
        value: distance,
    };
}

const SEED: u64 = 0;
const SIDE: usize = 7;
const PATCHES: usize = 128;
const PROJECTIONS: usize = 128;
const VALUES: usize = 3 * SIDE * SIDE;
/// Directions taken together, so that the sums along them stay in registers.
const LANES: usize = 8;
/// Patches taken together, so that one sum need not wait for the one before.
const TOGETHER: usize = 4;
const _: () = assert!(PATCHES.is_multiple_of(TOGETHER));
type Bundle = [[f64; LANES]; VALUES];
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
    let [pred, target] = [pred, target].map(|level| patches(level, &corners));
    let mut sum = 0.0;
    for _ in 0..PROJECTIONS / LANES {
        let bundle = bundle(rng);
        let [pred, target] = [&pred, &target].map(|patches| projected(patches, &bundle));
        sum += pred.iter().zip(&target).map(|(p, t)| transport(p, t)).sum::<f64>();
    }
    sum / PROJECTIONS as f64
}

/// Directions on the unit sphere, component by component.
fn bundle(rng: &mut ChaCha8Rng) -> Bundle {
    let mut bundle = [[0.0; LANES]; VALUES];
    bundle.as_flattened_mut().iter_mut().for_each(|v| *v = rng.sample(StandardNormal));
    for lane in 0..LANES {
        let norm = bundle.iter().map(|component| component[lane] * component[lane]).sum::<f64>().sqrt();
        bundle.iter_mut().for_each(|component| component[lane] /= norm);
    }
    bundle
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
fn projected(patches: &[[f64; VALUES]], bundle: &Bundle) -> [Vec<f64>; LANES] {
    let mut lines: [Vec<f64>; LANES] = std::array::from_fn(|_| Vec::with_capacity(patches.len()));
    vectorize(
        #[inline(always)]
        || {
            for together in patches.as_chunks::<TOGETHER>().0 {
                let mut positions = [[0.0; LANES]; TOGETHER];
                for (i, component) in bundle.iter().enumerate() {
                    for (positions, patch) in positions.iter_mut().zip(together) {
                        positions.iter_mut().zip(component).for_each(|(sum, d)| *sum += patch[i] * d);
                    }
                }
                for positions in positions {
                    lines.iter_mut().zip(positions).for_each(|(line, position)| line.push(position));
                }
            }
        },
    );
    lines.iter_mut().for_each(|line| line.sort_unstable_by(f64::total_cmp));
    lines
}

/// Wasserstein-1 distance of two sorted samples of one size.
fn transport(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64
}
