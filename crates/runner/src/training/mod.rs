//! The training of a run, and what it says meanwhile.

pub mod profile;
pub mod progress;
mod resume;
pub mod room;
pub mod session;
mod setup;
pub mod teachers;
