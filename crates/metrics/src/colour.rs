//! Colour spaces.

/// Luma and chroma of NTSC, as GMSD, FSIM and HaarPSI use them.
pub(crate) fn yiq([r, g, b]: [f64; 3]) -> [f64; 3] {
    [0.299 * r + 0.587 * g + 0.114 * b, 0.5959 * r - 0.2746 * g - 0.3213 * b, 0.2115 * r - 0.5227 * g + 0.3112 * b]
}

/// Linear sRGB to XYZ under D65, IEC 61966-2-1 with the matrix of ITU-R BT.709 primaries to six digits, as scikit-image has
/// it.
const XYZ: [[f64; 3]; 3] =
    [[0.412_453, 0.357_580, 0.180_423], [0.212_671, 0.715_160, 0.072_169], [0.019_334, 0.119_193, 0.950_227]];

/// D65 for the observer of 2°, ASTM E308.
const WHITE: [f64; 3] = [0.95047, 1.0, 1.08883];

/// CIELAB of an sRGB colour in `[0, 1]`. Outside, the curves go on as they are.
pub(crate) fn lab(rgb: [f64; 3]) -> [f64; 3] {
    let linear = rgb.map(decoded);
    let relative = |i: usize| {
        let [r, g, b] = XYZ[i];
        (r * linear[0] + g * linear[1] + b * linear[2]) / WHITE[i]
    };
    let [x, y, z] = [relative(0), relative(1), relative(2)].map(compressed);
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

fn decoded(v: f64) -> f64 {
    if v > 0.04045 { ((v + 0.055) / 1.055).powf(2.4) } else { v / 12.92 }
}

fn compressed(t: f64) -> f64 {
    if t > 0.008856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 }
}
