//! The networks that a manifest can name, a file each.

mod colormamba;

pub use colormamba::ColorMambaOptions;
