//! The program `colormamba`: manifests, training, evaluation, tables.
//!
//! A [`manifest::Manifest`] says what to train; [`colormamba_training::Trainer`] does one iteration;
//! [`training::session::Session`] trains one variant from one seed in a [`study::folder::RunFolder`]; [`report::table::Table`]
//! puts scores side by side. Rooms use those before them alone: [`system`], [`manifest`], [`inputs`], [`study`], [`scoring`],
//! [`report`], [`training`], [`commands`], [`cli`].
//!
//! ```
//! use colormamba_runner::commands::run::QUICKSTART;
//! use colormamba_runner::manifest::Manifest;
//!
//! let manifest = Manifest::parse("quickstart", QUICKSTART, &["train.epochs=3".to_string()])?;
//! assert_eq!((manifest.train.epochs, manifest.variants.len()), (3, 2));
//! let error = Manifest::parse("quickstart", QUICKSTART, &["train.epoks=3".to_string()]).unwrap_err();
//! assert_eq!(error.to_string(), "--set train.epoks=3: unknown key `epoks`, did you mean `epochs`?");
//! # Ok::<(), colormamba_runner::manifest::ManifestError>(())
//! ```

pub mod cli;
pub mod commands;
pub mod inputs;
pub mod manifest;
pub mod report;
pub mod scoring;
pub mod study;
pub mod system;
pub mod training;
