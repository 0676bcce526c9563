//! Coefficients from a small image brought to a large one along the large one's own edges.

use colormamba_cpu::vectorize;
use std::ops::Range;

/// Numbers that a pixel of the small image holds: a slope for each coefficient, padded to [`LANES`], then its intercepts.
const RECORD: usize = 2 * LANES;

/// Coefficients a pixel, padded: half a register of 16.
pub const LANES: usize = 8;

/// Maps of coefficients as functions of a guide: at each pixel `coefficient = slope · guide + intercept`, fitted in
/// windows of the small image (the guided filter, He, Sun, Tang, doi 10.1109/TPAMI.2012.213, in the form that filters
/// small and evaluates large, He & Sun, arXiv 1505.00996). Where the guide has an edge within a window, so has the
/// coefficient, at any size.
pub struct GuidedMaps {
    width: usize,
    height: usize,
    /// A record a pixel, by rows.
    records: Vec<f32>,
}

impl GuidedMaps {
    /// Fits `maps`, up to [`LANES`] planes of `width` x `height`, to `guide`, a plane of the same size, in windows of
    /// `2·radius + 1` pixels. `eps` is the variance of the guide below which a window counts as flat: there the
    /// coefficients are their mean.
    ///
    /// # Panics
    /// If a plane has another size, or there are more than [`LANES`].
    pub fn fit(maps: &[&[f32]], guide: &[f32], (width, height): (usize, usize), radius: usize, eps: f32) -> Self {
        assert!(maps.len() <= LANES, "{} coefficients", maps.len());
        let mean = |values: &[f32]| box_mean(values, (width, height), radius);
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).collect::<Vec<f32>>();
        let (mean_guide, mean_square) = (mean(guide), mean(&product(guide, guide)));
        // Windows count by their variance: one with an edge knows more of the slope than the flat ones around it, whose
        // slope of 0 would take the edge off the coefficient.
        let weights: Vec<f32> =
            mean_square.iter().zip(&mean_guide).map(|(square, mean)| (square - mean * mean).max(0.0) + eps).collect();
        let mean_weight = mean(&weights);
        let mut records = vec![0.0; width * height * RECORD];
        for (lane, map) in maps.iter().enumerate() {
            assert_eq!((map.len(), guide.len()), (width * height, width * height), "planes of one size");
            let (mean_map, mean_product) = (mean(map), mean(&product(map, guide)));
            // Slope and intercept of the window around a pixel, times its weight.
            let line = |i: usize| {
                let covariance = mean_product[i] - mean_guide[i] * mean_map[i];
                (covariance, weights[i] * mean_map[i] - covariance * mean_guide[i])
            };
            let (slopes, intercepts): (Vec<f32>, Vec<f32>) = (0..width * height).map(line).unzip();
            for (lane, plane) in [(lane, mean(&slopes)), (LANES + lane, mean(&intercepts))] {
                let values = plane.iter().zip(&mean_weight).map(|(sum, weight)| sum / weight);
                records.chunks_exact_mut(RECORD).zip(values).for_each(|(record, value)| record[lane] = value);
            }
        }
        Self { width, height, records }
    }

    /// The coefficients of row `y` of an image of `size` pixels, width and height, whose guide there is `guide`: one array
    /// a pixel. Between the pixels of the small image slopes and intercepts are interpolated linearly; the corners of both
    /// images coincide.
    pub fn row(&self, y: usize, size: (usize, usize), guide: &[f32], out: &mut Vec<[f32; LANES]>) {
        let records = self.between_rows(y, size.1);
        let step = self.width as f32 / size.0 as f32;
        out.resize(guide.len(), [0.0; LANES]);
        vectorize(
            #[inline(always)]
            || {
                for (x, (out, &value)) in out.iter_mut().zip(guide).enumerate() {
                    let (left, right, share) = neighbours(x, step, self.width);
                    let (left, right) = (&records[record(left)], &records[record(right)]);
                    for lane in 0..LANES {
                        let slope = share.mul_add(right[lane] - left[lane], left[lane]);
                        let (left, right) = (left[LANES + lane], right[LANES + lane]);
                        out[lane] = slope.mul_add(value, share.mul_add(right - left, left));
                    }
                }
            },
        );
    }

    /// The records of a row of a larger image.
    fn between_rows(&self, y: usize, height: usize) -> Vec<f32> {
        let (above, below, share) = neighbours(y, self.height as f32 / height as f32, self.height);
        let row = |y: usize| &self.records[y * self.width * RECORD..][..self.width * RECORD];
        row(above).iter().zip(row(below)).map(|(above, below)| above + share * (below - above)).collect()
    }
}

#[inline(always)]
fn record(x: usize) -> Range<usize> {
    x * RECORD..(x + 1) * RECORD
}

