//! The images that measures compare.

use crate::plane::Plane;

/// An RGB image, planar (all of R, then G, then B), row-major, in `[0, 1]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    data: Vec<f64>,
    height: usize,
    width: usize,
}

/// What can be wrong with the images given to a measure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    /// The values do not make a `(3, height, width)` image with at least one pixel.
    #[error("{values} values are not a (3, {height}, {width}) image")]
    Shape {
        /// Number of values given.
        values: usize,
        /// Claimed height in pixels.
        height: usize,
        /// Claimed width in pixels.
        width: usize,
    },
    /// Prediction and target differ in size.
    #[error("the prediction is {pred_height}x{pred_width} pixels, the target {target_height}x{target_width}")]
    Mismatch {
        /// Height of the prediction.
        pred_height: usize,
        /// Width of the prediction.
        pred_width: usize,
        /// Height of the target.
        target_height: usize,
        /// Width of the target.
        target_width: usize,
    },
    /// The images are smaller than the measure takes.
    #[error("{measure} needs at least {side}x{side} pixels, the images have {height}x{width}")]
    TooSmall {
        /// The measure's spec string.
        measure: &'static str,
        /// The least height and width.
        side: usize,
        /// Height of the images.
        height: usize,
        /// Width of the images.
        width: usize,
    },
    /// A window of no weights.
    #[error("a window needs at least one weight")]
    NoWindow,
    /// No measure has this spec string.
    #[error("no measure is called `{name}`{}", suggestion(*.nearest))]
    Unknown {
        /// The name given.
        name: String,
        /// The measure that was probably meant.
        nearest: Option<&'static str>,
    },
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!(", did you mean `{nearest}`?")).unwrap_or_default()
}

impl Image {
    /// An image from `3 * height * width` planar values.
    ///
    /// # Errors
    /// [`MetricError::Shape`] if the number of values is another one, or zero.
    pub fn new<T: Copy + Into<f64>>(planar: &[T], height: usize, width: usize) -> Result<Self, MetricError> {
        let wanted = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(3));
        if planar.is_empty() || wanted != Some(planar.len()) {
            return Err(MetricError::Shape { values: planar.len(), height, width });
        }
        Ok(Self { data: planar.iter().map(|&v| v.into()).collect(), height, width })
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All values, planar.
    pub fn values(&self) -> &[f64] {
        &self.data
    }

    /// The three channels, each row-major.
    pub(crate) fn channels(&self) -> [&[f64]; 3] {
        let (r, rest) = self.data.split_at(self.height * self.width);
        let (g, b) = rest.split_at(self.height * self.width);
        [r, g, b]
    }

    /// The three channels as planes of their own.
    pub(crate) fn planes(&self) -> [Plane; 3] {
        self.channels().map(|channel| Plane::new(channel.to_vec(), self.height, self.width))
    }

    /// Whether every value is 0.
    pub fn is_black(&self) -> bool {
        self.data.iter().all(|value| *value == 0.0)
    }

    /// The colours of all pixels, row-major.
    pub(crate) fn pixels(&self) -> impl Iterator<Item = [f64; 3]> {
        let [r, g, b] = self.channels();
        (0..r.len()).map(move |i| [r[i], g[i], b[i]])
    }

    pub(crate) fn same_size(&self, target: &Self) -> Result<(), MetricError> {
        if (self.height, self.width) == (target.height, target.width) {
            return Ok(());
        }
        Err(MetricError::Mismatch {
            pred_height: self.height,
            pred_width: self.width,
            target_height: target.height,
            target_width: target.width,
        })
    }
}
