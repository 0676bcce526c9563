//! Fourier transforms of planes.

use crate::plane::Plane;
use rustfft::num_complex::Complex64;
use rustfft::{Fft, FftDirection, FftPlanner};
use std::sync::Arc;

/// Transforms of images of one size. Spectra are stored transposed, `(width, height)`: that spares each transform one of
/// two transpositions.
pub(crate) struct Fourier {
    along_rows: [Arc<dyn Fft<f64>>; 2],
    along_columns: [Arc<dyn Fft<f64>>; 2],
    height: usize,
    width: usize,
}

impl Fourier {
    pub fn new(height: usize, width: usize) -> Self {
        let mut planner = FftPlanner::new();
        let mut both = |n| [FftDirection::Forward, FftDirection::Inverse].map(|way| planner.plan_fft(n, way));
        Self { along_rows: both(width), along_columns: both(height), height, width }
    }

    /// Height and width of the images.
    pub fn size(&self) -> (usize, usize) {
        (self.height, self.width)
    }

    /// The spectrum of a plane, `(width, height)`, not normalised.
    pub fn forward(&self, plane: &Plane) -> Vec<Complex64> {
        let mut rows: Vec<Complex64> = plane.values.iter().map(|&v| v.into()).collect();
        let mut columns = vec![Complex64::default(); rows.len()];
        self.along_rows[0].process(&mut rows);
        transpose::transpose(&rows, &mut columns, self.width, self.height);
        self.along_columns[0].process(&mut columns);
        columns
    }

    /// The image of a spectrum into `image`, `(height, width)`, not normalised: [`Self::forward`] and this multiply by the
    /// number of pixels. `fill` writes the spectrum's entries from the given one on, a few columns at a time: they are
    /// transformed before they leave the cache.
    pub fn inverse(&self, fill: impl Fn(usize, &mut [Complex64]), image: &mut [Complex64]) {
        const TOGETHER: usize = 8;
        let mut columns = vec![Complex64::default(); TOGETHER * self.height];
        let mut scratch = vec![Complex64::default(); self.along_columns[1].get_inplace_scratch_len()];
        for first in (0..self.width).step_by(TOGETHER) {
            let count = TOGETHER.min(self.width - first);
            let columns = &mut columns[..count * self.height];
            fill(first * self.height, columns);
            self.along_columns[1].process_with_scratch(columns, &mut scratch);
            for (y, row) in image.chunks_exact_mut(self.width).enumerate() {
                for (x, out) in row[first..first + count].iter_mut().enumerate() {
                    *out = columns[x * self.height + y];
                }
            }
        }
        self.along_rows[1].process(image);
    }
}
