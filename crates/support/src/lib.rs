//! What every crate may use: files that are there whole or not at all, the nearest of known names, text for people.
//!
//! ```
//! use colormamba_support::{files::write_whole, names::nearest};
//! use std::io::Write;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("scores.txt");
//! write_whole(&path, |file| writeln!(file, "psnr 23.1"))?;
//! assert_eq!(std::fs::read_to_string(&path)?, "psnr 23.1\n");
//! assert_eq!(nearest("pnsr", ["psnr", "ssim"]), Some("psnr"));
//! # Ok(())
//! # }
//! ```

pub mod files;
pub mod names;
pub mod text;
