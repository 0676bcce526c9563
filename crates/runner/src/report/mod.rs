//! From numbers and images to tables and sheets.

pub mod images;
pub mod table;
