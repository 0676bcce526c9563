//! How a photograph is colorized.
//!
//! Measured on 45 pairs of the EPFL RGB-NIR Scene dataset, mostly 700x450, with a `lite` of width 32 that was trained
//! on VCIP2020 alone for 13 epochs at 256 pixels. PSNR by `colormamba colorize --working-size N` and `colormamba
//! compare`: 14.94 dB at a working side of 256, 14.55 at 384, 14.31 at 512, 14.16 at 768; so the working side is that
//! of the training unless another is asked for.
//!
//! By `examples/consistency.rs`, mean ΔE00 on eight of them with the weights of the program: neighbouring pieces of 256
//! pixels that are colorized each for itself differ by 2.58 where they overlap; the whole at its working side has no
//! seams, so tiles are a choice and not the default. The same photograph stored at half its size gives colours that
//! differ by 0.54, at twice its size by 0.19. From frame to frame of a drawn pan by 8 pixels colours change by 2.13 where
//! they are in the picture, the NIR film itself by 2.40; those of the same things of the scene by 0.62. The quickstart's
//! ColorMamba, whose instance norms saw drawn scenes alone: neighbouring pieces 9.51, blended tiles against the whole at
//! its working side 12.85, half size 0.27, twice the size 0.11, the pan 1.36 and 0.69.

use crate::ColorizeError;

/// How a photograph is colorized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The long side at which the network sees a larger photograph, in pixels; none for that of its training's images.
    /// Smaller photographs are seen as they are.
    pub working_side: Option<usize>,
    /// Whether the result is the mean over the photograph and its mirror image: of the colours, or of the coefficients
    /// of a network that gives such.
    pub mirror: bool,
    /// Whether the result's lightness L* (CIELAB, D65) is that of the photograph, so that the network gives a* and b*
    /// alone. Colours that sRGB does not have are cut off, which moves L* there.
    pub keep_luma: bool,
    /// Tiles of the photograph at its full size instead of the whole at the working side; none for networks of
    /// [local coefficients](colormamba_training::LocalColour), which need none.
    pub tiles: Option<Tiles>,
    /// The bits of the result; none for those of the photograph.
    pub depth: Option<Depth>,
}

impl Options {
    /// The largest working side and side of tiles: what a network is run on must have room in memory.
    pub const LARGEST_SIDE: usize = 4096;

    /// Whether they mean something.
    ///
    /// # Errors
    /// [`ColorizeError::Options`] says what is wrong.
    pub fn check(&self) -> Result<(), ColorizeError> {
        let wrong = |text: String| Err(ColorizeError::Options(text));
        let sides = 1..=Self::LARGEST_SIDE;
        match self.tiles {
            _ if self.working_side.is_some_and(|side| !sides.contains(&side)) => {
                wrong(format!("the working side must be from 1 to {} pixels", Self::LARGEST_SIDE))
            }
            Some(Tiles { side, .. }) if !sides.contains(&side) => {
                wrong(format!("the side of tiles must be from 1 to {} pixels", Self::LARGEST_SIDE))
            }
            Some(Tiles { side, overlap }) if overlap >= side => {
                wrong(format!("tiles of {side} pixels cannot overlap by {overlap}: the overlap must be smaller"))
            }
            _ => Ok(()),
        }
    }
}

/// Square pieces of a photograph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// Their side in pixels; the next multiple of the network's grid is taken.
    pub side: usize,
    /// Pixels that neighbours share at least, and over which one goes into the other; less than `side`.
    pub overlap: usize,
}

/// Bits of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// 8.
    Eight,
    /// 16.
    Sixteen,
}
