//! Colour spaces, by the constants of the measures: a loss of colours goes down as its measure does.

use crate::colour::dual::Differentiable;
use crate::colour::pixelwise::{MapKind, PixelMap, Rows};
use colormamba_metrics::colour::{
    LAB_KNEE, LAB_OFFSET, LAB_SLOPE, SRGB_KNEE, SRGB_OFFSET, SRGB_POWER, SRGB_SCALE, SRGB_SLOPE, XYZ, white,
};
use palette::Lab;
use palette::white_point::D65;

/// sRGB to CIELAB under D65.
///
/// Beyond [0, 1] the curves of sRGB and of Lab go on as they are: straight below 0, powers above 1.
#[derive(Clone, Copy)]
pub(crate) struct ToLab {
    rows: Rows,
}

impl ToLab {
    pub(crate) fn new() -> Self {
        let white = white();
        Self { rows: [0, 1, 2].map(|i| XYZ[i].map(|part| part / white[i])) }
    }

    /// From linear RGB to XYZ divided by that of the white point.
    pub(crate) fn rows(self) -> Rows {
        self.rows
    }
}

impl PixelMap for ToLab {
    #[inline(always)]
    fn of<N: Differentiable>(self, p: [N; 3]) -> [N; 3] {
        let [r, g, b] = p.map(linear);
        let [x, y, z] = self.rows.map(|[by_r, by_g, by_b]| compressed(r * by_r + g * by_g + b * by_b));
        [y * 116.0 - 16.0, (x - y) * 500.0, (y - z) * 200.0]
    }

    fn kernel(self) -> (MapKind, Option<Rows>) {
        (MapKind::Lab, Some(self.rows))
    }
}

/// The inverse of sRGB's curve (IEC 61966-2-1).
#[inline(always)]
fn linear<N: Differentiable>(x: N) -> N {
    if x.value() <= SRGB_KNEE { x / SRGB_SLOPE } else { ((x + SRGB_OFFSET) / SRGB_SCALE).powf(SRGB_POWER) }
}

/// Lab's cube root with its straight piece.
#[inline(always)]
fn compressed<N: Differentiable>(x: N) -> N {
    if x.value() > LAB_KNEE { x.cbrt() } else { x * LAB_SLOPE + LAB_OFFSET }
}

/// sRGB to CIELAB, each channel mapped from its 8-bit range to [0, 1].
#[derive(Clone, Copy)]
pub(crate) struct ToUnitLab(pub(crate) ToLab);

impl PixelMap for ToUnitLab {
    #[inline(always)]
    fn of<N: Differentiable>(self, p: [N; 3]) -> [N; 3] {
        let [l, a, b] = self.0.of(p);
        let unit = |x: N, low: f64, high: f64| (x - low) / (high - low);
        [
            unit(l, Lab::<D65, f64>::min_l(), Lab::<D65, f64>::max_l()),
            unit(a, Lab::<D65, f64>::min_a(), Lab::<D65, f64>::max_a()),
            unit(b, Lab::<D65, f64>::min_b(), Lab::<D65, f64>::max_b()),
        ]
    }

    fn kernel(self) -> (MapKind, Option<Rows>) {
        (MapKind::UnitLab, Some(self.0.rows()))
    }
}

/// RGB to HSV, all three in [0, 1] for RGB in [0, 1]. Negative values are taken for 0. Hue and saturation are constant, and 0,
/// where they are not defined: for greys and for black.
#[derive(Clone, Copy)]
pub(crate) struct ToHsv;

/// Below this a maximum is black and a difference of channels grey: below the last digit of 16 bits, so that no derivative
/// is larger than an image can call for.
const NONE: f64 = 1e-6;

impl PixelMap for ToHsv {
    #[inline(always)]
    fn of<N: Differentiable>(self, p: [N; 3]) -> [N; 3] {
        let [r, g, b] = p.map(N::positive);
        let (larger, smaller) = if r.value() > g.value() { (r, g) } else { (g, r) };
        let value = if b.value() > larger.value() { b } else { larger };
        let least = if b.value() < smaller.value() { b } else { smaller };
        let chroma = value - least;
        let zero = N::constant(0.0);
        if value.value() < NONE || chroma.value() < NONE {
            return [zero, zero, value];
        }
        let sixth = if value.value() == r.value() {
            let turn = if g.value() < b.value() { 6.0 } else { 0.0 };
            (g - b) / chroma + turn
        } else if value.value() == g.value() {
            (b - r) / chroma + 2.0
        } else {
            (r - g) / chroma + 4.0
        };
        [sixth / 6.0, chroma / value, value]
    }

    fn kernel(self) -> (MapKind, Option<Rows>) {
        (MapKind::Hsv, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use colormamba_metrics::colour::lab;
    use palette::convert::FromColorUnclamped;
    use palette::{Hsv, Srgb};

    fn colours() -> impl Iterator<Item = [f64; 3]> {
        const STEPS: usize = 9;
        (0..STEPS.pow(3)).map(|i| [i / (STEPS * STEPS), i / STEPS % STEPS, i % STEPS].map(|k| k as f64 / 8.0))
    }

    #[test]
    fn lab_is_that_of_the_measures() {
        let to_lab = ToLab::new();
        for colour in colours() {
            for (ours, theirs) in to_lab.of(colour).into_iter().zip(lab(colour)) {
                assert!((ours - theirs).abs() < 1e-12, "{colour:?}: {ours}, not {theirs}");
            }
        }
    }

    #[test]
    fn hsv_is_that_of_the_palette_crate() {
        for [r, g, b] in colours() {
            let [h, s, v] = ToHsv.of([r, g, b]);
            let theirs = Hsv::from_color_unclamped(Srgb::new(r, g, b));
            let hue = theirs.hue.into_positive_degrees() / 360.0;
            for (ours, theirs) in [(h, hue), (s, theirs.saturation), (v, theirs.value)] {
                assert!((ours - theirs).abs() < 1e-12, "{r} {g} {b}: {ours}, not {theirs}");
            }
        }
    }
}
