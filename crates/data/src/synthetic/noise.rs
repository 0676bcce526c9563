//! Seeded randomness and value noise.
//!
//! Only additions, multiplications, divisions, square roots and integer hashes are used, all of which IEEE 754 and Rust
//! define exactly: a scene is the same bytes on every platform.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Random draws of one scene.
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream of scene `index` of the split numbered `split`, under `seed`.
    pub fn new(seed: u64, split: u8, index: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&index.to_le_bytes());
        key[16] = split;
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in [low, high).
    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform in [-1, 1).
    pub fn signed(&mut self) -> f32 {
        self.range(-1.0, 1.0)
    }

    /// True with the given probability.
    pub fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// Uniform integer in [low, high].
    pub fn count(&mut self, low: usize, high: usize) -> usize {
        low + (self.unit() * (high - low + 1) as f32) as usize
    }

    /// One element of a non-empty list.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.count(0, items.len() - 1)]
    }

    /// A seed for a noise field.
    pub fn seed(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Zero mean, unit variance, nearly Gaussian: the sum of four uniform draws (Irwin-Hall), within ±3.5.
    pub fn gaussian(&mut self) -> f32 {
        let bits = self.0.next_u64();
        let sum: u32 = (0..4).map(|lane| (bits >> (16 * lane)) as u16 as u32).sum();
        // Four uniform variables on [0, 1] have mean 2 and variance 1/3.
        (sum as f32 / 65_536.0 - 2.0) * 1.732_050_8
    }
}

/// A mixed 32-bit hash of a lattice point.
pub(super) fn hash(x: i32, y: i32, seed: u32) -> u32 {
    let h = seed.wrapping_add((x as u32).wrapping_mul(0x9E37_79B1)).wrapping_add((y as u32).wrapping_mul(0x85EB_CA77));
    let h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    let h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
    h ^ (h >> 15)
}

/// 3t² - 2t³ of t clamped to [0, 1] between the two edges.
pub(super) fn smoothstep(edge0: f32, edge1: f32, x: f32) -> f32 {
    let t = ((x - edge0) / (edge1 - edge0)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// The largest integer not above x; without SSE 4.1, `f32::floor` would be a call.
fn floor(x: f32) -> i32 {
    let towards_zero = x as i32;
    towards_zero - i32::from(x < towards_zero as f32)
}

/// Value noise in [0, 1): smooth interpolation of random numbers on the integer lattice.
pub(super) fn value(x: f32, y: f32, seed: u32) -> f32 {
    let (ix, iy) = (floor(x), floor(y));
    let (tx, ty) = (x - ix as f32, y - iy as f32);
    let (sx, sy) = (tx * tx * (3.0 - 2.0 * tx), ty * ty * (3.0 - 2.0 * ty));
    // 24 bits fit both an i32, which converts faster than a u32, and an f32.
    let unit = |bits: u32| (bits >> 8) as i32 as f32 * (1.0 / 16_777_216.0);
    let corner = |dx: i32, dy: i32| unit(hash(ix.wrapping_add(dx), iy.wrapping_add(dy), seed));
    let (top0, top1) = (corner(0, 0), corner(1, 0));
    let (low0, low1) = (corner(0, 1), corner(1, 1));
    let (top, low) = (top0 + (top1 - top0) * sx, low0 + (low1 - low0) * sx);
    top + (low - top) * sy
}

/// Fractal noise in [0, 1) of mean 1/2: `octaves` octaves of value noise, each of half the size and 0.6 of the strength. Octaves
/// finer than two `footprint`s (the pixel's size in the same coordinates) are left out, as they would alias.
pub(super) fn fractal(x: f32, y: f32, octaves: u32, footprint: f32, seed: u32) -> f32 {
    let (mut sum, mut total, mut weight, mut frequency) = (0.0, 0.0, 1.0, 1.0);
    for octave in 0..octaves {
        if frequency * footprint < 0.5 {
            sum += weight * value(x * frequency, y * frequency, seed.wrapping_add(octave));
        } else {
            sum += weight * 0.5;
        }
        total += weight;
        weight *= 0.6;
        frequency *= 2.0;
    }
    sum / total
}

/// Fractal noise of one variable, in [0, 1).
pub(super) fn fractal_line(x: f32, octaves: u32, seed: u32) -> f32 {
    fractal(x, 0.5, octaves, 0.0, seed)
}
