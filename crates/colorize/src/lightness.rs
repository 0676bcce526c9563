//! The lightness of the photograph under the network's colours.

use crate::levels::Level;
use palette::white_point::D65;
use palette::{FromColor, IntoColor, Lab, Srgb};

/// L* of every level of a photograph, as gray of sRGB.
pub(crate) struct Lightness(Vec<f32>);

impl Lightness {
    pub(crate) fn of<T: Level>() -> Self {
        let lightness = |index: usize| {
            let gray = index as f32 / (T::COUNT - 1) as f32;
            Lab::<D65, f32>::from_color(Srgb::new(gray, gray, gray)).l
        };
        Self((0..T::COUNT).map(lightness).collect())
    }

    /// Gives each pixel's colour the lightness of its level. Colours beyond [0, 1] are cut off before and left beyond
    /// after.
    pub(crate) fn keep<T: Level>(&self, levels: &[T], rgb: &mut [f32]) {
        for (rgb, level) in rgb.chunks_exact_mut(3).zip(levels) {
            let [r, g, b] = [rgb[0], rgb[1], rgb[2]].map(|value| value.clamp(0.0, 1.0));
            let Lab { a, b, .. } = Lab::<D65, f32>::from_color(Srgb::new(r, g, b));
            let colour: Srgb<f32> = Lab::new(self.0[level.index()], a, b).into_color();
            rgb.copy_from_slice(&[colour.red, colour.green, colour.blue]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gray_becomes_the_photograph_and_colours_keep_their_chroma() {
        let lightness = Lightness::of::<u8>();
        let levels: Vec<u8> = (0..=255).collect();
        let mut rgb = vec![0.5; 3 * levels.len()];
        lightness.keep(&levels, &mut rgb);
        for (pixel, level) in rgb.chunks(3).zip(&levels) {
            assert!(pixel.iter().all(|value| (value - f32::from(*level) / 255.0).abs() < 1e-3), "{pixel:?} {level}");
        }
        let lab = |rgb: &[f32]| Lab::<D65, f32>::from_color(Srgb::new(rgb[0], rgb[1], rgb[2]));
        let before = [0.5, 0.4, 0.3];
        let mut after = before;
        lightness.keep(&[160_u8], &mut after);
        let (before, after) = (lab(&before), lab(&after));
        assert!((before.a - after.a).abs() < 0.05 && (before.b - after.b).abs() < 0.05, "{before:?} {after:?}");
        assert!((after.l - lab(&[160.0 / 255.0; 3]).l).abs() < 0.05 && (after.l - before.l).abs() > 10.0);
    }
}
