//! Colours of every pixel.

use crate::levels::Level;
use crate::lightness::Lightness;
use crate::options::Depth;
use crate::photograph::Photograph;
use colormamba_cpu::vectorize;
use colormamba_lite::{GuidedMaps, LANES};
use colormamba_ops::logistic;
use image::{ImageBuffer, Rgb, RgbImage};
use rayon::prelude::*;

/// A photograph in colour, sRGB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Picture {
    /// From 0 to 255.
    Bits8(RgbImage),
    /// From 0 to 65535.
    Bits16(ImageBuffer<Rgb<u16>, Vec<u16>>),
}

impl Picture {
    /// Width and height in pixels.
    pub fn dimensions(&self) -> (u32, u32) {
        match self {
            Self::Bits8(image) => image.dimensions(),
            Self::Bits16(image) => image.dimensions(),
        }
    }
}

/// What the colours of a photograph's pixels follow from.
pub(crate) enum Colours {
    /// Three planes of its size.
    Planes(Vec<f32>),
    /// Offsets and gains of the logit of each pixel's value, by level.
    OffsetGain { maps: GuidedMaps, logits: Vec<f32> },
    /// Slopes and intercepts of each pixel's value.
    Line(GuidedMaps),
}

/// What a thread needs for a row.
#[derive(Default)]
struct Row {
    guide: Vec<f32>,
    coefficients: Vec<[f32; LANES]>,
    rgb: Vec<f32>,
}

impl Colours {
    pub(crate) fn picture<T: Level>(
        &self,
        photograph: &Photograph<T>,
        lightness: Option<&Lightness>,
        depth: Depth,
    ) -> Picture {
        let (width, height) = (photograph.width as u32, photograph.height as u32);
        // The rows are as many as the picture has by construction.
        let whole = "three levels a pixel";
        match depth {
            Depth::Eight => {
                Picture::Bits8(ImageBuffer::from_raw(width, height, self.rows(photograph, lightness)).expect(whole))
            }
            Depth::Sixteen => {
                Picture::Bits16(ImageBuffer::from_raw(width, height, self.rows(photograph, lightness)).expect(whole))
            }
        }
    }

    /// Red, green and blue of every pixel, by rows.
    fn rows<T: Level, O: Level>(&self, photograph: &Photograph<T>, lightness: Option<&Lightness>) -> Vec<O> {
        let width = photograph.width;
        let mut out = vec![O::default(); 3 * photograph.levels.len()];
        let rows = out.par_chunks_mut(3 * width).zip(photograph.levels.par_chunks(width)).enumerate();
        rows.for_each_init(Row::default, |row, (y, (out, levels))| {
            self.row(photograph, y, levels, row);
            if let Some(lightness) = lightness {
                lightness.keep(levels, &mut row.rgb);
            }
            quantize(&row.rgb, out);
        });
        out
    }

    /// The colours of row `y`, in [0, 1] or a little beyond.
    fn row<T: Level>(&self, photograph: &Photograph<T>, y: usize, levels: &[T], row: &mut Row) {
        let (width, size) = (photograph.width, photograph.size());
        let Row { guide, coefficients, rgb } = row;
        rgb.resize(3 * width, 0.0);
        let mut evaluate = |maps: &GuidedMaps| {
            guide.clear();
            guide.extend(levels.iter().map(|level| photograph.values[level.index()]));
            maps.row(y, size, guide, coefficients);
        };
        match self {
            Self::Planes(planes) => {
                for (channel, plane) in planes.chunks_exact(width * photograph.height).enumerate() {
                    let values = &plane[y * width..][..width];
                    rgb.iter_mut().skip(channel).step_by(3).zip(values).for_each(|(rgb, value)| *rgb = *value);
                }
            }
            Self::OffsetGain { maps, logits } => {
                evaluate(maps);
                let pixels = rgb.chunks_exact_mut(3).zip(coefficients.iter()).zip(levels);
                for ((rgb, [r, g, b, by_r, by_g, by_b, ..]), level) in pixels {
                    let logit = logits[level.index()];
                    rgb.copy_from_slice(&[r + by_r * logit, g + by_g * logit, b + by_b * logit]);
                }
                activate(rgb);
            }
            Self::Line(maps) => {
                evaluate(maps);
                rgb.chunks_exact_mut(3).zip(coefficients).for_each(|(rgb, colours)| rgb.copy_from_slice(&colours[..3]));
            }
        }
    }
}

/// The logistic function in the place of each.
fn activate(values: &mut [f32]) {
    vectorize(
        #[inline(always)]
        || {
            for value in values {
                *value = logistic(*value);
            }
        },
    );
}

fn quantize<O: Level>(values: &[f32], out: &mut [O]) {
    vectorize(
        #[inline(always)]
        || {
            for (out, value) in out.iter_mut().zip(values) {
                *out = O::nearest(*value);
            }
        },
    );
}
