//! Why the content of a file is no image here.

use super::jpeg::JpegError;

/// Why the content of a file is no image here.
#[derive(Debug, thiserror::Error)]
pub enum ImageFault {
    /// Nothing is in it.
    #[error("the file is empty: get it again from where it came")]
    Empty,
    /// A sound file, as far as is known, of another kind.
    #[error("{0}: convert it, PNG, JPEG, TIFF and BMP are read")]
    Kind(String),
    /// A sound file of a kind that is read, but not in this form.
    #[error("{0}")]
    Form(String),
    /// More pixels than are read.
    #[error(
        "{width}x{height} pixels, {}, which would take {:.1} GiB; at most {} are read: raise that by --max-pixels of \
         colorize, or max_pixels in a data set's description, if it is meant",
        amount(pixels(*width, *height)), pixels(*width, *height) as f64 * 3.0 / (1u64 << 30) as f64, amount(*limit)
    )]
    TooLarge {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
        /// The most pixels.
        limit: u64,
    },
    /// Far more pixels than a file of its length holds of a photograph.
    #[error(
        "{width}x{height} pixels in a file of {length} bytes, which would take {:.1} GiB: no photograph is packed so densely; \
         get it again, or raise --max-pixels of colorize, or max_pixels in a data set's description, above {} if it is meant",
        *takes as f64 / (1u64 << 30) as f64, super::Reading::MAX_PIXELS
    )]
    Hollow {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
        /// Bytes of memory.
        takes: u64,
        /// Bytes of the file.
        length: u64,
    },
    /// A JPEG file that does not hold all of its image, or is of another form.
    #[error("{0}: {advice}", advice = advice(.0))]
    Jpeg(#[from] JpegError),
    /// What another decoder said.
    #[error("not a readable image ({0}): get it again from where it came")]
    Damaged(String),
}

fn pixels(width: u32, height: u32) -> u64 {
    u64::from(width) * u64::from(height)
}

/// Pixels as a number that tells them apart: few of them are no megapixels.
fn amount(pixels: u64) -> String {
    match pixels {
        ..10_000_000 => format!("{pixels} pixels in all"),
        _ => format!("{:.0} megapixels", pixels as f64 / 1e6),
    }
}

fn advice(error: &JpegError) -> &'static str {
    match error {
        JpegError::Unsupported(_) => "save it as baseline or progressive JPEG of 8 bits, or as PNG",
        _ => "get it again from where it came",
    }
}
