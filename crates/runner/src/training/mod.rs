//! The training of a run, and what it says meanwhile.

pub mod profile;
pub mod progress;
pub mod room;
pub mod session;
pub mod teachers;
