//! From radiance to 8-bit images: exposure, noise, tone curve.

use std::sync::LazyLock;

use image::{GrayImage, RgbImage};

use super::canvas::Canvas;
use super::noise::Dice;

/// sRGB code values (IEC 61966-2-1) of linear values 0, 1/N, ..., 1. Rounded from f64, so that the last bit of a
/// platform's `powf` cannot show.
static TONES: LazyLock<Vec<u8>> = LazyLock::new(|| (0..=STEPS).map(|i| encode(i as f64 / STEPS as f64)).collect());
const STEPS: usize = 1 << 14;

fn encode(linear: f64) -> u8 {
    let code = if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 };
    (255.0 * code).round() as u8
}

/// Noise of a sensor, in linear units: variance = read² + shot · signal.
struct Noise {
    read: f32,
    shot: f32,
}

impl Noise {
    fn code(&self, signal: f32, dice: &mut Dice) -> u8 {
        let sigma = (self.read * self.read + self.shot * signal).sqrt();
        let value = (signal + sigma * dice.gaussian()).clamp(0.0, 1.0);
        TONES[(value * STEPS as f32 + 0.5) as usize]
    }
}

/// Takes the two photographs. Each is exposed on its own, as with two exposures of one camera; the same tone curve
/// serves both. The near-infrared image is the noisier one: silicon is less sensitive there.
pub(super) fn develop(canvas: &Canvas, dice: &mut Dice) -> (GrayImage, RgbImage) {
    let visible = exposure(canvas, |[r, g, b, _]| 0.25 * r + 0.5 * g + 0.25 * b) * dice.range(0.85, 1.2);
    let infrared = exposure(canvas, |pixel| pixel[3]) * dice.range(0.85, 1.2);
    let balance: [f32; 3] = [dice.range(0.97, 1.03), 1.0, dice.range(0.97, 1.03)];
    let colour = Noise { read: 0.002, shot: dice.range(0.5e-4, 2e-4) };
    let grey = Noise { read: 0.003, shot: dice.range(1e-4, 4e-4) };
    let (width, height) = (canvas.width as u32, canvas.height as u32);
    let (mut nir, mut rgb) = (GrayImage::new(width, height), RgbImage::new(width, height));
    for ((radiance, nir), rgb) in canvas.pixels.iter().zip(nir.pixels_mut()).zip(rgb.pixels_mut()) {
        for (band, code) in rgb.0.iter_mut().enumerate() {
            *code = colour.code(radiance[band] * visible * balance[band], dice);
        }
        nir.0[0] = grey.code(radiance[3] * infrared, dice);
    }
    (nir, rgb)
}

/// The gain that brings the mean to a mid grey, in part: dark scenes stay darker.
fn exposure(canvas: &Canvas, measure: impl Fn([f32; 4]) -> f32) -> f32 {
    let mean = canvas.pixels.iter().map(|&pixel| f64::from(measure(pixel).min(1.0))).sum::<f64>();
    let mean = (mean / canvas.pixels.len() as f64) as f32;
    (0.22 / (mean + 0.03)).clamp(0.5, 2.5)
}
