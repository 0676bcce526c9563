//! One channel of an image, and what is computed from one.

/// Values of one channel, row-major.
#[derive(Clone, Debug)]
pub(crate) struct Plane {
    pub values: Vec<f64>,
    pub height: usize,
    pub width: usize,
}

/// The channels of one image in one colour space.
pub(crate) type Planes = [Plane; 3];

impl Plane {
    pub fn new(values: Vec<f64>, height: usize, width: usize) -> Self {
        debug_assert_eq!(values.len(), height * width);
        Self { values, height, width }
    }

    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.width)
    }

    pub fn row(&self, y: usize) -> &[f64] {
        &self.values[y * self.width..][..self.width]
    }

    /// A plane of the same size, value by value.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self::new(self.values.iter().map(|&v| f(v)).collect(), self.height, self.width)
    }

    /// A plane of the same size from this one and another.
    pub fn zip(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        let values = self.values.iter().zip(&other.values).map(|(&a, &b)| f(a, b)).collect();
        Self::new(values, self.height, self.width)
    }

    pub fn mean(&self) -> f64 {
        self.values.iter().sum::<f64>() / self.values.len() as f64
    }

    /// With `before` zeros above and to the left, `after` below and to the right.
    pub fn padded(&self, before: usize, after: usize) -> Self {
        let (height, width) = (self.height + before + after, self.width + before + after);
        let mut values = vec![0.0; height * width];
        for (row, out) in self.rows().zip(values.chunks_exact_mut(width).skip(before)) {
            out[before..before + self.width].copy_from_slice(row);
        }
        Self::new(values, height, width)
    }
}
