//! Colour spaces.

use crate::colour::dual::Differentiable;
use crate::colour::pixelwise::{MapKind, PixelMap, Rows};
use palette::convert::IntoColorUnclamped;
use palette::white_point::{D65, WhitePoint};
use palette::{Lab, LinSrgb, Xyz};

/// sRGB to CIELAB under D65.
///
/// Beyond [0, 1] the curves of sRGB and of Lab go on as they are: straight below 0, powers above 1.
#[derive(Clone, Copy)]
pub(crate) struct ToLab {
    rows: Rows,
}

impl ToLab {
    pub(crate) fn new() -> Self {
        let white: Xyz<_, f64> = D65::get_xyz();
        let column = |r, g, b| -> Xyz<D65, f64> { LinSrgb::new(r, g, b).into_color_unclamped() };
        let columns = [column(1.0, 0.0, 0.0), column(0.0, 1.0, 0.0), column(0.0, 0.0, 1.0)];
        let rows = [columns.map(|c| c.x / white.x), columns.map(|c| c.y / white.y), columns.map(|c| c.z / white.z)];
        Self { rows }
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
    if x.value() <= 0.04045 { x / 12.92 } else { ((x + 0.055) / 1.055).powf(2.4) }
}

/// Lab's cube root with its straight piece.
#[inline(always)]
fn compressed<N: Differentiable>(x: N) -> N {
    const KNEE: f64 = 6.0 / 29.0;
    if x.value() > KNEE * KNEE * KNEE { x.cbrt() } else { x / (3.0 * KNEE * KNEE) + 4.0 / 29.0 }
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
    use palette::convert::FromColorUnclamped;
    use palette::{Hsv, Srgb};

    fn colours() -> impl Iterator<Item = [f64; 3]> {
        const STEPS: usize = 9;
        (0..STEPS.pow(3)).map(|i| [i / (STEPS * STEPS), i / STEPS % STEPS, i % STEPS].map(|k| k as f64 / 8.0))
    }

    #[test]
    fn lab_is_that_of_the_palette_crate() {
        let to_lab = ToLab::new();
        for [r, g, b] in colours() {
            let ours = to_lab.of([r, g, b]);
            let theirs = Lab::<D65, f64>::from_color_unclamped(Srgb::new(r, g, b));
            for (ours, theirs) in ours.into_iter().zip([theirs.l, theirs.a, theirs.b]) {
                assert!((ours - theirs).abs() < 1e-10, "{r} {g} {b}: {ours}, not {theirs}");
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
