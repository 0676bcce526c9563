//! The ground plane in perspective, and what covers it.

use super::canvas::{Canvas, Light, normalize};
use super::materials::{Bands, Material, Surface, mix, scale};
use super::noise::{Dice, fractal, fractal_line, hash, smoothstep, value};
use super::objects::Spot;

/// Height of the eye over the ground, in units of the ground (about 5 m each).
pub(super) const EYE: f32 = 0.35;

/// What covers the ground.
pub(super) enum Cover {
    /// Patches that blend into each other.
    Patches(Vec<Surface>),
    /// Cultivated strips, each of one surface, with furrows along the direction (cos, sin).
    Fields { surfaces: Vec<Surface>, direction: [f32; 2], size: [f32; 2] },
}

/// A band that winds into the distance.
pub(super) struct Road {
    pub surface: Surface,
    /// Paint of the line in the middle, if any.
    pub marking: Option<Surface>,
    pub half_width: f32,
    pub offset: f32,
    pub slope: f32,
}

/// Level ground below the horizon.
pub(super) struct Ground {
    pub horizon: f32,
    pub cover: Cover,
    pub road: Option<Road>,
    seed: u32,
}

impl Ground {
    pub fn new(horizon: f32, cover: Cover, road: Option<Road>, dice: &mut Dice) -> Self {
        Self { horizon, cover, road, seed: dice.seed() }
    }

    /// The place at (u, v) of the picture: (right, away) in units of the ground.
    fn place(&self, u: f32, v: f32, aspect: f32) -> [f32; 2] {
        let away = EYE / (v - self.horizon).max(0.004);
        [(u - 0.5 * aspect) * away, away]
    }

    /// Where something at a sideways position `u` of the picture and a distance `away` stands.
    pub fn spot(&self, u: f32, away: f32) -> Spot {
        let size = 1.0 / away;
        Spot { foot: [u, self.horizon + EYE * size], size, distance: air(away) }
    }

    /// Sideways position in the picture of a place at a signed gap from the edge of the road (or from the middle).
    pub fn beside_road(&self, gap: f32, away: f32, aspect: f32) -> f32 {
        let edge = |road: &Road| road.centre(away, self.seed) + road.half_width.copysign(gap);
        0.5 * aspect + (self.road.as_ref().map_or(0.0, edge) + gap) / away
    }

    /// Whether a place on the ground, given by its position in the picture and its distance, is on the road.
    pub fn on_road(&self, u: f32, away: f32, aspect: f32) -> bool {
        let off = |road: &Road| ((u - 0.5 * aspect) * away - road.centre(away, self.seed)).abs() - road.half_width;
        self.road.as_ref().is_some_and(|road| off(road) < 0.1)
    }

    /// Paints everything below the horizon.
    pub fn draw(&self, canvas: &mut Canvas, light: &Light) {
        let (aspect, pixel) = (canvas.aspect(), canvas.pixel());
        canvas.paint([0.0, self.horizon, aspect, 1.0], |u, v, _| {
            let [x, z] = self.place(u, v, aspect);
            let footprint = pixel * z * (1.0 + 0.3 * z / EYE);
            let (albedo, open) = self.albedo(x, z, footprint);
            let swell = |x: f32, z: f32| fractal(x * 0.5, z * 0.5, 2, footprint, self.seed);
            let here = swell(x, z);
            let normal = normalize([2.0 * (here - swell(x + 0.15, z)), 1.0, 2.0 * (swell(x, z + 0.15) - here)]);
            Some(light.through_air(light.shade(albedo, normal, open), air(z)))
        });
    }

    fn albedo(&self, x: f32, z: f32, footprint: f32) -> (Bands, f32) {
        if let Some(found) = self.road.as_ref().and_then(|road| road.albedo(x, z, footprint, self.seed)) {
            return (found, 1.0);
        }
        match &self.cover {
            Cover::Patches(surfaces) => (self.patches(surfaces, x, z, footprint), 1.0),
            Cover::Fields { surfaces, direction: [c, s], size } => {
                let (along, across) = (c * x + s * z, c * z - s * x);
                let (i, j) = ((along / size[0]).floor() as i32, (across / size[1]).floor() as i32);
                let pick = hash(i, j, self.seed);
                let surface = &surfaces[pick as usize % surfaces.len()];
                let furrow = ((across * (5.0 + (pick >> 8 & 7) as f32)).fract().abs() - 0.5).abs() * 2.0;
                let depth = 0.5 * (1.0 - smoothstep(0.02, 0.12, footprint)) * ((pick >> 12 & 3) as f32 / 3.0);
                (surface.at(x, z, footprint), 1.0 - depth * furrow)
            }
        }
    }

    fn patches(&self, surfaces: &[Surface], x: f32, z: f32, footprint: f32) -> Bands {
        let mut albedo = surfaces[0].at(x, z, footprint);
        for (k, surface) in surfaces.iter().enumerate().skip(1) {
            let seed = self.seed.wrapping_add(77 * k as u32);
            let field = fractal(x * 0.9, z * 0.9, 5, footprint, seed);
            let part = smoothstep(0.53, 0.60, field);
            if part > 0.0 {
                albedo = mix(albedo, surface.at(x, z, footprint), part);
            }
        }
        albedo
    }
}

impl Road {
    fn centre(&self, z: f32, seed: u32) -> f32 {
        self.offset + self.slope * z + 0.9 * (fractal_line(z * 0.35, 2, seed) - 0.5)
    }

    fn albedo(&self, x: f32, z: f32, footprint: f32, seed: u32) -> Option<Bands> {
        let ragged = if self.marking.is_some() { 0.0 } else { 0.12 * (value(x * 9.0, z * 9.0, seed) - 0.5) };
        let off = (x - self.centre(z, seed)).abs();
        let line = |paint: &Surface| paint.at(x, z, footprint);
        let dash = off < 0.025 && (z * 1.5).fract() < 0.5;
        let edge = (off - 0.9 * self.half_width).abs() < 0.02;
        let bare = || self.surface.at(x, z, footprint);
        (off < self.half_width + ragged).then(|| match &self.marking {
            Some(paint) if dash || edge => scale(line(paint), 0.8),
            _ => bare(),
        })
    }
}

/// Instances of the given materials.
pub(super) fn surfaces(materials: &[&'static Material], dice: &mut Dice) -> Vec<Surface> {
    materials.iter().map(|material| Surface::new(material, dice)).collect()
}

/// Optical path to a place on the ground, in the unit of `Light::through_air`.
fn air(away: f32) -> f32 {
    0.006 * away.min(25.0)
}