/// The two of `n` pixels between whose centres that of pixel `i` lies, where it is `step` as long as theirs, and the share
/// of the second.
#[inline(always)]
fn neighbours(i: usize, step: f32, n: usize) -> (usize, usize, f32) {
    let place = ((i as f32 + 0.5) * step - 0.5).clamp(0.0, (n - 1) as f32);
    let first = place as usize;
    (first, (first + 1).min(n - 1), place - first as f32)
}

/// The mean over a window of `2·radius + 1` pixels a side around each, cut off at the borders.
fn box_mean(values: &[f32], (width, height): (usize, usize), radius: usize) -> Vec<f32> {
    let rows: Vec<f32> = values.chunks_exact(width).flat_map(|row| line_mean(row.iter().copied(), radius)).collect();
    // All columns at once, row after row, which is how they lie in memory. Sums from the top in f64, as of a line.
    let mut sums = vec![0.0; (height + 1) * width];
    for y in 0..height {
        let (above, below) = sums[y * width..].split_at_mut(width);
        let row = &rows[y * width..];
        below.iter_mut().zip(above).zip(row).for_each(|((sum, above), value)| *sum = *above + f64::from(*value));
    }
    let mean = |y: usize| {
        let (start, end) = window(y, radius, height);
        let (above, below) = (&sums[start * width..][..width], &sums[end * width..][..width]);
        above.iter().zip(below).map(move |(above, below)| ((below - above) / (end - start) as f64) as f32)
    };
    (0..height).flat_map(mean).collect()
}

/// From where to where the window around `i` of `n` pixels goes.
fn window(i: usize, radius: usize, n: usize) -> (usize, usize) {
    (i.saturating_sub(radius), (i + radius + 1).min(n))
}

fn line_mean(line: impl ExactSizeIterator<Item = f32>, radius: usize) -> Vec<f32> {
    let n = line.len();
    let mut sums = Vec::with_capacity(n + 1);
    sums.push(0.0);
    // In f64, so that differences of sums keep their digits.
    line.fold(0.0, |sum, value| {
        let sum: f64 = sum + f64::from(value);
        sums.push(sum);
        sum
    });
    let mean = |i: usize| {
        let (start, end) = window(i, radius, n);
        ((sums[end] - sums[start]) / (end - start) as f64) as f32
    };
    (0..n).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluated(maps: &GuidedMaps, size: (usize, usize), guide: impl Fn(usize, usize) -> f32) -> Vec<[f32; LANES]> {
        let (mut all, mut row) = (Vec::new(), Vec::new());
        for y in 0..size.1 {
            let guide: Vec<f32> = (0..size.0).map(|x| guide(x, y)).collect();
            maps.row(y, size, &guide, &mut row);
            all.append(&mut row);
        }
        all
    }

    #[test]
    fn constants_stay_at_any_size() {
        let guide: Vec<f32> = (0..35).map(|i| (i % 6) as f32 / 6.0).collect();
        let maps = GuidedMaps::fit(&[&[0.25; 35], &[-3.0; 35]], &guide, (7, 5), 2, 1e-4);
        for size in [(7, 5), (1, 1), (40, 9), (3, 17)] {
            for values in evaluated(&maps, size, |x, y| ((x * y) % 5) as f32 / 5.0) {
                assert!((values[0] - 0.25).abs() < 1e-5 && (values[1] + 3.0).abs() < 1e-4, "{values:?}");
                assert_eq!(values[2..], [0.0; LANES - 2]);
            }
        }
    }

    /// A coefficient that is a function of the guide is that function at four times the size, where the edge lies between
    /// two pixels of the small image.
    #[test]
    fn an_edge_of_the_guide_is_one_of_the_coefficient_to_the_pixel() {
        let step = |x: usize, at: usize| if x < at { 0.2 } else { 0.8 };
        let small: Vec<f32> = (0..16 * 16).map(|i| step(i % 16, 8)).collect();
        let map: Vec<f32> = small.iter().map(|guide| 2.0 - guide).collect();
        let maps = GuidedMaps::fit(&[&map], &small, (16, 16), 2, 1e-6);
        for (i, values) in evaluated(&maps, (64, 64), |x, _| step(x, 30)).iter().enumerate() {
            let wanted = 2.0 - step(i % 64, 30);
            assert!((values[0] - wanted).abs() < 0.01, "{i}: {} for {wanted}", values[0]);
        }
    }

    #[test]
    fn means_of_windows() {
        assert_eq!(line_mean([1.0, 2.0, 6.0, 7.0].into_iter(), 1), [1.5, 3.0, 5.0, 6.5]);
        assert_eq!(box_mean(&[1.0, 3.0, 5.0, 7.0], (2, 2), 9), [4.0; 4]);
        assert_eq!(box_mean(&[1.0, 3.0, 5.0, 7.0], (2, 2), 0), [1.0, 3.0, 5.0, 7.0]);
    }
}
