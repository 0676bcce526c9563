//! The term `ciede2000`.

use crate::colour::dual::Differentiable;
use crate::colour::pixelwise::{DistanceKind, PixelDistance, PixelMap, Rows, map_pixels, mean_over_pixels};
use crate::colour::space::ToLab;
use crate::definition::{Definition, Family};
use crate::view::{Comparison, View};
use crate::{About, Channels, LossError};
use candle_core::DType;
use colormamba_ops::Node;
use std::f64::consts::{PI, SQRT_2};

const ABOUT: About = About {
    name: "ciede2000",
    formula: "mean over pixels of √(ΔE00² + ε²) − ε, ε = 1e-3, of the sRGB images in CIELAB under D65; below 0 and above 1 the \
              curves of sRGB and Lab go on as they are",
    range: "0 to 119; 1 is about what an eye can tell apart",
    source: "Sharma, Wu, Dalal, Color Research & Application 30 (2005), doi:10.1002/col.20070, with kL = kC = kH = 1; smoothed \
             at 0 by ε, without which it has a kink there",
    options: "",
};

pub(crate) struct Ciede2000;

impl Definition for Ciede2000 {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn family(&self) -> Family {
        Family::Colour
    }

    fn channels(&self) -> Channels {
        Channels::Three
    }

    fn smallest_side(&self) -> usize {
        1
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn against(&self, target: &View) -> Result<Comparison, LossError> {
        let to_lab = ToLab::new();
        let target = Node::from(&target.image().value().to_dtype(DType::F64)?);
        let target = map_pixels(&target, to_lab)?.value().clone();
        Ok(Box::new(move |pred| Ok(mean_over_pixels(pred.image(), &target, FromLab(to_lab))?)))
    }
}

/// Differences far below it count by their square.
const EPS: f64 = 1e-3;

/// ΔE00² of two colours in Lab.
#[inline(always)]
fn squared_difference<N: Differentiable>([l1, a1, b1]: [N; 3], [l2, a2, b2]: [f64; 3]) -> N {
    let mean_chroma = (chroma(a1, b1) + chroma(a2, b2)) * 0.5;
    let stretch = -saturation(mean_chroma) * 0.5 + 1.5;
    let (a1, a2) = (a1 * stretch, stretch * a2);
    let (c1, c2) = (chroma(a1, b1), (a2 * a2 + b2 * b2).sqrt());

    // ΔH' = 2 √(C1' C2') sin(Δh'/2) without angles, which grey has none of, and its square, which is smooth at grey.
    let dot = a1 * a2 + b1 * b2;
    let cross = a1 * b2 - a2 * b1;
    let (dh, dh2) = if dot.value() > 0.0 {
        let dh = cross * SQRT_2 / (c1 * c2 + dot).sqrt();
        (dh, dh * dh)
    } else {
        let dh2 = (c1 * c2 - dot) * 2.0;
        (if cross.value() < 0.0 { -dh2.sqrt() } else { dh2.sqrt() }, dh2)
    };
    let (dl, dc) = (-l1 + l2, c2 - c1);

    let hue = mean_hue(b1.atan2(a1), N::constant(b2).atan2(a2), c1.value() * c2.value() > 0.0);
    let c = (c1 + c2) * 0.5;
    let l = (l1 + l2) * 0.5 - 50.0;
    let s_l = l * l * 0.015 / (l * l + 20.0).sqrt() + 1.0;
    let s_c = c * 0.045 + 1.0;
    let s_h = c * hue_weight(hue) * 0.015 + 1.0;
    let (l, c, h, h2) = (dl / s_l, dc / s_c, dh / s_h, dh2 / (s_h * s_h));
    l * l + c * c + h2 + rotation(hue, (c1 + c2) * 0.5) * c * h
}

#[inline(always)]
fn chroma<N: Differentiable>(a: N, b: N) -> N {
    (a * a + b * b).sqrt()
}

/// √(C⁷ / (C⁷ + 25⁷)).
#[inline(always)]
fn saturation<N: Differentiable>(chroma: N) -> N {
    const TURN: f64 = 6_103_515_625.0;
    let power = chroma.seventh();
    (power / (power + TURN)).sqrt()
}

/// The mean of two hue angles on the shorter arc, in [0, 2π); of a grey and a colour that of the colour.
#[inline(always)]
fn mean_hue<N: Differentiable>(h1: N, h2: N, both: bool) -> N {
    let turned = |h: N| if h.value() < 0.0 { h + 2.0 * PI } else { h };
    let (h1, h2) = (turned(h1), turned(h2));
    let sum = h1 + h2;
    if !both {
        sum
    } else if (h1 - h2).value().abs() <= PI {
        sum * 0.5
    } else if sum.value() < 2.0 * PI {
        sum * 0.5 + PI
    } else {
        sum * 0.5 - PI
    }
}

/// T.
#[inline(always)]
fn hue_weight<N: Differentiable>(hue: N) -> N {
    let (sin, cos) = hue.sin_cos();
    let (sin2, cos2) = (sin * cos * 2.0, cos * cos - sin * sin);
    let (sin3, cos3) = (sin2 * cos + cos2 * sin, cos2 * cos - sin2 * sin);
    let (sin4, cos4) = (sin2 * cos2 * 2.0, cos2 * cos2 - sin2 * sin2);
    // cos(kh − x) = cos kh cos x + sin kh sin x.
    let turned = |cos: N, sin: N, degrees: f64| {
        let (s, c) = degrees.to_radians().sin_cos();
        cos * c + sin * s
    };
    -turned(cos, sin, 30.0) * 0.17 + cos2 * 0.24 + turned(cos3, sin3, -6.0) * 0.32 - turned(cos4, sin4, 63.0) * 0.20
        + 1.0
}

/// R_T.
#[inline(always)]
fn rotation<N: Differentiable>(hue: N, chroma: N) -> N {
    let from_blue = (hue - 275f64.to_radians()) / 25f64.to_radians();
    let (sin, _) = ((-(from_blue * from_blue)).exp() * 60f64.to_radians()).sin_cos();
    -sin * saturation(chroma) * 2.0
}

#[derive(Clone, Copy)]
struct FromLab(ToLab);

impl PixelDistance for FromLab {
    #[inline(always)]
    fn of<N: Differentiable>(self, p: [N; 3], t: [f64; 3]) -> N {
        let square = squared_difference(self.0.of(p), t);
        // √(x + ε²) − ε without the loss of digits.
        square / ((square + EPS * EPS).sqrt() + EPS)
    }

