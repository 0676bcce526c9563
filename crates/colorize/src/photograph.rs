//! The levels of a photograph.

use crate::levels::{Level, Scale};
use colormamba_data::Protocol;

/// The levels of a photograph, and what the network sees in them.
pub(crate) struct Photograph<'a, T> {
    pub(crate) levels: &'a [T],
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) scale: Scale,
    /// The network's input by level.
    pub(crate) values: Vec<f32>,
}

impl<'a, T: Level> Photograph<'a, T> {
    pub(crate) fn new(levels: &'a [T], (width, height): (usize, usize), protocol: Protocol) -> Self {
        let scale = Scale::of(protocol, levels);
        Self { levels, width, height, scale, values: scale.table::<T>() }
    }

    pub(crate) fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }
}
