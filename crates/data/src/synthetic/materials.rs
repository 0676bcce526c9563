//! What outdoor scenes are made of: band reflectances and textures.
//!
//! Reflectances are for bands of some 50 nm about 650 (R), 550 (G), 450 (B) and 850 nm (NIR), rounded to about two
//! digits. They are representative values for each class, consistent with the published spectra, not averages
//! of particular samples; a leaf *canopy* is somewhat darker than a single leaf, and weathered surfaces vary widely,
//! which `Surface::new` imitates. Sources:
//! - vegetation, soils, rocks, snow and construction materials: ASTER spectral library, Baldridge et al. 2009,
//!   doi:10.1016/j.rse.2008.11.007; ECOSTRESS spectral library, Meerdink et al. 2019, doi:10.1016/j.rse.2019.05.015;
//!   USGS Spectral Library Version 7, Kokaly et al. 2017, doi:10.3133/ds1035;
//! - water: absorption is over 100 times stronger at 850 than at 450 nm, Hale and Querry 1973, doi:10.1364/AO.12.000555;
//! - snow: near 1 in the visible, falling towards the infrared with grain size, Wiscombe and Warren 1980,
//!   doi:10.1175/1520-0469(1980)037<2712:AMFTSA>2.0.CO;2; Warren 1982, doi:10.1029/RG020i001p00067.

use super::noise::{Dice, fractal, value};

/// Red, green, blue, near infrared; linear.
pub(super) type Bands = [f32; 4];

/// `f` applied to each pair of bands.
pub(super) fn zip(a: Bands, b: Bands, f: impl Fn(f32, f32) -> f32) -> Bands {
    std::array::from_fn(|i| f(a[i], b[i]))
}

/// All bands times one factor.
pub(super) fn scale(a: Bands, factor: f32) -> Bands {
    a.map(|x| x * factor)
}

/// `a` at t = 0, `b` at t = 1.
pub(super) fn mix(a: Bands, b: Bands, t: f32) -> Bands {
    zip(a, b, |x, y| x + (y - x) * t)
}

/// A class of surface.
pub(super) struct Material {
    /// Reflectance in each band.
    pub reflectance: Bands,
    /// Half range of the relative brightness of instances.
    pub brightness: f32,
    /// Half range of the relative change of each band of instances, independently.
    pub tint: f32,
    /// Texture cells per unit length.
    pub frequency: f32,
    /// Relative half range of the texture.
    pub contrast: f32,
    /// Relative half range of the slow change of hue within an instance.
    pub hue: f32,
}

const fn material(reflectance: Bands, brightness: f32, tint: f32, texture: [f32; 3]) -> Material {
    let [frequency, contrast, hue] = texture;
    Material { reflectance, brightness, tint, frequency, contrast, hue }
}

// Vegetation: chlorophyll absorbs red and blue, leaf structure scatters the near infrared.
pub(super) static DECIDUOUS: Material = material([0.055, 0.11, 0.040, 0.48], 0.30, 0.16, [16.0, 0.55, 0.30]);
pub(super) static CONIFER: Material = material([0.032, 0.055, 0.025, 0.27], 0.30, 0.14, [18.0, 0.60, 0.15]);
pub(super) static AUTUMN: Material = material([0.26, 0.17, 0.050, 0.50], 0.25, 0.25, [16.0, 0.50, 0.35]);
pub(super) static SHRUB: Material = material([0.075, 0.10, 0.050, 0.36], 0.30, 0.16, [12.0, 0.60, 0.25]);
pub(super) static GRASS: Material = material([0.065, 0.12, 0.045, 0.45], 0.25, 0.14, [26.0, 0.45, 0.35]);
pub(super) static CROP: Material = material([0.050, 0.095, 0.035, 0.52], 0.20, 0.14, [30.0, 0.38, 0.15]);
pub(super) static DRY_GRASS: Material = material([0.27, 0.20, 0.12, 0.41], 0.20, 0.12, [28.0, 0.42, 0.15]);
// Ground.
pub(super) static SOIL: Material = material([0.17, 0.11, 0.070, 0.28], 0.40, 0.14, [18.0, 0.48, 0.12]);
pub(super) static SAND: Material = material([0.36, 0.28, 0.18, 0.45], 0.20, 0.10, [14.0, 0.18, 0.08]);
pub(super) static GRAVEL: Material = material([0.26, 0.24, 0.20, 0.30], 0.25, 0.08, [30.0, 0.55, 0.05]);
pub(super) static LIMESTONE: Material = material([0.32, 0.29, 0.24, 0.36], 0.25, 0.08, [6.0, 0.55, 0.10]);
pub(super) static BASALT: Material = material([0.11, 0.10, 0.095, 0.12], 0.30, 0.08, [8.0, 0.60, 0.06]);
pub(super) static SANDSTONE: Material = material([0.34, 0.24, 0.16, 0.42], 0.20, 0.12, [5.0, 0.45, 0.12]);
pub(super) static SNOW: Material = material([0.93, 0.95, 0.96, 0.86], 0.03, 0.02, [3.0, 0.06, 0.01]);
// Diffuse return of the water body alone; the mirror image of the surroundings comes on top.
pub(super) static WATER: Material = material([0.020, 0.035, 0.040, 0.005], 0.40, 0.25, [6.0, 0.20, 0.10]);
// Made by people. Organic paints are largely transparent to the near infrared, so even dark hues are bright there.
pub(super) static ASPHALT: Material = material([0.12, 0.11, 0.10, 0.15], 0.30, 0.05, [40.0, 0.25, 0.03]);
pub(super) static CONCRETE: Material = material([0.32, 0.30, 0.26, 0.36], 0.20, 0.06, [8.0, 0.12, 0.04]);
pub(super) static BRICK: Material = material([0.27, 0.13, 0.090, 0.36], 0.20, 0.12, [20.0, 0.30, 0.10]);
pub(super) static WHITE_PAINT: Material = material([0.76, 0.75, 0.69, 0.78], 0.10, 0.04, [4.0, 0.06, 0.02]);
pub(super) static YELLOW_PAINT: Material = material([0.62, 0.50, 0.28, 0.68], 0.12, 0.15, [4.0, 0.08, 0.03]);
pub(super) static BLUE_PAINT: Material = material([0.13, 0.22, 0.38, 0.48], 0.20, 0.15, [4.0, 0.08, 0.03]);
pub(super) static ROOF_TILE: Material = material([0.32, 0.15, 0.090, 0.42], 0.25, 0.12, [20.0, 0.30, 0.10]);
pub(super) static SLATE: Material = material([0.10, 0.10, 0.11, 0.11], 0.30, 0.06, [20.0, 0.25, 0.05]);
pub(super) static GLASS: Material = material([0.050, 0.060, 0.070, 0.045], 0.40, 0.10, [3.0, 0.30, 0.05]);
pub(super) static BARK: Material = material([0.16, 0.12, 0.085, 0.34], 0.30, 0.10, [14.0, 0.40, 0.05]);

