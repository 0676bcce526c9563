//! All tests of the crate in one program, so that what they stand on is linked once.

mod against;
mod augmentation;
mod check;
mod description;
mod fit;
mod folders;
mod formats_page;
mod jpeg;
mod kinds;
mod loader;
mod preprocess;
mod synthetic;
mod vcip2020;
