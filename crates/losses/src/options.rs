//! Checks that options share.

/// What is wrong with an option that must be above zero.
pub(crate) fn above_zero(option: &str, value: f64) -> Result<(), String> {
    if value.is_finite() && value > 0.0 { Ok(()) } else { Err(format!("{option} is {value}, it must be above 0")) }
}
