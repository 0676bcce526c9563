//! The picture plane, light and air.

use super::materials::{Bands, mix, scale, zip};
use super::noise::{Dice, fractal, smoothstep};

/// Linear radiance of a picture. Coordinates (u, v) are in units of its height, from the upper left corner.
#[derive(Clone)]
pub(super) struct Canvas {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<Bands>,
}

impl Canvas {
    pub fn new(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![[0.0; 4]; width * height] }
    }

    /// Width over height.
    pub fn aspect(&self) -> f32 {
        self.width as f32 / self.height as f32
    }

    /// Side of a pixel.
    pub fn pixel(&self) -> f32 {
        1.0 / self.height as f32
    }

    /// Replaces the pixels of the box [u0, u1] x [v0, v1] for which `paint(u, v, old)` gives a radiance.
    pub fn paint(&mut self, [u0, v0, u1, v1]: [f32; 4], paint: impl Fn(f32, f32, Bands) -> Option<Bands>) {
        let side = self.height as f32;
        let clip = |x: f32, limit: usize| (x * side).clamp(0.0, limit as f32) as usize;
        for y in clip(v0, self.height)..clip(v1 + 1.0 / side, self.height) {
            for x in clip(u0, self.width)..clip(u1 + 1.0 / side, self.width) {
                let pixel = &mut self.pixels[y * self.width + x];
                if let Some(radiance) = paint((x as f32 + 0.5) / side, (y as f32 + 0.5) / side, *pixel) {
                    *pixel = radiance;
                }
            }
        }
    }

    /// Paints a convex polygon.
    pub fn polygon(&mut self, corners: &[[f32; 2]], paint: impl Fn(f32, f32, Bands) -> Bands) {
        let bound = |axis: usize, start: f32, pick: fn(f32, f32) -> f32| {
            corners.iter().fold(start, |best, corner| pick(best, corner[axis]))
        };
        let low = |axis| bound(axis, f32::INFINITY, f32::min);
        let high = |axis| bound(axis, f32::NEG_INFINITY, f32::max);
        let inside = |u: f32, v: f32| {
            let side = |i: usize| {
                let ([au, av], [bu, bv]) = (corners[i], corners[(i + 1) % corners.len()]);
                (bu - au) * (v - av) - (bv - av) * (u - au)
            };
            (0..corners.len()).all(|i| side(i) >= 0.0) || (0..corners.len()).all(|i| side(i) <= 0.0)
        };
        self.paint([low(0), low(1), high(0), high(1)], |u, v, old| inside(u, v).then(|| paint(u, v, old)));
    }

    /// Radiance of the pixel at (u, v), clamped to the picture.
    pub fn sample(&self, u: f32, v: f32) -> Bands {
        let side = self.height as f32;
        let x = (u * side).clamp(0.0, self.width as f32 - 1.0) as usize;
        let y = (v * side).clamp(0.0, side - 1.0) as usize;
        self.pixels[y * self.width + x]
    }

    /// Means over blocks of `factor` x `factor` pixels.
    pub fn shrink(&self, factor: usize) -> Self {
        let mut small = Self::new(self.width / factor, self.height / factor);
        let weight = 1.0 / (factor * factor) as f32;
        for (i, pixel) in small.pixels.iter_mut().enumerate() {
            let (x, y) = (i % small.width * factor, i / small.width * factor);
            for row in self.pixels[y * self.width..].chunks(self.width).take(factor) {
                for old in &row[x..x + factor] {
                    *pixel = zip(*pixel, *old, |sum, value| sum + weight * value);
                }
            }
        }
        small
    }
}

/// Sun, sky and air of a scene. Directions are (right, up, towards the viewer).
pub(super) struct Light {
    direction: [f32; 3],
    sun: Bands,
    ambient: Bands,
    zenith: Bands,
    horizon: Bands,
    haze: f32,
    cloud_cover: f32,
    cloud_seed: u32,
}

/// Extinction by thin haze relative to 550 nm, as wavelength to the power -2: between large droplets (0) and air (-4).
const EXTINCTION: Bands = [0.72, 1.0, 1.49, 0.42];

