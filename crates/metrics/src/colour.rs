//! Colour spaces, and the one set of constants that measures and losses convert by.
//!
//! They are those of scikit-image, which the measures are compared with: ITU-R BT.709 primaries to six digits, and CIELAB's
//! knee rounded. The `palette` crate has the same white point and the same curve of sRGB; its matrix differs from the fifth
//! digit on and its knee is the exact one, so that its CIELAB is up to 0.0049 away from this in a coordinate.

use crate::simd::vectorize;
use palette::Xyz;
use palette::white_point::{D65, WhitePoint};
use std::sync::LazyLock;

/// Luma and chroma of NTSC, as GMSD, FSIM and HaarPSI use them.
pub(crate) fn yiq([r, g, b]: [f64; 3]) -> [f64; 3] {
    [0.299 * r + 0.587 * g + 0.114 * b, 0.5959 * r - 0.2746 * g - 0.3213 * b, 0.2115 * r - 0.5227 * g + 0.3112 * b]
}

/// Linear sRGB to XYZ under D65, row by row.
pub const XYZ: [[f64; 3]; 3] =
    [[0.412_453, 0.357_580, 0.180_423], [0.212_671, 0.715_160, 0.072_169], [0.019_334, 0.119_193, 0.950_227]];

/// Up to this value the curve of sRGB (IEC 61966-2-1) is straight: [`SRGB_SLOPE`] times the linear value.
pub const SRGB_KNEE: f64 = 0.04045;
/// See [`SRGB_KNEE`].
pub const SRGB_SLOPE: f64 = 12.92;
/// Above it, the linear value is ((value + this) / [`SRGB_SCALE`]) to the power [`SRGB_POWER`].
pub const SRGB_OFFSET: f64 = 0.055;
/// See [`SRGB_OFFSET`].
pub const SRGB_SCALE: f64 = 1.055;
/// See [`SRGB_OFFSET`].
pub const SRGB_POWER: f64 = 2.4;

/// Up to this share of white CIELAB is straight: [`LAB_SLOPE`] times the share plus [`LAB_OFFSET`]; above it is the cube
/// root.
pub const LAB_KNEE: f64 = 0.008856;
/// See [`LAB_KNEE`].
pub const LAB_SLOPE: f64 = 7.787;
/// See [`LAB_KNEE`].
pub const LAB_OFFSET: f64 = 16.0 / 116.0;

/// XYZ of white: D65 for the observer of 2°, ASTM E308.
#[inline(always)]
pub fn white() -> [f64; 3] {
    let Xyz { x, y, z, .. } = <D65 as WhitePoint<f64>>::get_xyz();
    [x, y, z]
}

/// CIELAB `[L*, a*, b*]` of an sRGB colour in `[0, 1]`. Outside, the curves go on as they are.
pub fn lab(rgb: [f64; 3]) -> [f64; 3] {
    lab_of_linear(rgb.map(decoded))
}

/// [`lab`] of each colour.
pub(crate) fn labs(colours: impl Iterator<Item = [f64; 3]>) -> Vec<[f64; 3]> {
    let mut colours: Vec<[f64; 3]> = colours.map(|rgb| rgb.map(decoded)).collect();
    vectorize(
        #[inline(always)]
        || colours.iter_mut().for_each(|colour| *colour = lab_of_linear(*colour)),
    );
    colours
}

#[inline(always)]
fn lab_of_linear(linear: [f64; 3]) -> [f64; 3] {
    let white = white();
    let relative = |i: usize| {
        let [r, g, b] = XYZ[i];
        (r * linear[0] + g * linear[1] + b * linear[2]) / white[i]
    };
    let [x, y, z] = [compressed(relative(0)), compressed(relative(1)), compressed(relative(2))];
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

/// Of 8-bit levels, as most images have: the power takes longer than all the rest of a colour.
static DECODED: LazyLock<[f64; 256]> = LazyLock::new(|| std::array::from_fn(|level| decode(level as f64 / 255.0)));

fn decoded(v: f64) -> f64 {
    // A float outside is cut off to a level that is not `v`.
    let level = (255.0 * v + 0.5) as u8;
    if f64::from(level) / 255.0 == v { DECODED[usize::from(level)] } else { decode(v) }
}

fn decode(v: f64) -> f64 {
    if v > SRGB_KNEE { ((v + SRGB_OFFSET) / SRGB_SCALE).powf(SRGB_POWER) } else { v / SRGB_SLOPE }
}

#[inline(always)]
fn compressed(t: f64) -> f64 {
    if t > LAB_KNEE { cube_root(t) } else { LAB_SLOPE * t + LAB_OFFSET }
}

/// Of a positive number, to 1e-15 of it: unlike the library's it goes into vectors.
#[inline(always)]
fn cube_root(v: f64) -> f64 {
    // A third of the exponent, off by 5 % at most (Kahan); each step of Halley's then cubes the error.
    let high = ((v.to_bits() >> 32) as u32) / 3 + 715_094_163;
    let mut root = f64::from_bits(u64::from(high) << 32);
    for _ in 0..3 {
        let cube = root * root * root;
        root *= (cube + 2.0 * v) / (2.0 * cube + v);
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;
    use palette::convert::FromColorUnclamped;
    use palette::encoding::{self, IntoLinear};
    use palette::{Lab, Srgb};

    #[test]
    fn lab_is_that_of_the_palette_crate_but_for_rounded_constants() {
        let colours = || (0..17 * 17 * 17).map(|i| [i / 289, i / 17 % 17, i % 17].map(|level| f64::from(level) / 16.0));
        let theirs = colours().map(|[r, g, b]| Lab::<D65, f64>::from_color_unclamped(Srgb::new(r, g, b)));
        let mut largest = 0.0f64;
        for (ours, theirs) in labs(colours()).into_iter().zip(theirs) {
            for (ours, theirs) in ours.into_iter().zip([theirs.l, theirs.a, theirs.b]) {
                largest = largest.max((ours - theirs).abs());
            }
        }
        assert!((0.0048..0.0049).contains(&largest), "{largest}");
    }

    #[test]
    fn the_curve_is_that_of_the_palette_crate() {
        for v in (0..=1000).map(|i| f64::from(i) / 1000.0) {
            let theirs: f64 = encoding::Srgb::into_linear(v);
            assert!((decode(v) - theirs).abs() < 1e-14, "{v}: {}, not {theirs}", decode(v));
        }
    }

    #[test]
    fn the_cube_root_is_that_of_the_library() {
        for v in (1..100_000).map(|i| 0.0088 + 3e-4 * f64::from(i)) {
            assert!((cube_root(v) - v.cbrt()).abs() <= 1e-15 * v.cbrt(), "{v}: {}", cube_root(v));
        }
    }

    #[test]
    fn eight_bit_levels_are_decoded_as_any_other_value() {
        for v in (-300..600).map(|i| f64::from(i) / 255.0) {
            assert_eq!(decoded(v), decode(v));
        }
        assert!(decoded(f64::NAN).is_nan() && decoded(0.3) == decode(0.3));
    }
}
