//! Ridges against the sky, and water.

use super::canvas::{Canvas, Light, normalize};
use super::materials::{Bands, Material, Surface, WATER, mix, scale};
use super::noise::{Dice, fractal, fractal_line, smoothstep, value};

/// A mountain or hill that fills the picture from its height line down to the horizon of the ground.
pub(super) struct Ridge {
    /// Height of the line's foot in the picture, and how far it rises over it.
    pub foot: f32,
    pub rise: f32,
    /// Number of summits over a length equal to the picture's height.
    pub summits: f32,
    pub distance: f32,
    /// How sharp the relief is: 0 for rolling hills, 1 for crags.
    pub crag: f32,
    /// Surfaces from the top down; the boundaries are at these parts of the rise.
    pub zones: Vec<(f32, Surface)>,
    seed: u32,
}

impl Ridge {
    pub fn new(foot: f32, rise: f32, summits: f32, distance: f32, crag: f32, dice: &mut Dice) -> Self {
        Self { foot, rise, summits, distance, crag, zones: Vec::new(), seed: dice.seed() }
    }

    /// Adds the surface that reaches up to the part `top` of the rise; to be called from the top down.
    pub fn zone(mut self, top: f32, material: &'static Material, dice: &mut Dice) -> Self {
        self.zones.push((top, Surface::new(material, dice)));
        self
    }

    fn height(&self, u: f32) -> f32 {
        let smooth = fractal_line(u * self.summits + 5.0, 6, self.seed);
        let fold = 1.0 - 2.0 * (fractal_line(u * self.summits * 0.7 + 3.0, 6, !self.seed) - 0.5).abs() * 2.0;
        self.rise * (smooth + (fold - smooth) * 0.6 * self.crag)
    }

    fn relief(&self, u: f32, v: f32, footprint: f32) -> f32 {
        let (x, y) = (u * self.summits * 2.5, v * self.summits * 1.6);
        let n = fractal(x + 0.8 * y, y, 6, footprint, self.seed ^ 0x55);
        let fold = 1.0 - (2.0 * n - 1.0).abs();
        n + (fold - n) * self.crag
    }

    /// Paints the ridge.
    pub fn draw(&self, canvas: &mut Canvas, light: &Light, horizon: f32) {
        let (aspect, pixel, side) = (canvas.aspect(), canvas.pixel(), canvas.height as f32);
        let line: Vec<f32> = (0..canvas.width).map(|x| self.foot - self.height((x as f32 + 0.5) * pixel)).collect();
        let footprint = pixel * self.summits * 2.5;
        let step = 0.02 / self.summits.max(0.5);
        canvas.paint([0.0, self.foot - 1.1 * self.rise, aspect, horizon], |u, v, _| {
            if v < line[(u * side) as usize] {
                return None;
            }
            let here = self.relief(u, v, footprint);
            let (right, up) = (self.relief(u + step, v, footprint), self.relief(u, v - step, footprint));
            let steep = 2.0 + 2.8 * self.crag;
            let normal = normalize([steep * (here - right), 0.6 + steep * (here - up), 0.8]);
            let part = (self.foot - v) / self.rise;
            let albedo = self.zones_at([u, v], part, normal[1], here, pixel);
            Some(light.through_air(light.shade(albedo, normal, 0.4 + 0.6 * here), self.distance))
        });
    }

    fn zones_at(&self, [u, v]: [f32; 2], part: f32, up: f32, relief: f32, pixel: f32) -> Bands {
        let jitter = 0.5 * (value(u * self.summits * 7.0, v * self.summits * 7.0, self.seed ^ 0x99) - 0.5)
            + 0.5 * (relief - 0.5)
            - 0.25 * self.crag * (up - 0.6);
        let zoom = 3.0 + 2.0 * self.distance.min(1.0);
        let surface = |i: usize| self.zones[i].1.at(u * zoom, v * zoom, pixel * zoom);
        let below = |i: usize| smoothstep(self.zones[i].0 + 0.04, self.zones[i].0 - 0.04, part + jitter);
        // The lowest zone that covers all, and what overlaps it from below.
        let first = (1..self.zones.len()).rev().find(|&i| below(i) >= 1.0).unwrap_or(0);
        let rest = (first + 1..self.zones.len()).filter(|&i| below(i) > 0.0);
        rest.fold(surface(first), |albedo, i| mix(albedo, surface(i), below(i)))
    }
}

/// A lake or river between two shores.
pub(super) struct Water {
    pub far: f32,
    pub near: f32,
    surface: Surface,
    ripple: f32,
    seed: u32,
}

impl Water {
    /// Water between the heights `far` and `near` of the picture.
    pub fn new(far: f32, near: f32, dice: &mut Dice) -> Self {
        Self { far, near, surface: Surface::new(&WATER, dice), ripple: dice.range(0.2, 1.0), seed: dice.seed() }
    }

    /// Paints the water with the mirror image of what is drawn above its far shore.
    pub fn draw(&self, canvas: &mut Canvas, light: &Light) {
        let (aspect, pixel) = (canvas.aspect(), canvas.pixel());
        let span = (self.near - self.far).max(0.05);
        let mut painted = canvas.clone();
        painted.paint([0.0, self.far - 0.03, aspect, self.near + 0.08], |u, v, _| {
            let far = self.far + 0.012 * (fractal_line(u * 5.0, 3, self.seed) - 0.5);
            let near = self.near + 0.12 * (fractal_line(u * 2.5, 4, !self.seed) - 0.5);
            if v < far || v > near {
                return None;
            }
            let close = ((v - far) / span).clamp(0.0, 1.0);
            let (x, y) = (u * 14.0 / (0.25 + close), 14.0 / (0.06 + close) + v * 40.0);
            let wave = fractal(x, y, 3, pixel * 40.0, self.seed) - 0.5;
            let mirrored = 2.0 * far - v + 0.16 * self.ripple * wave * (0.2 + close);
            let image = canvas.sample(u + 0.02 * self.ripple * wave, mirrored.min(far - pixel));
            // Reflection at grazing incidence is strong, and weakens towards the viewer (Fresnel).
            let strength = 0.62 - 0.38 * close + 0.25 * self.ripple * wave;
            let body = light.shade(self.surface.at(u * 3.0, v * 3.0, pixel * 3.0), [0.0, 1.0, 0.0], 1.0);
            let mut radiance = mix(body, image, strength.clamp(0.1, 0.8));
            // A dark line where the water meets the far shore.
            radiance = scale(radiance, 0.75 + 0.25 * smoothstep(0.0, 0.06, close));
            Some(radiance)
        });
        *canvas = painted;
    }
}
