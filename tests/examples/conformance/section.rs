//! Values of ours beside values of others.

use std::error::Error;

/// What anything here returns.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// Some values of one measure.
pub struct Section {
    /// The measure's spec, or what else is compared.
    pub subject: String,
    /// Whose the other values are.
    pub against: String,
    /// The most that two values may differ.
    pub tolerance: f64,
    pub rows: Vec<Row>,
}

/// One value.
pub struct Row {
    /// What it is of.
    pub name: String,
    pub ours: f64,
    pub theirs: f64,
}

/// All sections under one heading.
pub struct Chapter {
    pub heading: &'static str,
    pub introduction: &'static str,
    pub sections: Vec<Section>,
}
