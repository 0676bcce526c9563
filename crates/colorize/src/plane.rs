//! One channel of an image, and its smaller forms.

use crate::levels::{Level, in_8_bits};
use crate::tiles::reflected;
use colormamba_cpu::vectorize;
use colormamba_data::pillow::{self, Window};
use rayon::prelude::*;

/// One channel: levels in units of 8 bits, by rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plane {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) levels: Vec<f32>,
}

impl Plane {
    /// Of a photograph of `(width, height)` pixels.
    pub(crate) fn of<T: Level>(levels: &[T], (width, height): (usize, usize)) -> Self {
        let levels = levels.iter().map(|level| in_8_bits::<T>(level.index()) as f32).collect();
        Self { width, height, levels }
    }

    /// Of a photograph at `(w, h)`, no larger than its own size: bicubic resampling with antialiasing, as the images of
    /// a training are resized ([`colormamba_data::pillow::resize`]), in floating point.
    pub(crate) fn shrunk<T: Level>(levels: &[T], (width, height): (usize, usize), (w, h): (usize, usize)) -> Self {
        let (rows, columns) = (windows(height, h), windows(width, w));
        let unit = in_8_bits::<T>(1) as f32;
        let row = |Window { first, weights }: &Window<f32>| {
            let mut sums = vec![0.0f32; width];
            for (row, weight) in levels[first * width..].chunks_exact(width).zip(weights) {
                add(&mut sums, row, weight * unit);
            }
            let value = |Window { first, weights }: &Window<f32>| {
                let sum: f32 = sums[*first..].iter().zip(weights).map(|(level, weight)| level * weight).sum();
                sum.clamp(0.0, 255.0)
            };
            columns.iter().map(value).collect::<Vec<f32>>()
        };
        let levels = rows.par_iter().flat_map_iter(row).collect();
        Self { width: w, height: h, levels }
    }
}

impl Plane {
    /// The same with `margin` pixels more at every side, where the image is reflected.
    pub(crate) fn framed(&self, margin: usize) -> Self {
        let places = |n: usize| {
            // The first pixels stand `margin` before 0: at the same place of the reflection, which is periodic.
            let period = (2 * (n - 1)).max(1);
            let start = margin.next_multiple_of(period) - margin;
            (0..n + 2 * margin).map(move |i| reflected(start + i, n))
        };
        let row = |y: usize| places(self.width).map(move |x| self.levels[y * self.width + x]);
        let levels = places(self.height).flat_map(row).collect();
        Self { width: self.width + 2 * margin, height: self.height + 2 * margin, levels }
    }

    /// Planes of the size of [`Self::framed`], without the frame.
    pub(crate) fn unframed(&self, framed: &[f32], margin: usize) -> Vec<f32> {
        let (width, height) = (self.width + 2 * margin, self.height + 2 * margin);
        let inner = |plane: &[f32]| {
            let rows = plane.chunks_exact(width).skip(margin).take(self.height);
            rows.flat_map(|row| row[margin..][..self.width].to_vec()).collect::<Vec<f32>>()
        };
        framed.chunks_exact(width * height).flat_map(inner).collect()
    }
}

/// Adds `weight` times a row to sums.
fn add<T: Level>(sums: &mut [f32], row: &[T], weight: f32) {
    vectorize(
        #[inline(always)]
        || {
            for (sum, level) in sums.iter_mut().zip(row) {
                *sum += weight * level.index() as f32;
            }
        },
    );
}

/// `(width, height)` with the long side at `side`, in pixels; never larger than it was.
pub(crate) fn within((width, height): (usize, usize), side: usize) -> (usize, usize) {
    let long = width.max(height).max(1);
    let at = |n: usize| ((n as f64 * side as f64 / long as f64).round() as usize).max(1);
    if long <= side { (width, height) } else { (at(width), at(height)) }
}

/// [`pillow::windows`] with weights of f32.
fn windows(from: usize, to: usize) -> Vec<Window<f32>> {
    let narrow = |Window { first, weights }: Window| {
        let weights = weights.into_iter().map(|weight| weight as f32).collect();
        Window { first, weights }
    };
    // Sides of images are of u32.
    pillow::windows(from as u32, to as u32).into_iter().map(narrow).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Luma};

    #[test]
    fn a_frame_reflects_and_comes_off() {
        let plane = Plane { width: 3, height: 2, levels: vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0] };
        for margin in [0, 1, 2, 9] {
            let framed = plane.framed(margin);
            assert_eq!((framed.width, framed.height), (3 + 2 * margin, 2 + 2 * margin));
            let twice = [framed.levels.clone(), framed.levels.clone()].concat();
            let wanted = [plane.levels.clone(), plane.levels.clone()].concat();
            assert_eq!(plane.unframed(&twice, margin), wanted, "margin {margin}");
            let line = &framed.levels[margin * framed.width..][..framed.width];
            for (i, value) in line.iter().enumerate() {
                let mirror = line.get((2 * margin + 4).wrapping_sub(i));
                assert!(mirror.is_none_or(|mirror| mirror == value), "reflected about the right pixel: {line:?}");
            }
        }
    }

    #[test]
    fn a_smaller_image_is_pillows_before_its_rounding() {
        let image = GrayImage::from_fn(97, 61, |x, y| Luma([(x * x + 7 * y * y) as u8]));
        let deep: Vec<u16> = image.iter().map(|&level| u16::from(level) * 257).collect();
        for size in [(40, 30), (97, 20), (1, 1)] {
            let wanted = pillow::resize(&image, size.0 as u32, size.1 as u32);
            let small = Plane::shrunk(image.as_raw(), (97, 61), size);
            let close = |(a, b): (&f32, &u8)| (a - f32::from(*b)).abs() < 1.1;
            assert!(small.levels.iter().zip(wanted.iter()).all(close), "{size:?}");
            let of_deep = Plane::shrunk(&deep, (97, 61), size);
            assert!(small.levels.iter().zip(&of_deep.levels).all(|(a, b)| (a - b).abs() < 1e-3));
        }
    }

    #[test]
    fn the_long_side_alone_is_given_and_nothing_is_enlarged() {
        assert_eq!(within((4000, 3000), 512), (512, 384));
        assert_eq!(within((37, 1000), 512), (19, 512));
        assert_eq!(within((1, 5000), 512), (1, 512));
        assert_eq!([(512, 512), (1, 1), (0, 0)].map(|size| within(size, 512)), [(512, 512), (1, 1), (0, 0)]);
    }
}