/// One instance of a material: a particular field, tree or wall.
#[derive(Clone, Copy)]
pub(super) struct Surface {
    material: &'static Material,
    albedo: Bands,
    seed: u32,
}

impl Surface {
    /// An instance with a brightness and colour of its own.
    pub fn new(material: &'static Material, dice: &mut Dice) -> Self {
        let brightness = 1.0 + material.brightness * dice.signed();
        let albedo = material.reflectance.map(|r| (r * brightness * (1.0 + material.tint * dice.signed())).min(0.97));
        Self { material, albedo, seed: dice.seed() }
    }

    /// Reflectance at a point; `footprint` is the pixel's size in the same unit.
    pub fn at(&self, x: f32, y: f32, footprint: f32) -> Bands {
        let Material { frequency, contrast, hue, .. } = *self.material;
        let grain = 2.0 * fractal(x * frequency, y * frequency, 5, footprint * frequency, self.seed) - 1.0;
        let slow = 2.0 * value(x * frequency * 0.07, y * frequency * 0.07, !self.seed) - 1.0;
        let shift = hue * (slow + 0.5 * grain);
        // Leaves transmit the near infrared, which fills the shadows between them: less contrast there.
        let texture = [1.0, 1.0, 1.0, 0.7].map(|k| 1.0 + 1.6 * k * contrast * grain);
        let hues = [1.0 + shift, 1.0 + 0.35 * shift, 1.0 - 0.3 * shift, 1.0 - 0.15 * shift];
        let albedo = zip(self.albedo, texture, |a, t| a * t);
        zip(albedo, hues, |a, h| (a * h).clamp(0.002, 0.98))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_of_instances(material: &'static Material) -> Bands {
        let mut dice = Dice::new(7, 0, 0);
        let mut sum = [0.0; 4];
        for _ in 0..400 {
            let surface = Surface::new(material, &mut dice);
            let (x, y) = (dice.range(0.0, 9.0), dice.range(0.0, 9.0));
            sum = zip(sum, surface.at(x, y, 0.001), |a, b| a + b / 400.0);
        }
        sum
    }

    #[test]
    fn green_vegetation_is_far_brighter_in_nir_than_in_red_and_greenest_in_the_visible() {
        for material in [&DECIDUOUS, &CONIFER, &SHRUB, &GRASS, &CROP] {
            let [r, g, b, nir] = mean_of_instances(material);
            assert!(nir > 3.0 * r && g > r && g > b, "{:?}", [r, g, b, nir]);
        }
    }

    #[test]
    fn water_is_dark_in_nir_and_bluish_and_snow_is_bright_everywhere() {
        let [r, _, b, nir] = mean_of_instances(&WATER);
        assert!(nir < 0.01 && b > r && r > nir, "{r} {b} {nir}");
        let [r, g, b, nir] = mean_of_instances(&SNOW);
        assert!(r.min(g).min(b) > 0.85 && nir > 0.75 && nir < r, "{r} {g} {b} {nir}");
    }

    #[test]
    fn texture_keeps_the_mean_reflectance_within_a_tenth() {
        for material in [&GRASS, &SOIL, &ASPHALT, &BRICK, &LIMESTONE, &DRY_GRASS] {
            let mean = mean_of_instances(material);
            for (seen, table) in mean.iter().zip(material.reflectance) {
                assert!((seen / table - 1.0).abs() < 0.1, "{mean:?} {:?}", material.reflectance);
            }
        }
    }

    #[test]
    fn materials_of_like_nir_differ_in_colour() {
        // What makes the problem more than a lookup table of the NIR level.
        for (a, b) in [(&GRASS, &SAND), (&ROOF_TILE, &DRY_GRASS), (&LIMESTONE, &SHRUB), (&BLUE_PAINT, &DECIDUOUS)] {
            let [ra, _, _, na] = a.reflectance;
            let [rb, _, _, nb] = b.reflectance;
            assert!((na / nb - 1.0).abs() < 0.1 && (ra / rb - 1.0).abs() > 0.15);
        }
    }
}