impl Light {
    /// Clear, cloudy or overcast weather at some time of the day.
    pub fn new(dice: &mut Dice) -> Self {
        let overcast = dice.chance(0.2);
        let elevation = dice.range(0.35, 0.85);
        let across = dice.range(0.25, 0.8) * if dice.chance(0.5) { 1.0 } else { -1.0 };
        let direction = normalize([across, elevation, dice.range(0.25, 0.7)]);
        let strength = if overcast { 0.25 } else { 1.0 };
        // The lower the sun, the redder; the near infrared passes through the air most freely.
        let low = 1.0 - elevation;
        let sun = scale([1.0, 0.96 - 0.12 * low, 0.90 - 0.30 * low, 1.02], strength * 1.05);
        let clear = scale([0.14, 0.18, 0.25, 0.06], dice.range(0.7, 1.1));
        let ambient = if overcast { [0.34, 0.36, 0.39, 0.32] } else { clear };
        // Rayleigh scattering falls with the fourth power of the wavelength.
        let deep = scale([0.11, 0.22, 0.48, 0.038], dice.range(0.75, 1.15));
        let pale = scale([0.52, 0.64, 0.80, 0.24], dice.range(0.85, 1.05));
        let grey = scale([0.60, 0.64, 0.69, 0.55], dice.range(0.8, 1.0));
        let (zenith, horizon) = if overcast { (scale(grey, 0.8), grey) } else { (deep, pale) };
        let cloud_cover = if overcast { 0.6 } else { dice.range(0.0, 0.62) };
        let haze = dice.range(0.3, 1.6);
        Self { direction, sun, ambient, zenith, horizon, haze, cloud_cover, cloud_seed: dice.seed() }
    }

    /// Radiance of a diffuse surface; `open` in [0, 1] is the part of the sun that reaches it.
    pub fn shade(&self, albedo: Bands, normal: [f32; 3], open: f32) -> Bands {
        let cosine = dot(normal, self.direction).max(0.0) * open;
        let dome = 0.65 + 0.35 * normal[1];
        std::array::from_fn(|i| albedo[i] * (self.sun[i] * cosine + self.ambient[i] * dome))
    }

    /// What is left of the light of level ground in a cast shadow.
    pub fn shadow(&self, lit: Bands) -> Bands {
        let sun = scale(self.sun, self.direction[1]);
        let left = zip(self.ambient, sun, |ambient, sun| ambient / (ambient + sun));
        zip(lit, left, |x, k| x * k)
    }

    /// How far to the right the shadow of a thing of height 1 falls on level ground.
    pub fn shadow_slope(&self) -> f32 {
        -self.direction[0] / self.direction[1]
    }

    /// Radiance seen through air: scattered light comes in, bluish and with little near infrared.
    pub fn through_air(&self, radiance: Bands, distance: f32) -> Bands {
        std::array::from_fn(|i| {
            let depth = distance * self.haze * EXTINCTION[i];
            let veil = depth / (1.0 + depth);
            radiance[i] + (self.horizon[i] * 0.9 - radiance[i]) * veil
        })
    }

    /// Sky at (u, v) over a horizon at height `horizon`.
    pub fn sky(&self, u: f32, v: f32, horizon: f32, pixel: f32) -> Bands {
        let up = ((horizon - v) / horizon.max(0.3)).clamp(0.0, 1.0);
        let clear = mix(self.horizon, self.zenith, up * (1.7 - 0.7 * up));
        // Clouds are flattened and crowd together towards the horizon.
        let stretch = 1.0 / (0.25 + up);
        let (x, y) = (u * 1.8 * stretch.min(2.0) + 31.0, v * 3.0 * stretch);
        let density = fractal(x, y, 5, pixel * 4.0, self.cloud_seed);
        let cover = smoothstep(0.72 - 0.42 * self.cloud_cover, 0.92 - 0.42 * self.cloud_cover, density);
        let thick = smoothstep(0.45, 0.75, fractal(x, y - 0.12, 4, pixel * 4.0, self.cloud_seed));
        let white = zip(self.sun, self.ambient, |sun, ambient| 0.62 * sun + 0.8 * ambient);
        mix(clear, scale(white, 1.05 - 0.35 * thick), 0.92 * cover)
    }
}

/// The vector at unit length.
pub(super) fn normalize(v: [f32; 3]) -> [f32; 3] {
    let length = dot(v, v).sqrt();
    v.map(|x| x / length)
}

fn dot(a: [f32; 3], b: [f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}
