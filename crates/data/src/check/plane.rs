//! Images as numbers, for comparing them.

use image::GrayImage;

/// `width · height` values by rows.
#[derive(Clone, Debug)]
pub(super) struct Plane {
    pub width: usize,
    pub height: usize,
    pub values: Vec<f32>,
}

impl Plane {
    /// Levels 0 to 255.
    pub fn of(image: &GrayImage) -> Self {
        let values = image.as_raw().iter().map(|level| f32::from(*level)).collect();
        Self { width: image.width() as usize, height: image.height() as usize, values }
    }

    pub fn at(&self, x: usize, y: usize) -> f32 {
        self.values[y * self.width + x]
    }

    pub fn map(mut self, f: impl Fn(f32) -> f32) -> Self {
        self.values.iter_mut().for_each(|value| *value = f(*value));
        self
    }

    pub fn zip(mut self, other: &Plane, f: impl Fn(f32, f32) -> f32) -> Self {
        self.values.iter_mut().zip(&other.values).for_each(|(value, other)| *value = f(*value, *other));
        self
    }

    pub fn mirrored(mut self) -> Self {
        let width = self.width.max(1);
        self.values.chunks_mut(width).for_each(<[f32]>::reverse);
        self
    }

    /// The mean of each block of `factor` x `factor`; what does not fill a block at the right and below is left out.
    pub fn shrunk(&self, factor: usize) -> Self {
        let (width, height) = (self.width / factor, self.height / factor);
        let block = |x: usize, y: usize| {
            let rows = (y * factor..(y + 1) * factor).map(|y| &self.values[y * self.width + x * factor..][..factor]);
            rows.flatten().sum::<f32>() / (factor * factor) as f32
        };
        let values = (0..height).flat_map(|y| (0..width).map(move |x| block(x, y))).collect();
        Self { width, height, values }
    }

    /// A Gaussian blur, mirrored at the borders.
    pub fn blurred(&self, sigma: f32) -> Self {
        let radius = (3.0 * sigma).ceil() as isize;
        let weight = |offset: isize| (-((offset * offset) as f32) / (2.0 * sigma * sigma)).exp();
        let kernel: Vec<f32> = (-radius..=radius).map(weight).collect();
        let total: f32 = kernel.iter().sum();
        let kernel: Vec<f32> = kernel.into_iter().map(|weight| weight / total).collect();
        self.filtered(&kernel).transposed().filtered(&kernel).transposed()
    }

    pub fn without_row_means(mut self) -> Self {
        for row in self.values.chunks_mut(self.width.max(1)) {
            let mean = row.iter().sum::<f32>() / row.len() as f32;
            row.iter_mut().for_each(|value| *value -= mean);
        }
        self
    }

    fn filtered(&self, kernel: &[f32]) -> Self {
        let radius = kernel.len() / 2;
        let mut values = Vec::with_capacity(self.values.len());
        for row in self.values.chunks(self.width.max(1)) {
            let inside = |i: usize| row[reflected(i as isize - radius as isize, row.len())];
            let padded: Vec<f32> = (0..row.len() + 2 * radius).map(inside).collect();
            let sum = |window: &[f32]| window.iter().zip(kernel).map(|(value, weight)| value * weight).sum::<f32>();
            values.extend(padded.windows(kernel.len()).map(sum));
        }
        Self { values, ..*self }
    }

    pub fn transposed(&self) -> Self {
        let values = (0..self.width).flat_map(|x| (0..self.height).map(move |y| self.at(x, y))).collect();
        Self { width: self.height, height: self.width, values }
    }
}

/// The place inside `0..len` that a mirror at the borders shows at `place`.
fn reflected(place: isize, len: usize) -> usize {
    let period = 2 * len as isize;
    let place = place.rem_euclid(period);
    (if place < len as isize { place } else { period - 1 - place }) as usize
}

/// Sums over rectangles in constant time.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    width: usize,
    sums: Vec<f64>,
}

impl Sums {
    pub fn of(plane: &Plane) -> Self {
        let width = plane.width + 1;
        let mut sums = vec![0.0; width * (plane.height + 1)];
        for y in 0..plane.height {
            let mut row = 0.0;
            for x in 0..plane.width {
                row += f64::from(plane.at(x, y));
                sums[(y + 1) * width + x + 1] = sums[y * width + x + 1] + row;
            }
        }
        Self { width, sums }
    }

    /// Over columns and rows from the first, without the second.
    pub fn over(&self, columns: (usize, usize), rows: (usize, usize)) -> f64 {
        let at = |x: usize, y: usize| self.sums[y * self.width + x];
        at(columns.1, rows.1) - at(columns.0, rows.1) - at(columns.1, rows.0) + at(columns.0, rows.0)
    }
}

/// Where two intervals of lengths `a` and `b` overlap if the second starts at `shift`: from and to, in the first.
pub(super) fn overlap(a: usize, b: usize, shift: isize) -> (usize, usize) {
    let from = shift.clamp(0, a as isize) as usize;
    let to = (shift + b as isize).clamp(from as isize, a as isize) as usize;
    (from, to)
}
