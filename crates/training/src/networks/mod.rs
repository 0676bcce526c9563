//! The networks that a manifest can name, a file each.

mod colormamba;
mod lite;

pub use colormamba::ColorMambaOptions;
pub use lite::LiteOptions;
