//! CIEDE2000, its mean and its 95th percentile.

use crate::{Best, Definition, Measure, Pair};
use std::f64::consts::{PI, TAU};

impl Measure {
    /// Colour difference [`ciede2000`](crate::ciede2000), averaged over pixels.
    ///
    /// In `[0, 120]` or so, lower is better; 1 is about what an eye can tell apart. Symmetric.
    ///
    /// Source: Sharma, Wu, Dalal, Color Research & Application 30 (2005), doi:10.1002/col.20070.
    pub const CIEDE2000_MEAN: Self =
        Self { definition: &definition("ciede2000[srgb,D65,mean]", "ciede2000", "ΔE00"), value: mean };

    /// Colour difference that 95 % of the pixels stay below, with linear interpolation between pixels. Else as
    /// [`Self::CIEDE2000_MEAN`].
    pub const CIEDE2000_P95: Self = Self {
        definition: &definition("ciede2000[srgb,D65,p95]", "ciede2000[p95]", "ΔE00 p95"),
        value: percentile_95,
    };
}

const fn definition(spec: &'static str, name: &'static str, label: &'static str) -> Definition {
    Definition { spec, name, label, unit: "", best: Best::Lowest, smallest_side: 1 }
}

fn mean(pair: &Pair) -> f64 {
    let differences = differences(pair);
    differences.iter().sum::<f64>() / differences.len() as f64
}

fn percentile_95(pair: &Pair) -> f64 {
    let mut differences = differences(pair).to_vec();
    crate::summary::percentile(&mut differences, 0.95)
}

/// The difference of each pixel.
fn differences<'a>(pair: &'a Pair) -> &'a [f64] {
    let [pred, target] = pair.lab();
    pair.ciede2000.get_or_init(|| pred.iter().zip(target).map(|(&p, &t)| ciede2000(p, t)).collect())
}

/// Colour difference of two colours `[L*, a*, b*]` in CIELAB with kL = kC = kH = 1.
///
/// 0 for equal colours, up to about 120; 1 is about what an eye can tell apart. Symmetric.
///
/// Source: Sharma, Wu, Dalal, "The CIEDE2000 color-difference formula", Color Research & Application 30 (2005),
/// doi:10.1002/col.20070, equations 2 to 22.
pub fn ciede2000([l1, a1, b1]: [f64; 3], [l2, a2, b2]: [f64; 3]) -> f64 {
    let stretch = 1.5 - 0.5 * saturation((chroma(a1, b1) + chroma(a2, b2)) / 2.0);
    let (a1, a2) = (stretch * a1, stretch * a2);
    let (c1, c2) = (chroma(a1, b1), chroma(a2, b2));
    let hues = Hues::of(b1.atan2(a1), b2.atan2(a2), c1 * c2 == 0.0);

    let (lightness, c) = ((l1 + l2) / 2.0, (c1 + c2) / 2.0);
    let lightness_squared = (lightness - 50.0) * (lightness - 50.0);
    let s_l = 1.0 + 0.015 * lightness_squared / (20.0 + lightness_squared).sqrt();
    let s_c = 1.0 + 0.045 * c;
    let s_h = 1.0 + 0.015 * c * hue_weight(hues.mean);

    let (dl, dc) = ((l2 - l1) / s_l, (c2 - c1) / s_c);
    let dh = 2.0 * (c1 * c2).sqrt() * (hues.difference / 2.0).sin() / s_h;
    (dl * dl + dc * dc + dh * dh + rotation(hues.mean, c) * dc * dh).max(0.0).sqrt()
}

/// Difference and mean of two hue angles, in radians.
struct Hues {
    difference: f64,
    mean: f64,
}

impl Hues {
    fn of(h1: f64, h2: f64, grey: bool) -> Self {
        let positive = |h: f64| if h < 0.0 { h + TAU } else { h };
        let (h1, h2) = (positive(h1), positive(h2));
        let (difference, sum) = (h2 - h1, h1 + h2);
        if grey {
            // A grey colour has hue 0 here; there is no difference, and the mean is the other colour's hue.
            return Self { difference: 0.0, mean: sum };
        }
        if difference.abs() <= PI {
            return Self { difference, mean: sum / 2.0 };
        }
        let mean = if sum < TAU { sum + TAU } else { sum - TAU } / 2.0;
        Self { difference: difference - TAU.copysign(difference), mean }
    }
}

fn chroma(a: f64, b: f64) -> f64 {
    (a * a + b * b).sqrt()
}

/// √(C⁷ / (C⁷ + 25⁷)).
fn saturation(chroma: f64) -> f64 {
    const LIMIT: f64 = 6_103_515_625.0;
    let power = chroma.powi(7);
    (power / (power + LIMIT)).sqrt()
}

fn hue_weight(hue: f64) -> f64 {
    // Sines and cosines of the multiples of the angle by addition, which spares three cosines a pixel.
    let (s1, c1) = hue.sin_cos();
    let (s2, c2) = (2.0 * s1 * c1, 2.0 * c1 * c1 - 1.0);
    let (s3, c3) = (s2 * c1 + c2 * s1, c2 * c1 - s2 * s1);
    let (s4, c4) = (2.0 * s2 * c2, 2.0 * c2 * c2 - 1.0);
    let shifted = |sin: f64, cos: f64, degrees: f64| {
        let (s, c) = degrees.to_radians().sin_cos();
        cos * c - sin * s
    };
    1.0 - 0.17 * shifted(s1, c1, -30.0) + 0.24 * c2 + 0.32 * shifted(s3, c3, 6.0) - 0.20 * shifted(s4, c4, -63.0)
}

fn rotation(hue: f64, chroma: f64) -> f64 {
    let blue = (hue.to_degrees() - 275.0) / 25.0;
    -2.0 * saturation(chroma) * (60.0 * (-blue * blue).exp()).to_radians().sin()
}
