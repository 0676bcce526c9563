//! From predictions to numbers.

pub mod baselines;
pub mod evaluate;
pub mod leak;
pub mod mean;
pub mod measures;
pub mod sets;
pub mod weights;