    fn kernel(self) -> (DistanceKind, Option<Rows>) {
        (DistanceKind::Ciede2000, Some(self.0.rows()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palette::Lab;
    use palette::color_difference::Ciede2000;
    use palette::white_point::D65;

    /// Table 1 of Sharma, Wu, Dalal 2005: two colours in Lab and their difference.
    const PAIRS: [([f64; 3], [f64; 3], f64); 34] = [
        ([50.0, 2.6772, -79.7751], [50.0, 0.0, -82.7485], 2.0425),
        ([50.0, 3.1571, -77.2803], [50.0, 0.0, -82.7485], 2.8615),
        ([50.0, 2.8361, -74.0200], [50.0, 0.0, -82.7485], 3.4412),
        ([50.0, -1.3802, -84.2814], [50.0, 0.0, -82.7485], 1.0000),
        ([50.0, -1.1848, -84.8006], [50.0, 0.0, -82.7485], 1.0000),
        ([50.0, -0.9009, -85.5211], [50.0, 0.0, -82.7485], 1.0000),
        ([50.0, 0.0, 0.0], [50.0, -1.0, 2.0], 2.3669),
        ([50.0, -1.0, 2.0], [50.0, 0.0, 0.0], 2.3669),
        ([50.0, 2.4900, -0.0010], [50.0, -2.4900, 0.0009], 7.1792),
        ([50.0, 2.4900, -0.0010], [50.0, -2.4900, 0.0010], 7.1792),
        ([50.0, 2.4900, -0.0010], [50.0, -2.4900, 0.0011], 7.2195),
        ([50.0, 2.4900, -0.0010], [50.0, -2.4900, 0.0012], 7.2195),
        ([50.0, -0.0010, 2.4900], [50.0, 0.0009, -2.4900], 4.8045),
        ([50.0, -0.0010, 2.4900], [50.0, 0.0010, -2.4900], 4.8045),
        ([50.0, -0.0010, 2.4900], [50.0, 0.0011, -2.4900], 4.7461),
        ([50.0, 2.5, 0.0], [50.0, 0.0, -2.5], 4.3065),
        ([50.0, 2.5, 0.0], [73.0, 25.0, -18.0], 27.1492),
        ([50.0, 2.5, 0.0], [61.0, -5.0, 29.0], 22.8977),
        ([50.0, 2.5, 0.0], [56.0, -27.0, -3.0], 31.9030),
        ([50.0, 2.5, 0.0], [58.0, 24.0, 15.0], 19.4535),
        ([50.0, 2.5, 0.0], [50.0, 3.1736, 0.5854], 1.0000),
        ([50.0, 2.5, 0.0], [50.0, 3.2972, 0.0], 1.0000),
        ([50.0, 2.5, 0.0], [50.0, 1.8634, 0.5757], 1.0000),
        ([50.0, 2.5, 0.0], [50.0, 3.2592, 0.3350], 1.0000),
        ([60.2574, -34.0099, 36.2677], [60.4626, -34.1751, 39.4387], 1.2644),
        ([63.0109, -31.0961, -5.8663], [62.8187, -29.7946, -4.0864], 1.2630),
        ([61.2901, 3.7196, -5.3901], [61.4292, 2.2480, -4.9620], 1.8731),
        ([35.0831, -44.1164, 3.7933], [35.0232, -40.0716, 1.5901], 1.8645),
        ([22.7233, 20.0904, -46.6940], [23.0331, 14.9730, -42.5619], 2.0373),
        ([36.4612, 47.8580, 18.3852], [36.2715, 50.5065, 21.2231], 1.4146),
        ([90.8027, -2.0831, 1.4410], [91.1528, -1.6435, 0.0447], 1.4441),
        ([90.9257, -0.5406, -0.9208], [88.6381, -0.8985, -0.7239], 1.5381),
        ([6.7747, -0.2908, -2.4247], [5.8714, -0.0985, -2.2286], 0.6377),
        ([2.0776, 0.0795, -1.1350], [0.9033, -0.0636, -0.5514], 0.9082),
    ];

    #[test]
    fn differences_are_the_published_ones() {
        for (index, (one, other, published)) in PAIRS.into_iter().enumerate() {
            for (from, to) in [(one, other), (other, one)] {
                let got = squared_difference(from, to).sqrt();
                assert!((got - published).abs() < 1e-4, "pair {}: {got}, not {published}", index + 1);
            }
        }
    }

    /// Except that there the mean of two hues may be 360 degrees and more, which changes the last term by e^-11 of itself.
    #[test]
    fn differences_are_those_of_the_palette_crate() {
        for (one, _, _) in PAIRS {
            for (_, other, _) in PAIRS {
                let lab = |[l, a, b]: [f64; 3]| Lab::<D65, f64>::new(l, a, b);
                let (got, want) = (squared_difference(one, other).sqrt(), lab(one).difference(lab(other)));
                assert!((got - want).abs() <= 1e-5 * want, "{one:?} and {other:?}: {got}, not {want}");
            }
        }
    }
}
