//! What is measured, for `cargo bench` and for the comparison with PyTorch.

mod case;
mod machine;
mod measures;
mod subject;

pub use case::{Case, Work, cases, loss_cases, measure_cases, other_cases};
pub use machine::{Machine, peak_memory};
pub use subject::{Pass, Subject};
