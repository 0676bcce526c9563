//! Parameters by name (seeded, ordered), the layers built on them, and Adam.

mod params;

pub use params::{Buffer, Init, Params, ParamsError, Scope};
